"""MIDI file → `Piece`, and folders of them, with an account of every file.

Rules, the same for every file:

* Every note of every track counts, whatever the tracks and instruments are called.
* Two note-ons of one pitch on one channel before a note-off: first in, first out.
* Left out, and counted in `Piece.dropped`: percussion (General MIDI channel 10) and notes of
  length zero.

Reading itself is done by symusic (https://github.com/Yikai-Liao/symusic).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import symusic

from pianolstm.piece import DEFAULT_TEMPO, NOTE_DTYPE, Piece

MIDI_SUFFIXES = (".mid", ".midi")
MAJOR = ("C-", "G-", "D-", "A-", "E-", "B-", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
MINOR = ("A-", "E-", "B-", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")


class MidiParseError(ValueError):
    """A file that gives no notes. Says which file, what was found and what to do."""

    def __init__(self, path: Path, found: str, advice: str) -> None:
        super().__init__(f"{path.name}: {found}. {advice}")
        self.path, self.found = path, found


def key_name(sharps: int, minor: bool) -> str:
    """Name of a key signature: sharps −7 (seven flats) to 7, in music21's spelling."""
    return f"{(MINOR if minor else MAJOR)[sharps + 7]} {'minor' if minor else 'major'}"


def key_sharps(key: str) -> tuple[int, bool]:
    """The inverse of `key_name`: ("E minor") → (1, True)."""
    tonic, mode = key.split()
    return (MINOR if mode == "minor" else MAJOR).index(tonic) - 7, mode == "minor"


def read_midi(path: str | Path) -> Piece:
    """Read a MIDI file of format 0 or 1 into a `Piece`, to the tick.

    Raises `MidiParseError` for a file that is missing, empty, no MIDI, truncated or damaged, of
    format 2 or with SMPTE time, or that holds no notes (drums alone count as none).
    """
    path = Path(path)
    data = _checked_bytes(path)
    try:
        score = symusic.Score.from_midi(data)
    except Exception as error:  # symusic raises bare RuntimeErrors
        raise MidiParseError(
            path, f"the events of a track cannot be read ({error})", "Get another copy of the file"
        ) from error
    return _to_piece(score, path)


