"""The bytes of a MIDI file → its tracks → a symusic score in which every note has an end.

symusic (https://github.com/Yikai-Liao/symusic) is fast and says nothing of what it repairs. So a
cut tail is looked for before it reads, and each track is given note-offs far behind its end: what
lasts that long had none of its own, and the track is repaired and read again.
"""

from __future__ import annotations

import io
import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import symusic

from pianolstm.midi_events import MISSHAPEN, repair
from pianolstm.piece import NOTE_DTYPE, printable

# O_NONBLOCK: a named pipe is refused at once, not waited for
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
LARGEST = 32 * 2**20  # bytes; a long orchestral work has about one hundredth of it
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
        super().__init__(path, found, advice)
        self.path, self.found, self.advice = path, found, advice

    def __str__(self) -> str:
        return f"{printable(self.path.name)}: {self.found}. {self.advice}"


def read_bytes(path: Path) -> bytes:
    """The whole file, without a RIFF wrapper around it (.rmi).

    Raises MidiParseError where it cannot be read, is no file, is empty or far too large.
    """
    try:
        file = os.open(path, OPEN_FLAGS)  # half the time of open()
        try:
            status = os.fstat(file)
            is_file, size = stat.S_ISREG(status.st_mode), status.st_size
            data = os.read(file, size) if is_file and size <= LARGEST else b""
        finally:
            os.close(file)
    except OSError as error:
        reason, place = error.strerror or str(error), printable(str(path.absolute()))
        advice = f"Check the path {place}"
        raise MidiParseError(path, f"cannot be opened ({reason})", advice) from error
    if not is_file:
        raise MidiParseError(path, "a folder or a device, not a file", "Check the path")
    if size > LARGEST:
        raise MidiParseError(
            path, f"{size:,} bytes, more than any piece of music has", "Check what it holds"
        )
    if not data:
        raise MidiParseError(path, "the file is empty (0 bytes)", "Get another copy of the file")
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        start = data.find(b"data", 12) + 8  # behind the name of the chunk and its length
        return data[start : start + int.from_bytes(data[start - 4 : start], "little")]
    return data


def split_tracks(path: Path, data: bytes) -> tuple[int, list[bytes], Counter[str]]:
    """Ticks a quarter, the bytes of every track, and what was odd about them, counted.

    A cut tail must not pass unseen, nor a track that the header does not count. Raises
    MidiParseError for what is no MIDI file of format 0 or 1, or is truncated.
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


def parse_tracks(
    ticks_per_quarter: int, tracks: list[bytes], repaired: Counter[str]
) -> tuple[symusic.core.ScoreTick, np.ndarray]:
    """Score and notes (NOTE_DTYPE, durations of 0 occur). Counts in `repaired`.

    Raises RuntimeError, or what else symusic meets, on damage.
    """
    cut = [_until_end(track, track.find(END)) for track in tracks]
    try:
        score, notes, endless = _closed_score(ticks_per_quarter, cut)
    except RuntimeError:  # the three bytes of END can stand inside a text
        cut = [_until_end(track, track.rfind(END)) for track in tracks]
        score, notes, endless = _closed_score(ticks_per_quarter, cut)
    behind = sum(map(len, tracks)) - sum(map(len, cut)) - len(END) * len(tracks)
    if behind > 0:
        repaired[BEHIND] += behind
    if endless is not None or any(map(MISSHAPEN.search, cut)):
        cut = [repair(track, repaired) for track in cut]
        score, notes, endless = _closed_score(ticks_per_quarter, cut)
    at_most = len(notes) and (notes["pitch"].max() == 127 or notes["velocity"].max() == 127)
    if at_most and (clipped := _count_clipped(ticks_per_quarter, cut)):
        repaired[CLIPPED] += clipped
    if endless is not None:
        repaired[NO_OFF] += int(endless.sum())
        lasts = np.minimum(notes["duration"] - FAR, HANGING * ticks_per_quarter)
        notes["duration"][endless] = lasts[endless]
    return score, notes


def _until_end(track: bytes, end: int) -> bytes:
    """A track's bytes up to its end-of-track event, without that and what follows it."""
    return track + b"\0" if end < 0 else track[:end]


def _closed_score(
    ticks_per_quarter: int, tracks: list[bytes]
) -> tuple[symusic.core.ScoreTick, np.ndarray, np.ndarray | None]:
    """Parse tracks with a note-off for each pitch added far behind their ends.

    Returns score, notes, and a mask of the notes that only the added note-offs end, or None if
    there are none. Where several notes of a pitch are open at the end, only one is returned: these
    tracks need a `repair`. Raises RuntimeError on damage.
    """
    closed = [track + _ending(track) for track in tracks]
    # Without sanitize_data, a pitch above 127 makes symusic write outside of its memory.
    score = symusic.Score.from_midi(midi_bytes(ticks_per_quarter, closed), sanitize_data=True)
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
    return score, notes, notes["duration"] >= FAR


def _ending(track: bytes) -> bytes:
    """The end of a track: a marker that proves that all before it was read whole, then, very far
    behind it, a note-off for each pitch in all channels that the track uses."""
    offs = b"".join([ALL_OFF[channel] for channel in range(16) if 0x90 | channel in track])
    return MARKER + FAR_AND_NO_TEXT + offs + b"\0" + END


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
