"""MIDI files ↔ `Piece`, with an account of every note.

Reading, the same rules for every file of format 0 or 1:

* An instrument is one channel with one program within one track, and becomes one track of the
  piece. A program counts from its message on, within its own track (0, grand piano, before the
  first).
* A note-on with velocity 0 is a note-off. A note-off ends the oldest open note of its pitch,
  channel and track: first in, first out. One that finds no open note is ignored.
* A note that nothing ends lasts until its track ends, four quarters at most: "without a note-off".
* A data byte above 127 counts as 127: "clipped to 127".
* What stands behind the end-of-track event of a track is not music.
* Percussion (channel 10 of General MIDI) and notes of length zero are left out.

Notes left out are counted in `Piece.dropped`, everything else that had to be changed in
`Piece.repaired`. Writing keeps the piece's own ticks.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import mido
import numpy as np
import symusic

from pianolstm.piece import DEFAULT_TEMPO, NOTE_DTYPE, Piece, key_name, key_sharps, listed

LARGEST = 32 * 2**20  # bytes; a long orchestral work has about one hundredth of it
LONGEST = 100_000  # quarters; 18 hours at a walking pace
HANGING = 4  # quarters that a note without a note-off lasts at most
NO_OFF, CLIPPED = "without a note-off", "clipped to 127"
BEHIND = "bytes after the end of a track"

END = b"\xff\x2f\x00"  # the end-of-track event
FAR = 2**28 - 1  # ticks, the longest delta time that MIDI can write
FAR_AND_NO_TEXT = b"\xff\xff\xff\x7f" + b"\xff\x01\x00"  # an empty text event after FAR ticks
MARK = "pianolstm: the track ends here"
MARKER = b"\xff\x06" + bytes([len(MARK)]) + MARK.encode()
ALL_OFF = [
    b"".join(bytes((0, 0x80 | channel, pitch, 0)) for pitch in range(128)) for channel in range(16)
]


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
        why = listed(dropped) if dropped else "no note events at all"
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
        return frozenset(range(8))
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


# ---- reading


def read_midi(path: str | Path, instruments: str | int = "all", audit: bool = False) -> Piece:
    """Read a MIDI file of format 0 or 1 into a `Piece`, to the tick.

    `instruments` chooses what is music, see `programs_of`; drums never are. With `audit`,
    `Piece.note_ons` holds the number of note-ons as mido counts them, an independent parser.

    Raises `MidiParseError` for a file that is missing, empty, no MIDI, truncated or damaged, of
    format 2 or with SMPTE time, and its subclass `NoNotesError` for one without notes to read
    (drums alone count as none). Raises ValueError for an unknown choice of instruments.
    """
    path, chosen = Path(path), programs_of(instruments)
    ticks_per_quarter, tracks, repaired = _split_tracks(path, _read_bytes(path))
    try:
        score, notes = _parse(ticks_per_quarter, tracks, repaired)
    except Exception as error:  # symusic raises whatever it meets
        raise MidiParseError(
            path, f"the events of a track cannot be read ({error})", "Get another copy of the file"
        ) from error
    note_ons = count_note_ons(ticks_per_quarter, tracks) if audit else None
    dropped: Counter[str] = Counter()
    notes, present = _select(notes, score, chosen, dropped)
    if not len(notes):
        raise NoNotesError(path, dropped, note_ons)
    if max(notes["onset"].max(), notes["duration"].max()) > LONGEST * ticks_per_quarter:
        raise _damaged_times(path, f"a note more than {LONGEST:,} quarters from the start")
    names = [score.tracks[track].name for track in present]
    try:
        return Piece(
            notes,
            ticks_per_quarter,
            **_signatures(score, repaired),
            track_names=tuple(name or f"Track {i}" for i, name in enumerate(names, 1)),
            name=path.stem,
            dropped=dict(dropped),
            repaired=dict(repaired),
            note_ons=note_ons,
        )
    except ValueError as error:  # symusic's 32 bits overflow
        raise _damaged_times(path, str(error)) from error


def _damaged_times(path: Path, found: str) -> MidiParseError:
    return MidiParseError(path, found, "Its times are damaged; get another copy")


def _read_bytes(path: Path) -> bytes:
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
    return data


def _split_tracks(path: Path, data: bytes) -> tuple[int, list[bytes], Counter[str]]:
    """Ticks a quarter, the bytes of every track, and what was odd about them, counted.

    A cut tail must not pass unseen, nor a track that the header does not count.
    """
    if data[:4] != b"MThd" or len(data) < 14:
        start = data[:12].decode("latin-1")
        found = f"not a MIDI file: it starts with {start!r} instead of 'MThd' and a header"
        raise MidiParseError(path, found, "Check the file extension")
    kind, count, division = (int.from_bytes(data[i : i + 2]) for i in (8, 10, 12))
    if kind > 1:
        raise MidiParseError(path, f"MIDI format {kind}", "Convert it to format 0 or 1")
    if division & 0x8000 or division == 0:
        raise MidiParseError(
            path, "time in SMPTE frames, not in beats", "Export it with ticks a quarter note"
        )
    tracks: list[bytes] = []
    position, size = 8 + int.from_bytes(data[4:8]), len(data)
    while position + 8 <= size:
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8])
        is_track = data[position : position + 4] == b"MTrk"
        if end > size and (is_track or len(tracks) < count):
            found = f"track {len(tracks) + 1} of {count} should end at byte {end:,}, the file ends"
            raise MidiParseError(path, f"truncated: {found} at {size:,}", "Get a complete copy")
        if end > size:
            break  # what stands behind the tracks is no chunk
        if is_track:
            tracks.append(data[position + 8 : end])
        position = end
    if len(tracks) < count:
        found = f"truncated: the header promises {count} tracks, {len(tracks)} are there"
        raise MidiParseError(path, found, "Get a complete copy")
    odd = {
        "tracks more than the header says": len(tracks) - count,
        "bytes after the last track": max(0, size - position),
    }
    return division, tracks, Counter({reason: n for reason, n in odd.items() if n})


def _parse(
    ticks_per_quarter: int, tracks: list[bytes], repaired: Counter[str]
) -> tuple[symusic.core.ScoreTick, np.ndarray]:
    """Score and notes (NOTE_DTYPE, durations of 0 occur). Counts in `repaired`.

    symusic says nothing of notes that nothing ends. So each track is read with note-offs for every
    pitch added far behind its end: what lasts that long had none of its own.
    """
    cut = [_until_end(track, track.find(END)) for track in tracks]
    try:
        score, notes, endless = _closed_score(ticks_per_quarter, cut)
    except RuntimeError:  # the three bytes of END can stand inside a text
        cut = [_until_end(track, track.rfind(END)) for track in tracks]
        score, notes, endless = _closed_score(ticks_per_quarter, cut)
    if len(notes) and (notes["pitch"].max() == 127 or notes["velocity"].max() == 127):
        repaired[CLIPPED] += _count_clipped(ticks_per_quarter, cut)
    if endless is not None:
        repaired[NO_OFF] += int(endless.sum())
        lasts = np.minimum(notes["duration"] - FAR, HANGING * ticks_per_quarter)
        notes["duration"][endless] = lasts[endless]
    repaired[BEHIND] += sum(map(len, tracks)) - sum(map(len, cut)) - len(END) * len(tracks)
    for reason in [reason for reason, number in repaired.items() if number <= 0]:
        del repaired[reason]
    return score, notes


def _until_end(track: bytes, end: int) -> bytes:
    """A track's bytes up to its end-of-track event, without that and what follows it."""
    return track + b"\0" if end < 0 else track[:end]


