"""MIDI file → `Piece`, and folders of them, with an account of every file and every note.

Rules, the same for every file (how note-ons and note-offs are paired stands in `engines.py`):

* Every note of every track counts, whatever the tracks and instruments are called, in files of
  format 0 and 1. Format 2 and SMPTE time give an error.
* Left out, and counted in `Piece.dropped`: percussion (General MIDI channel 10), notes of length
  zero, and other instruments than asked for.
* Kept but mended, and counted in `Piece.repaired`: notes without a note-off, data bytes above 127,
  tempi and time signatures that cannot be meant.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from pianolstm.engines import DIFFERENT, ENGINES, RawMidi, read_mido
from pianolstm.parallel import map_files
from pianolstm.piece import DEFAULT_TEMPO, NOT_AUDITED, Piece, key_name, listed

MIDI_SUFFIXES = (".mid", ".midi")
LARGEST = 32 * 2**20  # bytes; a long orchestral work has about one hundredth of it
LONGEST = 100_000  # quarters; 18 hours at a walking pace
PIANOS = range(8)  # the piano family of General MIDI


class MidiParseError(ValueError):
    """A file that gives no notes. Says which file, what was found and what to do."""

    def __init__(self, path: Path, found: str, advice: str) -> None:
        super().__init__(f"{path.name}: {found}. {advice}")
        self.path, self.found, self.advice = path, found, advice

    def __reduce__(self) -> tuple:  # so that it can travel between processes
        return type(self), (self.path, self.found, self.advice)


class NoNotesError(MidiParseError):
    """A file that is whole but holds nothing of the music that was asked for."""

    def __init__(self, path: Path, dropped: Mapping[str, int], note_ons: int | None) -> None:
        why = ", ".join(listed(dropped)) or "no note events at all"
        advice = "Use a file with at least one pitched instrument"
        super().__init__(path, f"no notes to learn from ({why})", advice)
        self.dropped, self.note_ons = dict(dropped), note_ons  # as in `Piece`

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.dropped, self.note_ons)


@lru_cache
def programs_of(instruments: str | int) -> frozenset[int]:
    """The General MIDI programs that a choice of music means.

    "all" (everything but drums), "piano" (programs 0 to 7), a program number, or its General MIDI
    name such as "Violin". Raises ValueError for anything else.
    """
    if instruments == "all":
        return frozenset(range(128))
    if instruments == "piano":
        return frozenset(PIANOS)
    if str(instruments).isdigit() and int(instruments) < 128:
        return frozenset([int(instruments)])
    import pretty_midi

    try:
        return frozenset([pretty_midi.instrument_name_to_program(str(instruments))])
    except ValueError:
        raise ValueError(
            f"{instruments!r} names no instruments; give 'all' (everything but drums), 'piano', "
            "a General MIDI name such as 'Violin', or its program number from 0 to 127"
        ) from None


def read_midi(
    path: str | Path,
    *,
    instruments: str | int = "all",
    pedal: bool = False,
    engine: str = "symusic",
    audit: bool = False,
) -> Piece:
    """Read a MIDI file of format 0 or 1 into a `Piece`, to the tick.

    `instruments` chooses what is music, see `programs_of`; drums never are. With `pedal`, a note
    released while the sustain pedal is down lasts until it comes up, see `hold`. `engine` is
    "symusic" or, slowly and by the same rules, "music21". With `audit`, every note-on message is
    counted a second time by mido, and `Piece.note_ons` holds their number.

    Raises `MidiParseError` for a file that is missing, empty, no MIDI, truncated or damaged, of
    format 2 or with SMPTE time, and its subclass `NoNotesError` for one without notes to read
    (drums alone count as none). Raises ValueError for an unknown engine or choice of instruments.
    """
    path = path if isinstance(path, Path) else Path(path)
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; there are {', '.join(map(repr, ENGINES))}")
    chosen = programs_of(instruments)
    ticks_per_quarter, tracks, odd = _chunks(path)
    try:
        raw = ENGINES[engine](ticks_per_quarter, tracks, pedal)
    except Exception as error:  # symusic and music21 raise whatever they meet
        raise MidiParseError(
            path, f"the events of a track cannot be read ({error})", "Get another copy of the file"
        ) from error
    raw.repaired.update(odd)
    note_ons, unaudited = _audit(raw, ticks_per_quarter, tracks) if audit else (None, NOT_AUDITED)
    piece = _to_piece(raw, path, ticks_per_quarter, chosen, pedal, note_ons)
    return piece if unaudited == NOT_AUDITED else replace(piece, unaudited=unaudited)


def _chunks(path: Path) -> tuple[int, list[bytes], dict[str, int]]:
    """Ticks a quarter, the bytes of every track, and what was odd about them, counted.

    A cut tail must not pass unseen, nor a track that the header does not count.
    """
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # half the time of open()
        try:
            size = os.fstat(file).st_size
            data = os.read(file, size) if size <= LARGEST else b""
        finally:
            os.close(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MidiParseError(path, f"cannot be opened ({reason})", "Check the path") from error
    if size > LARGEST:
        raise MidiParseError(
            path, f"{size:,} bytes, more than any piece of music has", "Check what it holds"
        )
    if not data:
        raise MidiParseError(path, "the file is empty (0 bytes)", "Get another copy of the file")
    if data[:4] != b"MThd" or len(data) < 14:
        start = data[:12].decode("latin-1")
        raise MidiParseError(
            path,
            f"not a MIDI file: it starts with {start!r} instead of 'MThd' and a header",
            "Check that the name's ending tells the truth",
        )
    kind, count, division = (int.from_bytes(data[i : i + 2]) for i in (8, 10, 12))
    if kind > 1:
        raise MidiParseError(path, f"MIDI format {kind}", "Convert it to format 0 or 1")
    if division & 0x8000 or division == 0:
        raise MidiParseError(
            path, "time in SMPTE frames, not in beats", "Export it with ticks a quarter note"
        )
    position, tracks = 8 + int.from_bytes(data[4:8]), []
    while position + 8 <= len(data):
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8])
        is_track = data[position : position + 4] == b"MTrk"
        if end > len(data):
            if len(tracks) >= count and not is_track:
                break  # what stands behind the tracks is no chunk
            raise MidiParseError(
                path,
                f"truncated: track {len(tracks) + 1} of {count} should end at byte {end:,}, "
                f"the file ends at {len(data):,}",
                "Get a complete copy",
            )
        if is_track:
            tracks.append(data[position + 8 : end])
        position = end
    if len(tracks) < count:
        raise MidiParseError(
            path, f"truncated: the header promises {count} tracks, {len(tracks)} are there",
            "Get a complete copy",
        )  # fmt: skip
    odd = {"tracks more than the header says": len(tracks) - count,
           "bytes after the last track": max(0, len(data) - position)}  # fmt: skip
    return division, tracks, {reason: number for reason, number in odd.items() if number}


def _audit(raw: RawMidi, ticks_per_quarter: int, tracks: list[bytes]) -> tuple[int | None, str]:
    """Note-ons by mido's count, or None and why not. Adds to `raw` what only mido can tell."""
    try:
        count, other = read_mido(ticks_per_quarter, tracks)
    except Exception as error:  # mido, too, raises whatever it meets
        return None, f"{NOT_AUDITED} (mido stops: {type(error).__name__}: {error})"
    raw.ignored.update(other.ignored)
    fields = ["onset", "duration", "pitch", "velocity", "program"]
    ours, theirs = (Counter(notes[fields].tolist()) for notes in (raw.notes, other.notes))
    if different := (theirs - ours).total():
        raw.repaired[DIFFERENT] = different
    return count, NOT_AUDITED


