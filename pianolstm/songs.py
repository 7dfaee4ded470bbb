"""Builds `midi_songs/` from music21's own corpus: real music whose source can be named.

Every file is a two-stave piano piece: an upper and a lower staff as two named tracks, with tempo,
metre and key. A second set, for ensembles, has a track for each part instead: the chorales for
soprano, alto, tenor and bass, and string quartets. The rules, the same for all:

* Repeats are not expanded; a pick-up bar keeps its place (the piece starts late in bar 1).
* Times are kept to 1/480 quarter; what has to be rounded to that is counted.
* Ties become one note. Grace notes, which have no length of their own, are left out and counted.
* On one staff a key can be struck once at a time: voices in unison are one note (the longest), and
  a note is cut where its key is struck again. Both are counted as merged or cut.
* Where the score has no metronome mark the tempo is `piece.DEFAULT_TEMPO`.
* The key is the printed signature; its mode is the better of the two keys that share it by
  music21's Krumhansl-Schmuckler correlation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pianolstm.midi import read_midi, write_midi
from pianolstm.piece import DEFAULT_TEMPO, NOTE_DTYPE, Piece, key_name
from pianolstm.sources import (
    FORBIDS,
    KEYBOARD_WORKS,
    QUARTETS,
    Source,
    corpus_folder,
    read_source,
    sources_table,
)

if TYPE_CHECKING:
    from music21 import stream

TICKS = 480
VELOCITY = 80  # scores of this kind carry no usable dynamics
STAVES = ("Upper staff", "Lower staff")
CHOIR = (("Soprano", 52), ("Alto", 52), ("Tenor", 52), ("Bass", 52))  # name, program
STRINGS = (("Violin I", 40), ("Violin II", 40), ("Viola", 41), ("Cello", 42))


@dataclass
class BuildReport:
    """What `build_songs` wrote, and what it left out and why."""

    written: list[tuple[Source, Piece]]
    skipped: dict[str, str]  # corpus entry → reason
    note_ons: int = 0  # in the files written, counted by mido

    def __str__(self) -> str:
        notes = sum(len(piece) for _, piece in self.written)
        head = (
            f"{len(self.written)} songs written, {notes:,} notes; {len(self.skipped)} left out; "
            f"audited: {self.note_ons:,} note-ons in the files, all accounted for"
        )
        return "\n".join([head, *(f"  {entry}: {why}" for entry, why in self.skipped.items())])


def corpus_entries() -> list[str]:
    """Candidates in music21's corpus: the Bach scores, then the keyboard works."""
    from music21 import corpus

    root = corpus_folder()
    bach = (Path(p).relative_to(root).as_posix() for p in corpus.getComposer("bach"))
    scores = sorted(e for e in bach if not e.endswith(".rntxt") and e not in KEYBOARD_WORKS)
    return scores + sorted(KEYBOARD_WORKS)


def ensemble_entries() -> list[str]:
    """Candidates for four parts: the Bach scores, then the string quartets."""
    from music21 import corpus

    root = corpus_folder()
    found = (Path(p).relative_to(root).as_posix() for c in QUARTETS for p in corpus.getComposer(c))
    quartets = sorted(e for e in found if e.endswith(".mxl") and e not in KEYBOARD_WORKS)
    return [e for e in corpus_entries() if e not in KEYBOARD_WORKS] + quartets


def build_songs(
    folder: str | Path, entries: list[str] | None = None, ensemble: bool = False
) -> BuildReport:
    """Write the songs of `entries` (all by default) and SOURCES.md into `folder`.

    With `ensemble` each part has a track of its own, and string quartets are candidates. Bach
    scores that do not have exactly four parts are no candidates (chorales with instruments);
    an entry that cannot be exported is named with its reason and the rest goes on. Every file is
    read back and audited: one that does not give the same piece again counts as not exported.
    """
    from music21 import converter

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = BuildReport([], {})
    entries = entries or (ensemble_entries() if ensemble else corpus_entries())
    for entry in tqdm(entries, desc="songs", unit="score", disable=None):
        try:
            source = read_source(entry)
            if FORBIDS.search(source.rights):
                report.skipped[entry] = f"its rights line forbids it: {source.rights!r}"
                continue
            # forceSource: the score itself, never music21's pickled cache of it
            score = converter.parse(corpus_folder() / entry, forceSource=True)
            if entry not in KEYBOARD_WORKS and len(score.parts) != 4:
                report.skipped[entry] = f"{len(score.parts)} parts, not 4"
                continue
            parts = STRINGS if entry.split("/")[0] in QUARTETS else CHOIR
            piece = score_to_piece(score, source.file, parts if ensemble else None)
            path = write_midi(piece, folder / f"{source.file}.mid")
            back = read_midi(path, audit=True)
            if back != piece or back.note_ons != len(piece):
                path.unlink()
                report.skipped[entry] = f"reads back as something else ({back.account})"
                continue
            report.written.append((source, piece))
            report.note_ons += back.note_ons
        except Exception as error:  # one bad score must not stop the build
            report.skipped[entry] = f"{type(error).__name__}: {error}"
    command = "python -m pianolstm songs" + (" --ensemble" if ensemble else "")
    (folder / "SOURCES.md").write_text(
        sources_table(report.written, report.skipped, command), encoding="utf-8"
    )
    return report