def _closed_score(
    ticks_per_quarter: int, tracks: list[bytes]
) -> tuple[symusic.core.ScoreTick, np.ndarray, np.ndarray | None]:
    """Parse tracks with note-offs added far behind their ends.

    Returns score, notes, and a mask of the notes that only the added note-offs end, or None if
    there are none. Raises RuntimeError on damage.
    """
    pitches, rounds = range(128), 1
    while True:
        closed = [track + _ending(track, pitches, rounds) for track in tracks]
        # Without sanitize_data, a pitch above 127 makes symusic write outside of its memory.
        data = midi_bytes(ticks_per_quarter, closed)
        score = symusic.Score.from_midi(data, sanitize_data=True)
        if [marker.text for marker in score.markers].count(MARK) != len(tracks):
            raise RuntimeError("the last event of a track is not whole")
        notes = np.empty(score.note_num(), dtype=NOTE_DTYPE)
        start = 0
        for number, part in enumerate(score.tracks):
            columns = part.notes.numpy()
            rows = notes[start : start + len(columns["time"])]
            rows["onset"], rows["duration"] = columns["time"], columns["duration"]
            rows["pitch"], rows["velocity"] = columns["pitch"], columns["velocity"]
            rows["program"], rows["track"] = part.program, number
            start += len(rows)
        if not start or notes["duration"].max() < FAR:
            return score, notes, None
        endless = notes["duration"] >= FAR
        still = notes["pitch"][endless]
        # Counted over all channels: a channel's open notes may have several programs.
        if np.bincount(still).max() < rounds:
            return score, notes, endless
        pitches = np.unique(still).tolist()
        rounds *= 16  # several open notes of one pitch need as many note-offs


def _ending(track: bytes, pitches: Sequence[int], rounds: int) -> bytes:
    """The end of a track: a marker that proves that all before it was read whole, then, very far
    behind it, `rounds` note-offs for each of the pitches in all channels that the track uses."""
    used = [channel for channel in range(16) if 0x90 | channel in track]
    if len(pitches) == 128:
        offs = b"".join([ALL_OFF[channel] for channel in used])
    else:
        offs = b"".join(bytes((0, 0x80 | channel, p, 0)) for channel in used for p in pitches)
    return MARKER + FAR_AND_NO_TEXT + offs * rounds + b"\0" + END


