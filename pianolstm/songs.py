"""Builds `midi_songs/` from music21's own corpus: real music whose source can be named.

Every file is a two-stave piano piece: an upper and a lower staff as two named tracks, with tempo,
metre and key. The rules, the same for all:

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

import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from pianolstm.decoding import write_midi
from pianolstm.parsing import key_name
from pianolstm.piece import DEFAULT_TEMPO, NOTE_DTYPE, Piece

if TYPE_CHECKING:
    from music21 import stream

TICKS = 480
VELOCITY = 80  # scores of this kind carry no usable dynamics
STAVES = ("Upper staff", "Lower staff")
FORBIDS = re.compile(r"rights[^.]*reserved|non-?commercial|\bNC\b", re.IGNORECASE)
RIGHTS = re.compile(r"©|copyright|licen[sc]e|permission|public domain|\bCC\b|rights", re.IGNORECASE)

# The solo keyboard works of the corpus: entry → (file name, composer, catalogue number, title).
# Not among them: verdi/laDonnaEMobile, an arrangement that states neither rights nor licence.
KEYBOARD_WORKS = {
    "bach/bwv846.mxl": ("bach_bwv846_prelude", "Johann Sebastian Bach", "BWV 846",
                        "The Well-Tempered Clavier I, Prelude in C major"),
    "chopin/mazurka06-2.krn": ("chopin_mazurka_op06_no2", "Frédéric Chopin", "Op. 6 No. 2",
                               "Mazurka in C-sharp minor"),
    "cpebach/h186.mxl": ("cpebach_h186", "Carl Philipp Emanuel Bach", "H. 186, Wq. 55/4",
                         "Sonata in A major, second movement"),
    "joplin/maple_leaf_rag.mxl": ("joplin_maple_leaf_rag", "Scott Joplin", "", "Maple Leaf Rag"),
    "mozart/k545/movement1_exposition.mxl": ("mozart_k545_exposition", "Wolfgang Amadeus Mozart",
                                             "K. 545", "Sonata in C major, first exposition"),
    "schoenberg/opus19/movement2.mxl": ("schoenberg_op19_no2", "Arnold Schoenberg", "Op. 19 No. 2",
                                        "Little Piano Pieces"),
    "schoenberg/opus19/movement6.mxl": ("schoenberg_op19_no6", "Arnold Schoenberg", "Op. 19 No. 6",
                                        "Little Piano Pieces"),
    **{f"schumann_clara/polonaise_op1n{n}.mxl": (f"schumann_clara_polonaise_op1_no{n}",
                                                 "Clara Schumann", f"Op. 1 No. {n}",
                                                 f"Polonaise in {tonic}")
       for n, tonic in ((1, "E-flat major"), (2, "C major"), (3, "D major"), (4, "C major"))},
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where one song comes from, as far as the source itself says."""

    file: str  # name in midi_songs, without ".mid"
    entry: str  # path in music21's corpus
    composer: str
    catalogue: str
    title: str
    encoder: str
    rights: str


@dataclass
class BuildReport:
    """What `build_songs` wrote, and what it left out and why."""

    written: list[tuple[Source, Piece]]
    skipped: dict[str, str]  # corpus entry → reason

    def __str__(self) -> str:
        notes = sum(len(piece) for _, piece in self.written)
        head = f"{len(self.written)} songs written, {notes:,} notes; {len(self.skipped)} left out"
        return "\n".join([head, *(f"  {entry}: {why}" for entry, why in self.skipped.items())])


def corpus_folder() -> Path:
    """The folder of music21's own corpus."""
    from music21 import common

    return Path(common.getCorpusFilePath())


def corpus_entries() -> list[str]:
    """Candidates in music21's corpus: the Bach scores, then the keyboard works."""
    from music21 import corpus

    root = corpus_folder()
    bach = (Path(p).relative_to(root).as_posix() for p in corpus.getComposer("bach"))
    scores = sorted(e for e in bach if not e.endswith(".rntxt") and e not in KEYBOARD_WORKS)
    return scores + sorted(KEYBOARD_WORKS)


def build_songs(folder: str | Path, entries: list[str] | None = None) -> BuildReport:
    """Write the songs of `entries` (all by default) and SOURCES.md into `folder`.

    Bach scores that do not have exactly four parts are no candidates (chorales with instruments);
    an entry that cannot be exported is named with its reason and the rest goes on.
    """
    from music21 import converter

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = BuildReport([], {})
    for entry in tqdm(entries or corpus_entries(), desc="songs", unit="score", disable=None):
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
            piece = score_to_piece(score, source.file)
            write_midi(piece, folder / f"{source.file}.mid")
            report.written.append((source, piece))
        except Exception as error:  # one bad score must not stop the build
            report.skipped[entry] = f"{type(error).__name__}: {error}"
    (folder / "SOURCES.md").write_text(sources_table(report), encoding="utf-8")
    return report