def hold(notes: np.ndarray, pedal: np.ndarray, end: int) -> np.ndarray:
    """Durations of an instrument's notes with the sustain pedal: shape (notes,), ticks.

    A note that is released while the pedal is down lasts until it comes up, or until its pitch is
    struck again; `end` stands for a pedal that never comes up. `pedal` holds (tick, value) rows;
    64 and more is down, and the last value of a tick is the one that counts.
    """
    stop = notes["onset"] + notes["duration"]
    if not len(pedal):
        return notes["duration"]
    ticks, last = np.unique(pedal[::-1, 0], return_index=True)
    down = pedal[::-1, 1][last] >= 64
    place = np.searchsorted(ticks, stop, side="right") - 1  # latest message at or before the end
    held = (place >= 0) & down[place] & (notes["duration"] > 0)
    ups = np.append(ticks[~down], max(end, int(stop.max(initial=0))))
    lifted = ups[np.searchsorted(ticks[~down], stop, side="right")]
    order = np.lexsort((notes["onset"], notes["pitch"]))
    again = np.full(len(notes), np.iinfo(np.int64).max)
    same = np.diff(notes["pitch"][order].astype(int)) == 0
    again[order[:-1][same]] = notes["onset"][order][1:][same]
    return np.where(held, np.maximum(stop, np.minimum(lifted, again)), stop) - notes["onset"]