def midi_bytes(ticks_per_quarter: int, tracks: Sequence[bytes]) -> bytes:
    """A MIDI file of format 1 from the events of its tracks."""
    header = b"MThd\0\0\0\6\0\1" + len(tracks).to_bytes(2) + ticks_per_quarter.to_bytes(2)
    return header + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


def _count_clipped(ticks_per_quarter: int, tracks: list[bytes]) -> int:
    """Notes whose pitch or velocity symusic has clipped to 127, told from those that have it.

    With every byte 127 lowered to 126, what is still 127 was more. (Where 127 is also the length
    of a text, the track falls apart and nothing can be said.)
    """
    lowered = [track.replace(b"\x7f", b"\x7e") for track in tracks]
    try:
        notes = _closed_score(ticks_per_quarter, lowered)[1]
    except RuntimeError:
        return 0
    return int(((notes["pitch"] == 127) | (notes["velocity"] == 127)).sum())


def count_note_ons(ticks_per_quarter: int, tracks: Sequence[bytes]) -> int | None:
    """Note-ons as mido counts them (https://mido.readthedocs.io); None where it cannot read."""
    count = 0
    try:
        file = mido.MidiFile(file=io.BytesIO(midi_bytes(ticks_per_quarter, tracks)), clip=True)
        for track in file.tracks:
            for message in track:
                if message.type == "end_of_track":
                    break
                count += message.type == "note_on" and message.velocity > 0
    except Exception:  # mido, too, raises whatever it meets
        return None
    return count


def _select(
    notes: np.ndarray, score: symusic.core.ScoreTick, chosen: frozenset[int], dropped: Counter[str]
) -> tuple[np.ndarray, Sequence[int]]:
    """The notes that count as music, and the score's tracks that have any; `dropped` counts."""
    present: Sequence[int] = range(len(score.tracks))
    drums = [part.is_drum for part in score.tracks]
    unwanted = {}
    if any(drums):
        unwanted["percussion"] = np.array(drums)[notes["track"]]
    if len(chosen) < 128:
        unwanted["other instruments"] = ~np.isin(notes["program"], list(chosen))
    if len(notes) and notes["duration"].min() < 1:
        unwanted["zero length"] = notes["duration"] < 1
    if unwanted:
        left_out = np.zeros(len(notes), dtype=bool)
        for reason, mask in unwanted.items():  # a note counts once, for the first reason
            if number := int((mask & ~left_out).sum()):
                dropped[reason] += number
            left_out |= mask
        notes = notes[~left_out]
        present, notes["track"] = np.unique(notes["track"], return_inverse=True)
    return notes, present


def _signatures(score: symusic.core.ScoreTick, repaired: Counter[str]) -> dict:
    """Tempi, time signatures and key of a `Piece`; what cannot be meant is counted."""
    tempi = [(t.time, round(t.qpm, 3)) for t in score.tempos if 0 < t.qpm < np.inf]
    metres = [
        (s.time, s.numerator, s.denominator)
        for s in score.time_signatures
        if s.numerator > 0 and 0 < s.denominator <= 64
    ]
    keys = [key_name(k.key, bool(k.tonality)) for k in score.key_signatures if -7 <= k.key <= 7]
    if len(tempi) < len(score.tempos):
        repaired["impossible tempo ignored"] = len(score.tempos) - len(tempi)
    if len(metres) < len(score.time_signatures):
        repaired["impossible time signature ignored"] = len(score.time_signatures) - len(metres)
    return {
        "tempi": tuple(tempi) or ((0, DEFAULT_TEMPO),),
        "time_signatures": tuple(metres) or ((0, 4, 4),),
        "key": keys[0] if keys else None,
    }


# ---- writing


def to_symusic(piece: Piece) -> symusic.Score:
    """The piece as a symusic score: one track for each of ours, same ticks."""
    score = symusic.Score(piece.ticks_per_quarter)
    score.tempos.extend([symusic.Tempo(tick, qpm=bpm) for tick, bpm in piece.tempi])
    score.time_signatures.extend([symusic.TimeSignature(*s) for s in piece.time_signatures])
    if piece.key:
        sharps, minor = key_sharps(piece.key)
        score.key_signatures.append(symusic.KeySignature(0, sharps, int(minor)))
    for index, name in enumerate(piece.track_names or ("Piano",)):
        notes = piece.notes[piece.notes["track"] == index]
        track = symusic.Track(name, program=int(notes["program"][0]) if len(notes) else 0)
        times = (notes[column].astype(np.int32) for column in ("onset", "duration"))
        data = (notes[column].astype(np.int8) for column in ("pitch", "velocity"))
        track.notes = symusic.Note.from_numpy(*times, *data)
        score.tracks.append(track)
    return score


def write_midi(piece: Piece, path: str | Path) -> Path:
    """Write a MIDI file that `read_midi` reads back to an equal `Piece`.

    Exact as long as every track has one program (that of its first note is written for all), and
    no two notes of one pitch overlap on a track: a MIDI file cannot say which of them a note-off
    ends (`read_midi` then ends the one that began first).
    """
    path = Path(path)
    path.write_bytes(to_symusic(piece).dumps_midi())
    return path
