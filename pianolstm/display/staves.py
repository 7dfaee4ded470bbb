"""A piece as a music21 score: staves, and in their bars voices of notes and rests.

What is written is decided in `pianolstm.display.notation`.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from string import digits

import music21
import numpy as np

from pianolstm.display.notation import (
    UNITS,
    Bar,
    Chord,
    bars_of,
    engraving_grid,
    lengths,
    spelled,
    to_units,
    voices,
)
from pianolstm.grid import quantise
from pianolstm.hands import MIDDLE_C
from pianolstm.piece import Piece, key_sharps

MANY_STAVES = 8  # a piece of more tracks is written for two hands
VIOLA = 41  # its General MIDI program; the only instrument that reads an alto clef


def to_stream(piece: Piece) -> music21.stream.Score:
    """The piece as a music21 score, ready for engraving, with the bars of `Piece.bar_starts`.

    Two tracks are two staves, the higher one above, and three to eight tracks a named staff each.
    Any other piece is split at middle C. Tracks are counted as `_tracks` gives them. A performance
    without a beat is put on the grid of `quantise`.
    """
    if not quantise(piece).has_beat:
        piece = quantise(piece, bend=True).piece
    notes = engraving_grid(piece.notes, piece.ticks_per_quarter)
    bars = bars_of(piece, int((notes["onset"] + notes["duration"]).max()))
    names = defaultdict(str, enumerate(piece.track_names))
    staves = [_staff(piece.key, bars, *part) for part in _parts(notes, names)]
    for tick, bpm in piece.tempi:
        offset = Fraction(int(to_units(np.array(tick), piece.ticks_per_quarter)), UNITS)
        if offset < staves[0].highestTime:
            bar = staves[0].getElementAtOrBefore(offset, [music21.stream.Measure])
            bar.insert(offset - bar.offset, music21.tempo.MetronomeMark(number=round(bpm)))
    title = music21.metadata.Metadata(title=piece.name.replace("_", " "))
    symbol = "bracket" if len(staves) > 2 else "brace"
    return music21.stream.Score([title, *staves, music21.layout.StaffGroup(staves, symbol=symbol)])


def _parts(notes: np.ndarray, names: dict[int, str]) -> list[tuple]:
    """The arguments (notes, clef, name) of `_staff` for each; two hands have no names."""
    tracks = _tracks(notes, names)
    if 2 < len(tracks) <= MANY_STAVES:
        return [(mine, _clef(mine), names[mine["track"][0]]) for mine in tracks]
    if len(tracks) == 2:
        upper, lower = sorted(tracks, key=lambda mine: -mine["pitch"].mean())
    else:
        upper, lower = notes[notes["pitch"] >= MIDDLE_C], notes[notes["pitch"] < MIDDLE_C]
    return [(upper, music21.clef.TrebleClef(), None), (lower, music21.clef.BassClef(), None)]


def _tracks(notes: np.ndarray, names: dict[int, str]) -> list[np.ndarray]:
    """The notes of each part.

    `read_midi` makes a track of every program. Tracks of different programs that never sound
    together, and whose names differ by a number at most, are one part that changes its program.
    """
    tracks: list[np.ndarray] = []
    for number in np.unique(notes["track"]):
        mine = notes[notes["track"] == number]
        for i, other in enumerate(tracks):
            same_name = names[number].rstrip(digits) == names[other["track"][0]].rstrip(digits)
            new_program = mine["program"][0] not in other["program"]
            if same_name and new_program and not _sounding(mine) & _sounding(other):
                tracks[i] = np.concatenate([other, mine])
                break
        else:
            tracks.append(mine)
    return tracks


def _sounding(notes: np.ndarray) -> set[int]:
    """The units in which any of the notes sounds."""
    units = set()
    for onset, length in notes[["onset", "duration"]].tolist():
        units |= {*range(onset, onset + length)}
    return units


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
    starts = [bar.start for bar in bars]
    crowded = {bisect(starts, chord.onset) for voice in found[1:] for chord in voice}
    if 2 * len(crowded) >= len(bars):
        found = voices(notes, apart=True)
    signature = music21.key.KeySignature(sharps)
    metre = None
    for number, bar in enumerate(bars, start=1):
        measure = _measure(bar, found, sharps + minor)
        measure.number = number
        if number == 1:
            measure.insert(0, clef)
            measure.insert(0, signature)
        if metre is None or bar.metre != metre.ratioString:
            metre = music21.meter.TimeSignature(bar.metre)
            measure.insert(0, metre)
        for voice in measure.voices:
            _beam(voice, metre)
        staff.insert(Fraction(bar.start, UNITS), measure)
    measure.rightBarline = "final"
    _show_accidentals(staff, {pitch.step: int(pitch.alter) for pitch in signature.alteredPitches})
    return staff


def _measure(bar: Bar, found: list[list[Chord]], centre: int) -> music21.stream.Measure:
    """One bar. Of several voices the highest has its stems up, and the others down."""
    measure = music21.stream.Measure()
    inside = [[c for c in voice if c.onset < bar.stop and c.end > bar.start] for voice in found]
    inside = [voice for voice in inside if voice]
    inside.sort(key=lambda voice: -np.mean([chord.pitches[-1] for chord in voice]))
    everything = [chord for voice in inside for chord in voice]
    for number, chords in enumerate(inside or [[]], start=1):
        # Notes must be in voices, and these counted from 1: anything else is engraved wrongly
        voice = music21.stream.Voice(id=str(number))
        begin = bar.start
        for chord in chords:
            voice.append(_rests(begin, chord.onset, bar, everything, hidden=number > 1))
            voice.append(_tied(chord, bar, centre))
            begin = chord.end
        voice.append(_rests(begin, bar.stop, bar, everything, hidden=number > 1))
        _bracket_triplets(voice)
        if len(inside) > 1:
            for element in voice.notes:
                element.stemDirection = "up" if number == 1 else "down"
        measure.insert(0, voice)
    return measure


def _rests(
    begin: int, end: int, bar: Bar, everything: list[Chord], hidden: bool
) -> list[music21.note.Rest]:
    """Rests of a voice, printed only where the staff is silent."""
    whole = 4 * Fraction(bar.metre)
    if end - begin == whole * UNITS:
        return [music21.note.Rest(quarterLength=whole, fullMeasure=True)]
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
    names = [spelled(pitch, centre) for pitch in chord.pitches]
    ties = {(False, True): "start", (True, True): "continue", (True, False): "stop"}
    elements = []
    for length in lengths(begin - bar.start, min(chord.end, bar.stop) - bar.start):
        pitches = [music21.pitch.Pitch(step=s, accidental=a, octave=o) for s, a, o in names]
        element = music21.chord.Chord(pitches, quarterLength=Fraction(length, UNITS))
        tie = ties.get((begin > chord.onset, begin + length < chord.end))
        element.tie = music21.tie.Tie(tie) if tie else None
        elements.append(element)
        begin += length
    return elements


def _bracket_triplets(voice: music21.stream.Voice) -> None:
    """Mark where brackets of triplets begin and end: as soon as plain values can go on.

    verovio plays a triplet outside a bracket at the wrong time.
    """
    types = {(1, 0): "start", (1, 1): "startStop", (0, 0): None, (0, 1): "stop"}
    opens = True
    for element, following in pairwise([*voice, None]):
        end = round((element.offset + element.quarterLength) * UNITS)
        closes = end % 3 == 0 or not following or not following.duration.tuplets
        for tuplet in element.duration.tuplets:
            tuplet.type = types[opens, closes]
        opens = closes or not element.duration.tuplets


def _beam(voice: music21.stream.Voice, metre: music21.meter.TimeSignature) -> None:
    """Beam the notes of a bar, whose end counts where the bar is short.

    (music21's `makeBeams` does so too, but looks through the whole staff for the metre of each
    bar.) A beam that crosses the end of a bracket is broken, because verovio plays it wrongly:
    equal notes that fill a bracket get a beam of their own, all others flags.
    """
    elements = list(voice)
    missing = metre.barDuration.quarterLength - voice.highestTime
    found = metre.getBeams(elements, measureStartOffset=missing) if missing >= 0 else []
    for element, beams in zip(elements, found):
        element.beams = beams or music21.beam.Beams()
    tuplets = [e.duration.tuplets[0].type if e.duration.tuplets else None for e in elements]
    brackets = _spans(tuplets)
    for first, last in _spans([beams.getTypes()[0] if beams else None for beams in found]):
        if any(a <= first <= b < last or first < a <= last < b for a, b in brackets):
            for element in elements[first : last + 1]:
                element.beams = music21.beam.Beams()
            for a, b in brackets:
                values = {element.duration.type for element in elements[a : b + 1]}
                if first <= a < b <= last and len(values) == 1:
                    for place in range(a, b + 1):
                        edge = {a: "start", b: "stop"}.get(place, "continue")
                        elements[place].beams.fill(*values, edge)


def _spans(edges: list[str | None]) -> list[tuple[int, int]]:
    """Places of every "start" and its "stop"."""
    starts = [i for i, edge in enumerate(edges) if edge in ("start", "startStop")]
    stops = [i for i, edge in enumerate(edges) if edge in ("stop", "startStop")]
    return list(zip(starts, stops))


def _show_accidentals(staff: music21.stream.Part, signature: dict[str, int]) -> None:
    """Print an accidental where a note differs from what holds in its bar, or held in the last.

    In the order of time: music21 would go through one voice after the other.
    """
    before: dict[tuple, int] = {}
    for measure in staff.getElementsByClass(music21.stream.Measure):
        held: dict[tuple, int] = {}
        notes = [note for voice in measure.voices for note in voice.notes]
        for note in sorted(notes, key=lambda note: note.offset):
            for pitch in note.pitches:
                place, alter = (pitch.step, pitch.octave), int(pitch.alter)
                holds = held.get(place, signature.get(pitch.step, 0))
                reminder = place not in held and before.get(place, alter) != alter
                again = note.tie and note.tie.type != "start"
                pitch.accidental.displayStatus = not again and (alter != holds or reminder)
                if not again:
                    held[place] = alter
        before = held