def score_to_piece(score: stream.Score, name: str) -> Piece:
    """A music21 score as a two-stave piano `Piece`: the upper half of the parts, then the lower."""
    from music21 import key, meter, tempo

    parts = list(score.parts)
    half = (len(parts) + 1) // 2
    first = parts[0].getElementsByClass("Measure").first()
    pickup = Fraction(first.paddingLeft) if first is not None else Fraction(0)
    dropped: Counter[str] = Counter()
    staves = []
    for track, group in enumerate((parts[:half], parts[half:])):
        rows = []
        for part in group:
            for element in part.flatten().stripTies().notes:
                if element.duration.isGrace or not element.quarterLength:
                    dropped["grace notes"] += len(element.pitches)
                    continue
                onset = _ticks(element.offset + pickup, dropped)
                length = _ticks(element.quarterLength, dropped)
                rows.extend((onset, length, p.midi, VELOCITY, 0, track) for p in element.pitches)
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
        track_names=STAVES,
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


def read_source(entry: str) -> Source:
    """Composer, encoder and rights of a corpus entry, in the words of its own file."""
    text = _raw_text(corpus_folder() / entry)
    if entry.endswith(".krn"):
        records = re.findall(r"^!!!(\w+):\s*(.*)$", text, re.MULTILINE)
        encoder = "; ".join(value for name, value in records if name in ("ENC", "EED"))
        rights = " ".join(value for name, value in records if name in ("YEC", "YEM"))
    else:
        software = re.findall(r"<(?:encoder|software)[^>]*>([^<]+)", text)
        origin = re.findall(r"<source>([^<]+)", text)
        encoder = "; ".join(s for s in [*software, *origin] if not s.startswith("music21"))
        words = re.findall(r"<(?:rights|credit-words)[^>]*>([^<]+)", text)
        rights = " / ".join(dict.fromkeys(" ".join(w.split()) for w in words if RIGHTS.search(w)))
    if entry in KEYBOARD_WORKS:
        file, composer, catalogue, title = KEYBOARD_WORKS[entry]
    else:
        number = Path(entry).stem.removeprefix("bwv")
        digits = re.match(r"\d+", number).group()
        file = f"bach_bwv{digits.zfill(3)}{number[len(digits) :]}"
        composer, catalogue, title = (
            "Johann Sebastian Bach",
            f"BWV {number}",
            _chorale_titles().get(number, ""),
        )
    return Source(file, entry, composer, catalogue, title, encoder, rights)


@lru_cache(maxsize=1)
def _chorale_titles() -> dict[str, str]:
    """BWV number → German title, from music21's own list of chorales."""
    from music21.corpus import chorales

    return {bwv: row["title"] for bwv, row in chorales.ChoraleListRKBWV().byBWV.items()}


def _raw_text(path: Path) -> str:
    """Text of a score file; of a compressed .mxl the score inside it."""
    if path.suffix != ".mxl":
        return path.read_text(encoding="utf-8", errors="replace")
    with zipfile.ZipFile(path) as archive:
        inner = [n for n in archive.namelist() if not n.startswith("META-INF")]
        score = next(n for n in inner if n.endswith((".xml", ".musicxml")))
        return archive.read(score).decode("utf-8", errors="replace")


def sources_table(report: BuildReport) -> str:
    """SOURCES.md: one row a song, and what was left out with the reason."""
    from music21 import VERSION_STR

    rows = [
        f"| {s.file}.mid | {s.composer} | {s.catalogue or '–'} | {s.title or '–'} | {s.entry} "
        f"| {s.encoder or 'not stated'} | {s.rights or 'not stated'} | {len(p.bar_starts())} "
        f"| {len(p)} | {', '.join(f'{n} {why}' for why, n in p.dropped.items()) or '–'} |"
        for s, p in report.written
    ]
    return "\n".join(
        [
            "# Where the songs come from",
            "",
            f"Made by `python -m pianolstm songs` from the corpus of music21 {VERSION_STR}; do "
            "not edit by hand. Encoder and rights are quoted from the corpus files, in their own "
            "words; “not stated” means that the file says nothing. music21's corpus licence adds "
            "that some encodings may not be used commercially. The compositions are older than "
            "their encodings; whether they are free where you live is for you to check.",
            "",
            f"{len(rows)} songs, {sum(len(p) for _, p in report.written):,} notes. Tempo is "
            f"{DEFAULT_TEMPO:g} quarters a minute where the score names none.",
            "",
            "| file | composer | catalogue | title | corpus entry | encoder or software "
            "| rights as stated | bars | notes | left out, merged or cut |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## Left out",
            "",
            "| corpus entry | reason |",
            "|---|---|",
            *[f"| {entry} | {why} |" for entry, why in report.skipped.items()],
            "",
        ]
    )