def _checked_bytes(path: Path) -> bytes:
    """The file's bytes, after a walk over its chunks: a cut tail must not pass unseen."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MidiParseError(path, f"cannot be opened ({reason})", "Check the path") from error
    if not data:
        raise MidiParseError(path, "the file is empty (0 bytes)", "Get another copy of the file")
    if data[:4] != b"MThd" or len(data) < 14:
        start = data[:12].decode("latin-1")
        raise MidiParseError(
            path,
            f"not a MIDI file: it starts with {start!r} instead of 'MThd' and a header",
            "Check that the name's ending tells the truth",
        )
    kind, tracks, division = (int.from_bytes(data[i : i + 2], "big") for i in (8, 10, 12))
    if kind > 1:
        raise MidiParseError(path, f"MIDI format {kind}", "Convert it to format 0 or 1")
    if division & 0x8000 or division == 0:
        raise MidiParseError(
            path, "time in SMPTE frames, not in beats", "Export it with ticks a quarter note"
        )
    position, found = 8 + int.from_bytes(data[4:8], "big"), 0
    while position + 8 <= len(data) and found < tracks:
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "big")
        found += data[position : position + 4] == b"MTrk"
        if end > len(data):
            raise MidiParseError(
                path,
                f"truncated: track {found} of {tracks} should end at byte {end:,}, "
                f"the file ends at {len(data):,}",
                "Get a complete copy",
            )
        position = end
    if found < tracks:
        raise MidiParseError(
            path, f"truncated: the header promises {tracks} tracks, {found} are there",
            "Get a complete copy",
        )  # fmt: skip
    return data


def _to_piece(score: symusic.Score, path: Path) -> Piece:
    dropped: Counter[str] = Counter()
    parts, names = [], []
    for track in score.tracks:
        columns = track.notes.numpy()
        if track.is_drum:
            dropped["percussion"] += len(columns["time"])
            continue
        sounding = columns["duration"] > 0
        dropped["zero length"] += int((~sounding).sum())
        part = np.zeros(int(sounding.sum()), dtype=NOTE_DTYPE)
        for ours, theirs in (("onset", "time"), ("duration", "duration"), ("pitch", "pitch"),
                             ("velocity", "velocity")):  # fmt: skip
            part[ours] = columns[theirs][sounding]
        if not len(part):
            continue
        part["program"], part["track"] = track.program, len(names)
        parts.append(part)
        names.append(track.name or f"Track {len(names) + 1}")
    dropped = +dropped  # keeps only the reasons that occurred
    if not parts:
        why = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
        raise MidiParseError(
            path,
            f"no notes to learn from ({why or 'no note events at all'})",
            "Use a file with at least one pitched instrument",
        )
    keys = [key_name(k.key, bool(k.tonality)) for k in score.key_signatures if -7 <= k.key <= 7]
    metres = ((s.time, s.numerator, s.denominator) for s in score.time_signatures)
    return Piece(
        notes=np.concatenate(parts),
        ticks_per_quarter=score.ticks_per_quarter,
        tempi=tuple((t.time, round(t.qpm, 3)) for t in score.tempos) or ((0, DEFAULT_TEMPO),),
        time_signatures=tuple(m for m in metres if m[1] > 0 and m[2] > 0) or ((0, 4, 4),),
        key=keys[0] if keys else None,
        track_names=tuple(names),
        name=path.stem,
        dropped=dict(dropped),
    )


@dataclass
class ParseReport:
    """What a folder gave: the pieces, and one entry for every file that looks like MIDI."""

    pieces: list[Piece] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)  # file name → message

    @property
    def dropped(self) -> Counter[str]:
        """Notes left out over all files, by reason."""
        return sum((Counter(piece.dropped) for piece in self.pieces), Counter())

    def __str__(self) -> str:
        files = len(self.pieces) + len(self.errors)
        left_out = ", ".join(f"{n:,} {reason}" for reason, n in self.dropped.items()) or "none"
        lines = [
            f"{files:,} files: {len(self.pieces):,} read, {len(self.errors):,} unreadable",
            f"{sum(map(len, self.pieces)):,} notes kept; left out: {left_out}",
        ]
        return "\n".join(lines + [f"  {message}" for message in self.errors.values()])


def find_midi_files(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Paths of the MIDI files in a folder, sorted. Raises FileNotFoundError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Check the path")
    entries = folder.rglob("*") if recursive else folder.iterdir()
    found = sorted(p for p in entries if p.suffix.lower() in MIDI_SUFFIXES and p.is_file())
    if not found:
        hint = "" if recursive else ", or say recursive=True to look into its subfolders"
        raise FileNotFoundError(
            f"{folder}: no file that ends in .mid or .midi. Give a folder of MIDI files{hint}"
        )
    return found


def read_folder(folder: str | Path, recursive: bool = False) -> ParseReport:
    """Read every MIDI file of a folder; one that cannot be read is reported and passed over.

    Raises FileNotFoundError where there is no folder or no MIDI file in it.
    """
    report = ParseReport()
    for path in find_midi_files(folder, recursive):
        try:
            report.pieces.append(read_midi(path))
        except MidiParseError as error:
            report.errors[str(path.relative_to(folder))] = str(error)
    return report


def article_tokens(path: str | Path) -> list[str]:
    """The article's reading loop as printed, kept for comparison with `read_midi`.

    Source: Skúli, "How to Generate Music using a LSTM Neural Network in Keras" (2017), section
    "Preparing the Data". `midi.flat` is `midi.flatten()` in music21 today; nothing else is changed.
    It reads the first instrument part only, and counts tie continuations as fresh notes.
    """
    from music21 import chord, converter, instrument, note

    notes = []
    midi = converter.parse(path, forceSource=True)  # the file itself, not a pickled cache of it
    parts = instrument.partitionByInstrument(midi)
    notes_to_parse = parts.parts[0].recurse() if parts else midi.flatten().notes
    for element in notes_to_parse:
        if isinstance(element, note.Note):
            notes.append(str(element.pitch))
        elif isinstance(element, chord.Chord):
            notes.append(".".join(str(n) for n in element.normalOrder))
    return notes
