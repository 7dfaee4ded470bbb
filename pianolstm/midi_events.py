"""The events of a MIDI track one by one, for the few tracks that need a repair.

This is far slower than symusic, so `midi_bytes` asks for it only where symusic finds a note without
an end, or where a mark has a shape that symusic misreads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

STRUCK_AGAIN = "struck again without a note-off"
META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7  # events that say how long they are
DATA_BYTES = {0xC: 1, 0xD: 1}  # of channel messages; the others have two
SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # of system messages; the others have none
NOTHING = b"\xff\x01\x00"  # an empty text event
MARKS = {0x51: "tempo", 0x58: "time signature", 0x59: "key signature"}
# A mark of the wrong length, or a beat unit beyond 1/64
MISSHAPEN = re.compile(rb"\xff(?:\x51(?!\x03)|\x58(?!\x04.[\x00-\x06])|\x59(?!\x02))", re.DOTALL)

Event = tuple[int, bytes, bytes]  # tick, delta time as written, bytes from the status on
Key = tuple[int, int]  # of the keyboard: channel and pitch


def repair(track: bytes, repaired: Counter[str]) -> bytes:
    """A track without misshapen marks and lost note-offs; counts in `repaired`.

    Where a key ends with fewer note-offs than note-ons, one was lost since the last moment at which
    the key was not held. From there on, a note ends when its key is struck again.
    """
    events = [_without_misshapen(event, repaired) for event in read_events(track)]
    result, last_free = bytearray(), last_free_places(events)
    sounding: set[Key] = set()
    ended: dict[Key, int] = {}  # key → tick at which a note was ended here
    for place, (tick, delta, event) in enumerate(events):
        key, is_on = note_event(event)
        if place <= last_free.get(key, len(events)):
            pass  # note-ons and note-offs balance
        elif is_on and key in sounding:
            channel, pitch = key
            result += delta + bytes((0x80 | channel, pitch, 0))
            delta, ended[key] = b"\0", tick
            repaired[STRUCK_AGAIN] += 1
        elif is_on:
            sounding.add(key)
        elif ended.pop(key, None) == tick:  # the lost one, behind the note-on instead of before it
            event = NOTHING
            repaired[STRUCK_AGAIN] -= 1
        else:
            sounding.discard(key)
        result += delta + event
    return bytes(result)


def _without_misshapen(event: Event, repaired: Counter[str]) -> Event:
    tick, delta, data = event
    if not MISSHAPEN.match(data):
        return event
    repaired[f"impossible {MARKS[data[1]]} ignored"] += 1
    return tick, delta, NOTHING


def last_free_places(events: Sequence[Event]) -> dict[Key, int]:
    """For each key that is held at the end, the event since which it is (-1: the start)."""
    held: Counter[Key] = Counter()
    freed: dict[Key, int] = {}
    for place, (_, _, event) in enumerate(events):
        key, is_on = note_event(event)
        if is_on:
            held[key] += 1
        elif key and held[key]:
            held[key] -= 1
            freed[key] = place if not held[key] else freed.get(key, -1)
    return {key: freed.get(key, -1) for key, number in held.items() if number}


def note_event(event: bytes) -> tuple[Key | None, bool]:
    """The key of a note-on or note-off, None for other events, and whether it is a note-on."""
    kind = event[0] >> 4 if len(event) == 3 else 0
    if kind not in (0x8, 0x9):
        return None, False
    return (event[0] & 0xF, min(event[1], 127)), kind == 0x9 and event[2] > 0


def read_events(track: bytes) -> Iterator[Event]:
    """All events of a track; the last is empty where a track ends with a delta time.

    Channel messages have their status byte also where the track leaves it out (running status).
    Other system messages than text and marks are no music and come as `NOTHING`.
    """
    tick = place = running = 0
    while place < len(track):
        start = place
        ticks, place = read_number(track, place)
        tick += ticks
        delta = track[start:place]
        if place == len(track):
            yield tick, delta, b""
            return
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


def read_number(track: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, seven bits a byte, and the place behind it."""
    number = 0
    while place < len(track):
        byte = track[place]
        number, place = number << 7 | byte & 0x7F, place + 1
        if byte < 0x80:
            break
    return number, place
