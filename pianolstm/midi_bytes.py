"""The bytes of a MIDI file → its tracks → a symusic score in which every note has an end.

symusic (https://github.com/Yikai-Liao/symusic) is fast and says nothing of what it repairs. So a
cut tail is looked for before it reads, and each track is given note-offs far behind its end: what
lasts that long had none of its own, and the tracks are repaired and read again.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np
import symusic

from pianolstm.midi_events import END, IMPOSSIBLE, NOTHING, repair
from pianolstm.piece import NOTE_DTYPE, printable

# O_NONBLOCK: a named pipe is not waited for
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
LARGEST = 32 * 2**20  # bytes; a long orchestral work has about one hundredth of it
HANGING = 4  # quarters that a note without a note-off lasts at most

FAR = 2**28 - 1  # ticks, the longest delta time that MIDI can write
MARK = "pianolstm: the track ends here"
# A marker, then, after FAR ticks, an empty text event
MARKER = b"\xff\x06" + bytes([len(MARK)]) + MARK.encode() + b"\xff\xff\xff\x7f" + NOTHING
ALL_OFF = [
    b"".join(bytes((0, 0x80 | channel, pitch, 0)) for pitch in range(128)) for channel in range(16)
]


class MidiParseError(ValueError):
    """A file that gives no notes. Says which file, what was found and what to do."""

    def __init__(self, path: Path, found: str, advice: str) -> None:
        super().__init__(f"{printable(path.name)}: {found}. {advice}")


def read_bytes(path: Path) -> bytes:
    """The whole file, without a RIFF wrapper around it (.rmi).

    Raises MidiParseError where it cannot be read, is empty or far too large.
    """
    try:
        file = os.open(path, OPEN_FLAGS)  # half the time of open()
        try:
            size = os.fstat(file).st_size
            data = os.read(file, size) if size <= LARGEST else b""
        finally:
            os.close(file)
    except OSError as error:
        found = f"cannot be opened ({error.strerror or error})"
        advice = f"Check the path {printable(str(path.absolute()))}"
        raise MidiParseError(path, found, advice) from error
    if size > LARGEST:
        found = f"{size:,} bytes, more than any piece of music has"
        raise MidiParseError(path, found, "Check what it holds")
    if not data:
        raise MidiParseError(path, "the file is empty (0 bytes)", "Get another copy of the file")
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        start = data.find(b"data", 12) + 8  # behind the name of the chunk and its length
        return data[start : start + int.from_bytes(data[start - 4 : start], "little")]
    return data


def split_tracks(path: Path, repaired: Counter[str]) -> tuple[int, list[bytes]]:
    """Ticks a quarter of a file, and the bytes of every track. Counts in `repaired`.

    A cut tail must not pass unseen, nor a track that the header does not count. Raises
    MidiParseError for what is no MIDI file of format 0 or 1, or is truncated.
    """
    data = read_bytes(path)
    if data[:4] != b"MThd" or len(data) < 14:
        start = data[:12].decode("latin-1")
        found = f"not a MIDI file: it starts with {start!r} instead of 'MThd' and a header"
        raise MidiParseError(path, found, "Check the file extension")
    kind, count, division = (int.from_bytes(data[i : i + 2]) for i in (8, 10, 12))
    if kind > 1:
        raise MidiParseError(path, f"MIDI format {kind}", "Convert it to format 0 or 1")
    if division & 0x8000 or division == 0:
        advice = "Export it with ticks a quarter note"
        raise MidiParseError(path, "time in SMPTE frames, not in beats", advice)
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
    repaired["tracks more than the header says"] = len(tracks) - count
    repaired["bytes after the last track"] = max(0, size - position)
    return division, tracks


def parse_tracks(
    ticks_per_quarter: int, tracks: Sequence[bytes], repaired: Counter[str]
) -> tuple[symusic.core.ScoreTick, np.ndarray]:
    """Score and notes (NOTE_DTYPE, durations of 0 occur). Counts in `repaired`.

    Raises RuntimeError, or what else symusic meets, on damage.
    """
    cut = [track.removesuffix(END) for track in tracks]
    is_odd = any(not track.endswith(END) or IMPOSSIBLE.search(track) for track in tracks)
    try:
        score, notes = _closed_score(ticks_per_quarter, cut)
        is_odd |= notes["duration"].max(initial=0) >= FAR
    except RuntimeError:  # also where a track ends before its last bytes
        is_odd = True
    if is_odd:
        cut = [repair(track, repaired) for track in tracks]
        score, notes = _closed_score(ticks_per_quarter, cut)
        endless = notes["duration"] >= FAR
        repaired["without a note-off"] += int(endless.sum())
        to_the_end = np.minimum(notes["duration"] - FAR, HANGING * ticks_per_quarter)
        notes["duration"] = np.where(endless, to_the_end, notes["duration"])
    if len(notes) and (notes["pitch"].max() == 127 or notes["velocity"].max() == 127):
        repaired["clipped to 127"] += _count_clipped(ticks_per_quarter, cut)
    return score, notes


def _closed_score(
    ticks_per_quarter: int, tracks: Sequence[bytes]
) -> tuple[symusic.core.ScoreTick, np.ndarray]:
    """Parse tracks without their ends, with a note-off for each pitch added far behind them.

    Returns score and notes. Those that only the added note-offs end last `FAR` ticks or more. Of
    several notes of a pitch that are open at the end only one is returned: these tracks need a
    `repair`. Raises RuntimeError on damage.
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
    return score, notes


def _ending(track: bytes) -> bytes:
    """A marker that proves that all before it was read whole, then, very far behind it, a note-off
    for each pitch in all channels that the track uses, and the end."""
    offs = b"".join([ALL_OFF[channel] for channel in range(16) if 0x90 | channel in track])
    return MARKER + offs + b"\0" + END


def midi_bytes(ticks_per_quarter: int, tracks: Sequence[bytes]) -> bytes:
    """A MIDI file of format 1 from the events of its tracks."""
    header = b"MThd\0\0\0\6\0\1" + len(tracks).to_bytes(2) + ticks_per_quarter.to_bytes(2)
    return header + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


def _count_clipped(ticks_per_quarter: int, tracks: Sequence[bytes]) -> int:
    """Notes whose pitch or velocity symusic has clipped to 127, told from those that have it.

    With every byte 127 lowered to 126, what is still 127 was more. (Where 127 is also the length
    of a text, the track falls apart and nothing can be said.)
    """
    lowered = [track.replace(b"\x7f", b"\x7e") for track in tracks]
    try:
        _, notes = _closed_score(ticks_per_quarter, lowered)
    except RuntimeError:
        return 0
    return int(((notes["pitch"] == 127) | (notes["velocity"] == 127)).sum())


def count_note_ons(path: Path) -> int | None:
    """Note-ons as mido counts them (https://mido.readthedocs.io); None where it cannot read."""
    try:
        data = midi_bytes(*split_tracks(path, Counter()))
        tracks = mido.MidiFile(file=io.BytesIO(data), clip=True).tracks
    except Exception:  # mido, too, raises whatever it meets
        return None
    count = 0
    for track in tracks:
        for message in track:
            if message.type == "end_of_track":
                break
            count += message.type == "note_on" and message.velocity > 0
    return count
