"""How a piece is written down, in plain numbers: times, voices, note values, spelling.

Times are in units of 1/48 quarter, which hold all that is engraved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

UNITS = 48  # units of a quarter: a 64th note has 3, a 64th of a triplet 2
# Units that one note can have: part of a triplet, plain, or dotted
NOTE_VALUES = {first << k for first in (1, 3, 9) for k in range(8) if first << k <= 8 * UNITS}
STEPS = "FCGDAEB"  # the line of fifths


def engraving_grid(notes: np.ndarray, tpq: int) -> np.ndarray:
    """The notes with times in units, on 64ths and triplets of 64ths; `tpq` is ticks per quarter.

    A note that does not begin and end there is moved to 1/8 quarters, and lasts 1/8 at least. Where
    most notes do not, as in a performance, all are moved.
    """
    times = np.stack([notes["onset"], notes["onset"] + notes["duration"]])
    exact = ((times * 16 % tpq == 0) | (times * 24 % tpq == 0)).all(axis=0)
    exact &= exact.mean() >= 0.5
    begins, ends = np.where(exact, times * UNITS // tpq, np.round(times * 8 / tpq) * (UNITS // 8))
    moved = notes.copy()
    moved["onset"], moved["duration"] = begins, np.where(ends > begins, ends - begins, UNITS // 8)
    return moved


class Chord(NamedTuple):
    """Notes of one staff that begin and end together."""

    onset: int  # units
    end: int  # units
    pitches: list[int]  # rising


def voices(notes: np.ndarray, apart: bool = False) -> list[list[Chord]]:
    """Sort the notes of one staff into voices in which nothing overlaps.

    A chord goes to the first voice that is free. Of chords that begin together, the highest goes
    first, so that the top voice holds the tune. With `apart`, the top note of a chord goes to the
    first voice and the others to the second, where both are free.
    """
    together = defaultdict(set)
    for onset, duration, pitch, *_ in notes.tolist():
        together[onset, onset + duration].add(pitch)
    chords = [Chord(onset, end, sorted(found)) for (onset, end), found in together.items()]
    result: list[list[Chord]] = [[], []]
    for chord in sorted(chords, key=lambda chord: (chord.onset, -chord.pitches[-1])):
        free = [voice for voice in result if not voice or voice[-1].end <= chord.onset]
        if not free:
            result.append([chord])
        elif apart and len(chord.pitches) > 1 and free[:2] == result[:2]:
            result[0].append(chord._replace(pitches=chord.pitches[-1:]))
            result[1].append(chord._replace(pitches=chord.pitches[:-1]))
        else:
            free[0].append(chord)
    return [voice for voice in result if voice]


def lengths(begin: int, end: int, rest: bool = False) -> Iterator[int]:
    """Note values that fill a stretch, counted from the beginning of its bar.

    A length that is no note value is split at beats, and so is every rest. (music21 would write 7/6
    quarter as one note of a 12:7 tuplet, which verovio plays wrongly.)
    """
    while begin < end:
        length = room = end - begin
        if rest or length not in NOTE_VALUES:
            if begin % UNITS:
                room = min(room, UNITS - begin % UNITS)
            elif room > UNITS:
                room -= room % UNITS
            first = 1 if begin % 3 or room % 3 else 3  # part of a triplet, or plain
            values = (first << k for k in range(8))
            length = max(value for value in values if value <= room and begin % value == 0)
        yield length
        begin += length


def spelled(pitch: int, centre: int) -> tuple[str, int, int]:
    """Step, alteration and octave of a MIDI number in a key: its name near on the line of fifths.

    `centre` is the number of sharps (flats are negative), and 1 more in minor. The names in C major
    are E flat to G sharp, those in A minor B flat to D sharp.
    """
    lowest = centre - 3  # place on the line: F is -1, C 0, G 1
    place = lowest + (7 * pitch - lowest) % 12
    alter, step = divmod(place + 1, 7)
    return STEPS[step], alter, (pitch - alter) // 12 - 1
