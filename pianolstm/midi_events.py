"""The events of a MIDI track one by one, for the few tracks that need a repair.

This is far slower than symusic, so `midi_bytes` asks for it only where symusic finds no end of a
note or of a track, or where a mark cannot be meant.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7  # events that say how long they are
DATA_BYTES = {0xC: 1, 0xD: 1}  # of channel messages; the others have two
SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # of system messages; the others have none
END = b"\xff\x2f\x00"  # the end-of-track event
NOTHING = b"\xff\x01\x00"  # an empty text event
MARKS = {0x51: "tempo", 0x58: "time signature", 0x59: "key signature"}
# A tempo of 0, a metre of no beats or of beats shorter than 1/64, a key of more than seven signs,
# or any of them in the wrong length
IMPOSSIBLE = re.compile(
    rb"\xff(?:\x51(?!\x03(?!\x00\x00\x00))"
    rb"|\x58(?!\x04[^\x00][\x00-\x06])"
    rb"|\x59(?!\x02[\xf9-\xff\x00-\x07]))"
)
STRUCK_AGAIN = "struck again without a note-off"
BEHIND = "bytes after the end of a track"


def repair(track: bytes, repaired: Counter[str]) -> bytes:
    """A track without its end, impossible marks and lost note-offs; counts in `repaired`.

    Where a key ends with fewer note-offs than note-ons, one was lost since the last moment at which
    the key was not held. From there on, a note ends when its key is struck again.
    """
    ticks, deltas, events = map(list, zip(*read_events(track)))
    repaired[BEHIND] += len(events[-1])
    events[-1] = b""
    held: dict[tuple[int, int], list[int]] = defaultdict(list)  # key → its events since it was free
    balance: Counter[tuple[int, int]] = Counter()  # of each held key: note-ons without a note-off
    for place, event in enumerate(events):
        if IMPOSSIBLE.match(event):
            repaired[f"impossible {MARKS[event[1]]} ignored"] += 1
            events[place] = NOTHING
        key, is_on = note_event(event)
        if is_on or key in held:
            held[key].append(place)
            balance[key] += 1 if is_on else -1
            if not balance[key]:
                del held[key]
    for key, places in held.items():
        sounding, ended = False, None  # ended: the tick at which a note was ended here
        for place in places:
            _, is_on = note_event(events[place])
            if is_on and sounding:
                note_off = bytes((0x80 | key[0], key[1], 0))
                events[place], ended = note_off + b"\0" + events[place], ticks[place]
                repaired[STRUCK_AGAIN] += 1
            elif not is_on and ended == ticks[place]:  # the lost one, behind the note-on
                events[place], ended = NOTHING, None
                repaired[STRUCK_AGAIN] -= 1
            else:
                sounding = is_on
    return b"".join(delta + event for delta, event in zip(deltas, events))


def note_event(event: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Channel and pitch of a note-on or note-off, or None, and whether it is a note-on."""
    kind = event[0] >> 4 if len(event) == 3 else 0
    if kind not in (0x8, 0x9):
        return None, False
    return (event[0] & 0xF, min(event[1], 127)), kind == 0x9 and event[2] > 0


def read_events(track: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tick, delta time as written, and bytes of all events of a track.

    Channel messages have their status byte also where the track leaves it out (running status).
    Other system messages than text and marks are no music and come as `NOTHING`. In place of the
    end-of-track event comes what stands behind it. Raises RuntimeError where the bytes end within
    an event.
    """
    tick = place = running = 0
    while place != len(track):
        start = place
        ticks, place = read_number(track, place)
        tick, delta = tick + ticks, track[start:place]
        if track.startswith(END, place):
            yield tick, delta, track[place + len(END) :]
            return
        if place >= len(track):
            raise RuntimeError("the last event of a track is not whole")
        status = running
        if track[place] >= 0x80:
            status, place = track[place], place + 1
        begin = place
        if status in (META, SYSEX, ESCAPE):
            length, place = read_number(track, place + (status == META))
            place += length
        elif status >= 0xF0:
            place += SYSTEM_BYTES.get(status, 0)
        else:
            running = status
            place += DATA_BYTES.get(status >> 4, 2)
        is_music = status == META or status < 0xF0
        yield tick, delta, bytes([status]) + track[begin:place] if is_music else NOTHING
    yield tick, b"\0", b""


def read_number(track: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, seven bits a byte, and the place behind it."""
    number = 0
    while place < len(track):
        byte = track[place]
        number, place = number << 7 | byte & 0x7F, place + 1
        if byte < 0x80:
            break
    return number, place