def _select(raw: RawMidi, chosen: frozenset[int], dropped: Counter[str]) -> np.ndarray:
    """The notes that count as music, all longer than 0; the others are counted in `dropped`."""
    notes, everything = raw.notes, len(chosen) == 128
    if any(raw.percussion):
        drums = np.array(raw.percussion)[notes["track"]]
        dropped["percussion"] += int(drums.sum())
        notes = notes[~drums]
    if not everything:
        others = ~np.isin(notes["program"], list(chosen))
        dropped["other instruments"] += int(others.sum())
        notes = notes[~others]
    if len(notes) and notes["duration"].min() < 1:
        silent = notes["duration"] < 1
        dropped["zero length"] += int(silent.sum())
        notes = notes[~silent]
    return notes


def _to_piece(
    raw: RawMidi,
    path: Path,
    ticks_per_quarter: int,
    chosen: frozenset[int],
    pedal: bool,
    note_ons: int | None,
) -> Piece:
    if pedal and len(raw.notes):
        end = int((raw.notes["onset"] + raw.notes["duration"]).max())
        for track, messages in enumerate(raw.pedals):
            mine = raw.notes["track"] == track
            raw.notes["duration"][mine] = hold(raw.notes[mine], messages, end)
    dropped = raw.ignored
    columns = _select(raw, chosen, dropped)
    names = raw.names
    if len(columns) < len(raw.notes):  # number the tracks that have notes left from 0 on
        present, columns["track"] = np.unique(columns["track"], return_inverse=True)
        names = [names[track] for track in present]
    if not len(columns):
        raise NoNotesError(path, +dropped, note_ons)
    tempi = tuple((tick, round(bpm, 3)) for tick, bpm in raw.tempi if 0 < bpm < np.inf)
    metres = tuple(m for m in raw.time_signatures if m[1] > 0 and 0 < m[2] <= 64)
    repaired = raw.repaired
    if len(tempi) + len(metres) < len(raw.tempi) + len(raw.time_signatures):
        repaired["impossible tempo ignored"] = len(raw.tempi) - len(tempi)
        repaired["impossible time signature ignored"] = len(raw.time_signatures) - len(metres)
    keys = [key_name(sharps, bool(minor)) for _, sharps, minor in raw.key_signatures
            if -7 <= sharps <= 7]  # fmt: skip
    damaged = "Its times are damaged; get another copy"
    try:
        piece = Piece(
            notes=columns,
            ticks_per_quarter=ticks_per_quarter,
            tempi=tempi or ((0, DEFAULT_TEMPO),),
            time_signatures=metres or ((0, 4, 4),),
            key=keys[0] if keys else None,
            track_names=tuple([name or f"Track {i}" for i, name in enumerate(names, 1)]),
            name=path.stem,
            dropped=dict(+dropped) if dropped else {},  # "+" keeps only the reasons that occurred
            repaired=dict(+repaired) if repaired else {},
            note_ons=note_ons,
        )
    except ValueError as error:  # symusic's 32 bits overflow
        raise MidiParseError(path, str(error), damaged) from error
    longest = LONGEST * ticks_per_quarter
    if piece.notes["onset"][-1] > longest or piece.notes["duration"].max() > longest:
        raise MidiParseError(path, f"a note more than {LONGEST:,} quarters from the start", damaged)
    return piece


