"""A piece in musical notation: bars, staves, voices, note values and the spelling of pitches.

`to_stream` gives what the score engraves, as a music21 stream. Times are in units of 1/48 quarter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import music21
import numpy as np

from pianolstm.hands import MIDDLE_C
from pianolstm.piece import Piece, key_sharps

MANY_STAVES = 8  # a piece of more tracks is written for two hands
VIOLA = 41  # its General MIDI program; the only instrument that reads an alto clef
UNITS = 48  # units of a quarter: a 64th note has 3, a 32nd of a triplet 4
# Units that one note can have: part of a triplet, plain, or dotted
NOTE_VALUES = {first << k for first in (1, 3, 9) for k in range(8) if first << k <= 8 * UNITS}
STEPS = "FCGDAEB"  # the line of fifths


def to_stream(piece: Piece) -> music21.stream.Score:
    """The piece as a music21 score, ready for engraving, with the bars of `Piece.bar_starts`.

    Two tracks are two staves, the higher one above, and three to eight tracks a named staff each.
    Any other piece is split at middle C. Tracks are counted as `_tracks` gives them.
    """
    stream = music21.stream.Score()
    stream.insert(0, music21.metadata.Metadata(title=piece.name.replace("_", " ")))
    notes = engraving_grid(piece.notes, piece.ticks_per_quarter)
    bars = _bars(piece, int((notes["onset"] + notes["duration"]).max()))
    staves = [_staff(piece.key, bars, *part) for part in _parts(notes, piece.track_names)]
    for tick, bpm in piece.tempi:
        place = int(to_units(np.array(tick), piece.ticks_per_quarter))
        for measure, bar in zip(staves[0].getElementsByClass(music21.stream.Measure), bars):
            if bar.start <= place < bar.stop:
                mark = music21.tempo.MetronomeMark(number=round(bpm))
                measure.insert(Fraction(place - bar.start, UNITS), mark)
    for staff in staves:
        staff.makeNotation(inPlace=True)
        stream.insert(0, staff)
    symbol = "bracket" if len(staves) > 2 else "brace"
    stream.insert(0, music21.layout.StaffGroup(staves, symbol=symbol))
    return stream


# ---- times, bars, staves


def fits(ticks: np.ndarray, ticks_per_quarter: int) -> np.ndarray:
    """Whether notation can express a time: 64th notes, and triplets down to 32nds."""
    return (ticks * 16 % ticks_per_quarter == 0) | (ticks * 12 % ticks_per_quarter == 0)


def to_units(ticks: np.ndarray, ticks_per_quarter: int, exact: np.ndarray | None = None):
    """Times in units. Those that notation cannot express (not `exact`) move to 1/8 quarters."""
    exact = fits(ticks, ticks_per_quarter) if exact is None else exact
    eighths = np.round(ticks * 8 / ticks_per_quarter).astype(np.int64)
    return np.where(exact, ticks * UNITS // ticks_per_quarter, eighths * (UNITS // 8))


def engraving_grid(notes: np.ndarray, ticks_per_quarter: int) -> np.ndarray:
    """The notes with times in units. A note that moves has both ends moved, and lasts 1/8 at least."""
    begins, ends = notes["onset"], notes["onset"] + notes["duration"]
    exact = fits(begins, ticks_per_quarter) & fits(ends, ticks_per_quarter)
    moved = notes.copy()
    moved["onset"] = to_units(begins, ticks_per_quarter, exact)
    length = to_units(ends, ticks_per_quarter, exact) - moved["onset"]
    moved["duration"] = np.where(length > 0, length, UNITS // 8)
    return moved


class Bar(NamedTuple):
    """Where a bar begins and ends, in units, and its metre."""

    start: int
    stop: int
    metre: str  # "3/4"


def _bars(piece: Piece, end: int) -> list[Bar]:
    """The bars of a piece whose last note ends at `end`; a bar ends where the metre changes."""
    tpq = piece.ticks_per_quarter
    starts = np.unique(to_units(np.array(piece.bar_starts()), tpq)).tolist()
    changes = {0: (4, 4)}
    for tick, beats, unit in piece.time_signatures:
        changes[int(to_units(np.array(tick), tpq))] = beats, unit
    metres = [changes[max(place for place in changes if place <= start)] for start in starts]
    beats, unit = metres[-1]
    stops = [*starts[1:], max(end, starts[-1] + 4 * UNITS * beats // unit)]
    return [Bar(a, b, f"{beats}/{unit}") for a, b, (beats, unit) in zip(starts, stops, metres)]


def _parts(
    notes: np.ndarray, names: tuple[str, ...]
) -> list[tuple[np.ndarray, music21.clef.Clef, str | None]]:
    """(notes, clef, name) of each staff; two hands have no names."""
    tracks = _tracks(notes, names)
    if 2 < len(tracks) <= MANY_STAVES:
        return [(mine, _clef(mine), names[mine["track"][0]]) for mine in tracks]
    if len(tracks) == 2:
        upper, lower = sorted(tracks, key=lambda mine: -mine["pitch"].mean())
    else:
        upper, lower = notes[notes["pitch"] >= MIDDLE_C], notes[notes["pitch"] < MIDDLE_C]
    return [(upper, music21.clef.TrebleClef(), None), (lower, music21.clef.BassClef(), None)]


def _tracks(notes: np.ndarray, names: tuple[str, ...]) -> list[np.ndarray]:
    """The notes of each player.

    The reader makes a track of every program. Tracks of different programs that never sound
    together, with names that differ by a number at most, are one player who changes programs.
    """
    tracks: list[np.ndarray] = []
    for number in np.unique(notes["track"]):
        mine = notes[notes["track"] == number]
        for i, other in enumerate(tracks):
            name, other_name = names[number], names[other["track"][0]]
            if (
                name.rstrip("0123456789") == other_name.rstrip("0123456789")
                and mine["program"][0] not in other["program"]
                and not (_sounding(mine) & _sounding(other))
            ):
                tracks[i] = np.concatenate([other, mine])
                break
        else:
            tracks.append(mine)
    return tracks


def _sounding(notes: np.ndarray) -> set[int]:
    """The units in which any of the notes sounds."""
    spans = {(onset, onset + length) for onset, length, *_ in notes.tolist()}
    return {unit for start, stop in spans for unit in range(start, stop)}


def _clef(notes: np.ndarray) -> music21.clef.Clef:
    if notes["program"][0] == VIOLA:
        return music21.clef.AltoClef()
    if np.median(notes["pitch"]) < MIDDLE_C:
        return music21.clef.BassClef()
    return music21.clef.TrebleClef()


def _staff(
    key: str | None, bars: list[Bar], notes: np.ndarray, clef: music21.clef.Clef, name: str | None
) -> music21.stream.Part:
    """One staff, bar by bar.

    A staff that needs two voices in half of its bars has two voices wherever it can.
    """
    staff = music21.stream.Part() if name else music21.stream.PartStaff()
    staff.partName = name
    sharps, minor = key_sharps(key) if key else (0, False)
    found = voices(notes)
    second = [chord.onset for voice in found[1:] for chord in voice]
    needed = [bar for bar in bars if any(bar.start <= onset < bar.stop for onset in second)]
    if 2 * len(needed) >= len(bars):
        found = voices(notes, apart=True)
    metre = None
    for number, bar in enumerate(bars, start=1):
        measure = _measure(bar, found, sharps + minor)
        measure.number = number
        if number == 1:
            measure.insert(0, clef)
            measure.insert(0, music21.key.KeySignature(sharps))
        if bar.metre != metre:
            metre = bar.metre
            measure.insert(0, music21.meter.TimeSignature(metre))
        staff.insert(Fraction(bar.start, UNITS), measure)
    measure.rightBarline = "final"
    return staff


# ---- voices


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


def _measure(bar: Bar, found: list[list[Chord]], centre: int) -> music21.stream.Measure:
    """One bar. Of several voices the highest has its stems up, and the others down."""
    measure = music21.stream.Measure()
    inside = [[c for c in voice if c.onset < bar.stop and c.end > bar.start] for voice in found]
    inside = [voice for voice in inside if voice] or [[]]
    inside.sort(key=lambda voice: -sum(c.pitches[-1] for c in voice) / max(1, len(voice)))
    everything = [chord for voice in inside for chord in voice]
    for number, chords in enumerate(inside, start=1):
        # Notes must be in voices, and these counted from 1: anything else is engraved wrongly
        voice = music21.stream.Voice(id=str(number))
        begin = bar.start
        for chord in chords:
            voice.append(_rests(begin, chord.onset, bar, everything, hidden=number > 1))
            voice.append(_tied(chord, bar, centre))
            begin = chord.end
        voice.append(_rests(begin, bar.stop, bar, everything, hidden=number > 1))
        if len(inside) > 1:
            for element in voice.notes:
                element.stemDirection = "up" if number == 1 else "down"
        measure.insert(0, voice)
    return measure


# ---- note values and pitches


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
            values = [first << k for k in range(8) if first << k <= room]
            length = max(value for value in values if begin % value == 0)
        yield length
        begin += length


def _rests(
    begin: int, end: int, bar: Bar, everything: list[Chord], hidden: bool
) -> list[music21.note.Rest]:
    """Rests of a voice, printed only where the staff is silent."""
    metre = music21.meter.TimeSignature(bar.metre).barDuration.quarterLength
    if end - begin == metre * UNITS:
        return [music21.note.Rest(quarterLength=metre, fullMeasure=True)]
    rests = []
    inside = {t for c in everything for t in (c.onset, c.end) if begin < t < end}
    for start, stop in pairwise(sorted({begin, *inside, max(begin, end)})):
        sounding = any(c.onset <= start < c.end for c in everything)
        for length in lengths(start - bar.start, stop - bar.start, rest=True):
            rest = music21.note.Rest(quarterLength=Fraction(length, UNITS), fullMeasure=False)
            rest.style.hideObjectOnPrint = hidden or sounding
            rests.append(rest)
    return rests


def _tied(chord: Chord, bar: Bar, centre: int) -> list[music21.chord.Chord]:
    """The part of a chord that lies in a bar: one that can be written, or several that are tied."""
    begin = max(chord.onset, bar.start)
    elements = []
    for length in lengths(begin - bar.start, min(chord.end, bar.stop) - bar.start):
        pitches = [spelled(pitch, centre) for pitch in chord.pitches]
        element = music21.chord.Chord(pitches, quarterLength=Fraction(length, UNITS))
        ties = {(0, 0): None, (0, 1): "start", (1, 1): "continue", (1, 0): "stop"}
        tie = ties[begin > chord.onset, begin + length < chord.end]
        element.tie = music21.tie.Tie(tie) if tie else None
        elements.append(element)
        begin += length
    return elements


def spelled(pitch: int, centre: int) -> music21.pitch.Pitch:
    """A MIDI number as it is written in a key: the nearest of its names on the line of fifths.

    `centre` is the number of sharps (flats are negative), and 1 more in minor. The names in C major
    are E flat to G sharp, those in A minor B flat to D sharp.
    """
    lowest = centre - 3  # place on the line: F is -1, C 0, G 1
    place = lowest + (7 * pitch - lowest) % 12
    alter, step = divmod(place + 1, 7)
    accidental = music21.pitch.Accidental(alter) if alter else None
    octave = (pitch - alter) // 12 - 1
    return music21.pitch.Pitch(step=STEPS[step], accidental=accidental, octave=octave)