def score_to_piece(
    score: stream.Score, name: str, instruments: Sequence[tuple[str, int]] | None = None
) -> Piece:
    """A music21 score as a two-stave piano `Piece`: the upper half of the parts, then the lower.

    With `instruments`, (name, program) for each part, every part is a track of its own.
    """
    from music21 import key, meter, tempo

    parts = list(score.parts)
    half = (len(parts) + 1) // 2
    if instruments is None:
        instruments, groups = [(staff, 0) for staff in STAVES], [parts[:half], parts[half:]]
    else:
        groups = [[part] for part in parts]
    first = parts[0].getElementsByClass("Measure").first()
    pickup = Fraction(first.paddingLeft) if first is not None else Fraction(0)
    dropped: Counter[str] = Counter()
    staves = []
    for track, (group, (_, program)) in enumerate(zip(groups, instruments)):
        rows = []
        for part in group:
            for element in part.flatten().stripTies().notes:
                if element.duration.isGrace or not element.quarterLength:
                    dropped["grace notes"] += len(element.pitches)
                    continue
                onset = _ticks(element.offset + pickup, dropped)
                length = _ticks(element.quarterLength, dropped)
                rows.extend(
                    (onset, length, p.midi, VELOCITY, program, track) for p in element.pitches
                )
        staves.append(strike_once(np.array(rows, dtype=NOTE_DTYPE), dropped))

    def tick(event) -> int:  # what stands at the very beginning stays there
        return _ticks(event.offset + pickup if event.offset else 0, dropped)

    marks = score.flatten().getElementsByClass(tempo.MetronomeMark)
    tempi = {0: DEFAULT_TEMPO} | {tick(m): m.getQuarterBPM() for m in marks if m.number}
    upper = parts[0].flatten()
    metres = {tick(m): (m.numerator, m.denominator)
              for m in upper.getElementsByClass(meter.TimeSignature)}  # fmt: skip
    signature = upper.getElementsByClass(key.KeySignature).first()
    tempi = sorted(tempi.items())
    return Piece(
        notes=np.concatenate(staves),
        ticks_per_quarter=TICKS,
        tempi=tuple(
            first
            for first, before in zip(tempi, [None, *tempi])
            if before is None or first[1] != before[1]
        ),
        time_signatures=tuple((t, *m) for t, m in sorted(({0: (4, 4)} | metres).items())),
        key=None if signature is None else _key(score, signature.sharps),
        track_names=tuple(part for part, _ in instruments),
        name=name,
        dropped=dict(+dropped),
    )


def _ticks(quarters: float | Fraction, counts: Counter[str]) -> int:
    """Quarters → ticks. Rounding (at most half a tick, 1/960 quarter) is counted.

    A source's own rounding of a triplet is undone first: 683/1024 is meant as 2/3.
    """
    exact = Fraction(quarters).limit_denominator(64) * TICKS
    counts["times rounded to a tick"] += exact.denominator != 1
    return round(exact)


def _key(score: stream.Score, sharps: int) -> str:
    """Name of the signature with `sharps`, major or minor by Krumhansl-Schmuckler correlation."""
    best = score.analyze("key.krumhanslschmuckler")
    for candidate in [best, *best.alternateInterpretations]:
        if candidate.sharps == sharps:
            return key_name(sharps, candidate.mode == "minor")
    return key_name(sharps, minor=False)


def strike_once(notes: np.ndarray, counts: Counter[str]) -> np.ndarray:
    """Merge unisons and cut what is struck again, so that no two notes of one pitch overlap."""
    kept: list[np.ndarray] = []
    order = np.lexsort((-notes["duration"], notes["onset"], notes["pitch"]))
    for note in notes[order]:
        last = kept[-1] if kept else None
        if last is not None and last["pitch"] == note["pitch"]:
            if last["onset"] == note["onset"]:
                counts["unisons merged"] += 1
                continue
            if last["onset"] + last["duration"] > note["onset"]:
                counts["notes cut where struck again"] += 1
                last["duration"] = note["onset"] - last["onset"]
        kept.append(note.copy())
    return np.array(kept, dtype=NOTE_DTYPE)