@dataclass
class ParseReport:
    """What a folder gave: the pieces, and one entry for every file that gave none."""

    pieces: list[Piece] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)  # damaged file → message
    empty: dict[str, str] = field(default_factory=dict)  # file without notes to read → message
    instruments: str | int = "all"  # what counted as music, see `programs_of`
    dropped: Counter[str] = field(default_factory=Counter)  # notes left out, by reason
    repaired: Counter[str] = field(default_factory=Counter)  # what was mended, by reason

    def add(self, name: str, result: Piece | Exception) -> None:
        """Count what one file gave."""
        if isinstance(result, Piece):
            self.pieces.append(result)
            self.dropped.update(result.dropped)
            self.repaired.update(result.repaired)
        elif isinstance(result, NoNotesError):
            self.empty[name] = str(result)
            self.dropped.update(result.dropped)
        else:
            self.errors[name] = str(result)

    def __str__(self) -> str:
        files = len(self.pieces) + len(self.empty) + len(self.errors)
        lines = [
            f"{files:,} files: {len(self.pieces):,} read, {len(self.empty):,} empty, "
            f"{len(self.errors):,} damaged",
            f"{sum(map(len, self.pieces)):,} notes kept (music: {music_name(self.instruments)}); "
            f"left out: {', '.join(listed(self.dropped)) or 'none'}",
        ]
        if self.repaired:
            lines.append(f"mended: {', '.join(listed(self.repaired))}")
        audited = [piece for piece in self.pieces if piece.note_ons is not None]
        counted = sum(piece.note_ons for piece in audited)
        gone = counted - sum(len(p) + sum(p.dropped.values()) for p in audited)
        lines.append(
            f"audited {len(audited):,} of {len(self.pieces):,} pieces: {counted:,} note-ons, "
            f"{gone:,} unaccounted for"
            if audited
            else NOT_AUDITED
        )
        messages = [*self.empty.values(), *self.errors.values()]
        return "\n".join(lines + [f"  {message}" for message in messages])


def music_name(instruments: str | int) -> str:
    """What counts as music, in words for a report."""
    return "everything but drums" if instruments == "all" else f"{instruments}"


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


def read_folder(
    folder: str | Path,
    recursive: bool = False,
    *,
    processes: int | None = None,
    progress: bool | None = None,
    **options,
) -> ParseReport:
    """Read every MIDI file of a folder; one that cannot be read is reported and passed over.

    `options` are those of `read_midi`. `processes` and the main guard that a script needs with more
    than one: see `map_files`. `progress` shows a bar; None means only on a terminal.
    Raises FileNotFoundError where there is no folder or no MIDI file in it.
    """
    folder = Path(folder)
    report = ParseReport(instruments=options.get("instruments", "all"))
    paths = find_midi_files(folder, recursive)
    read = partial(_read_or_error, **options)
    for path, result in zip(paths, map_files(read, paths, processes, progress)):
        report.add(str(path.relative_to(folder)), result)
    return report


def _read_or_error(path: Path, **options) -> Piece | MidiParseError:
    try:
        return read_midi(path, **options)
    except MidiParseError as error:
        return error


def article_tokens(path: str | Path, cache: bool = False) -> list[str]:
    """The article's reading loop as printed, kept for comparison with `read_midi`.

    As printed, music21 also writes a pickled copy of what it parsed and takes that the next time;
    here it always reads the file itself, unless `cache` says otherwise.

    Source: Skúli, "How to Generate Music using a LSTM Neural Network in Keras" (2017), section
    "Preparing the Data". `midi.flat` is `midi.flatten()` in music21 today; nothing else is changed.
    It reads the first instrument part only, and counts tie continuations as fresh notes.
    """
    from music21 import chord, converter, instrument, note

    notes = []
    midi = converter.parse(path, forceSource=not cache)
    parts = instrument.partitionByInstrument(midi)
    notes_to_parse = parts.parts[0].recurse() if parts else midi.flatten().notes
    for element in notes_to_parse:
        if isinstance(element, note.Note):
            notes.append(str(element.pitch))
        elif isinstance(element, chord.Chord):
            notes.append(".".join(str(n) for n in element.normalOrder))
    return notes
