"""A piece as a music21 score: staves, and in their bars voices of notes and rests.

What is written is decided in `pianolstm.display.notation`; music21 ties notes and finds beams.
"""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from string import digits

import music21
import numpy as np

from pianolstm.display.notation import UNITS, Chord, engraving_grid, lengths, spelled, voices
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
    unit = UNITS / piece.ticks_per_quarter
    notes = engraving_grid(piece.notes, piece.ticks_per_quarter)
    end = int((notes["onset"] + notes["duration"]).max())
    starts = sorted({round(tick * unit) for tick in piece.bar_starts()})
    metres = [(0, 4, 4), *piece.time_signatures]
    changes = {round(tick * unit): f"{beats}/{beat}" for tick, beats, beat in metres}
    names = defaultdict(str, enumerate(piece.track_names))
    staves = [_staff(piece.key, starts, changes, end, part) for part in _parts(notes, names)]
    for tick, bpm in piece.tempi[::-1]:  # of a bar the last, and the first of all
        bar = bisect(starts, round(tick * unit)) - 1
        if tick < piece.end and not (tick and staves[0][bar][music21.tempo.MetronomeMark]):
            mark = music21.tempo.MetronomeMark(number=round(bpm))
            staves[0][bar].insert(Fraction(round(tick * unit) - starts[bar], UNITS), mark)
    title = music21.metadata.Metadata(title=piece.name.replace("_", " "))
    symbol = "bracket" if len(staves) > 2 else "brace"
    return music21.stream.Score([title, *staves, music21.layout.StaffGroup(staves, symbol=symbol)])


def _parts(notes: np.ndarray, names: dict[int, str]) -> list[tuple]:
    """Notes, clef and name of each staff; two hands have no names."""
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
    spans = notes[["onset", "duration"]].tolist()
    return {unit for onset, length in spans for unit in range(onset, onset + length)}


def _clef(notes: np.ndarray) -> music21.clef.Clef:
    if notes["program"][0] == VIOLA:
        return music21.clef.AltoClef()
    low = np.median(notes["pitch"]) < MIDDLE_C
    return music21.clef.BassClef() if low else music21.clef.TrebleClef()


def _staff(
    key: str | None, starts: list[int], metres: dict[int, str], end: int, part: tuple
) -> music21.stream.Part:
    """One of `_parts`, bar by bar: where bars start, metres change, and the last note ends.

    A staff that needs two voices in half of its bars has two voices wherever it can. Of several
    voices in a bar the highest has its stems up, and the others down.
    """
    notes, clef, name = part
    found = voices(notes)
    crowded = {bisect(starts, chord.onset) for voice in found[1:] for chord in voice}
    if 2 * len(crowded) >= len(starts):
        found = voices(notes, apart=True)
    sharps, minor = key_sharps(key) if key else (0, False)
    staff = music21.stream.Part() if name else music21.stream.PartStaff()
    staff.partName = name
    metre = None
    for number, start in enumerate(starts, start=1):
        measure = music21.stream.Measure(number=number)
        if start in metres and metres[start] != (metre and metre.ratioString):
            metre = music21.meter.TimeSignature(metres[start])
            measure.insert(0, metre)
        whole = round(UNITS * metre.barDuration.quarterLength)
        stop = starts[number] if number < len(starts) else max(end, start + whole)
        inside = [[c for c in voice if c.onset < stop and c.end > start] for voice in found]
        inside = sorted(filter(None, inside), key=lambda v: -np.mean([c.pitches[-1] for c in v]))
        for place, chords in enumerate(inside or [[]]):
            others = [chord for voice in [*inside[:place], *inside[place + 1 :]] for chord in voice]
            voice = _voice(chords, others, start, stop, whole, sharps + minor, hidden=place > 0)
            # Notes must be in voices, and these counted from 1: anything else is engraved wrongly
            voice.id = str(place + 1)
            if len(inside) > 1:
                for note in voice.notes:
                    note.stemDirection = "down" if place else "up"
            _beam(voice, metre)
            measure.insert(0, voice)
        staff.insert(Fraction(start, UNITS), measure)
    measure.rightBarline = "final"
    signature = music21.key.KeySignature(sharps)
    staff[0].insert(0, clef)
    staff[0].insert(0, signature)
    _show_accidentals(staff, {pitch.step: int(pitch.alter) for pitch in signature.alteredPitches})
    return staff


def _voice(
    chords: list[Chord], others: list[Chord], start: int, stop: int, whole: int, centre: int,
    hidden: bool,
) -> music21.stream.Voice:  # fmt: skip
    """The notes of a voice in a bar, and the rests between them.

    Unless all are `hidden`, rests are printed where no other voice sounds. A rest of the `whole`
    metre is one sign, but no other: verovio takes it for a full bar.
    """
    voice = music21.stream.Voice()
    for chord in [*chords, Chord(stop, stop, [])]:
        at = start + round(voice.highestTime * UNITS)
        changes = {time for other in others for time in other[:2] if at < time < chord.onset}
        for a, b in pairwise(sorted({at, *changes, max(at, chord.onset)})):
            sounds = any(other.onset <= a < other.end for other in others)
            full = b - a == whole
            for value in [whole] if full else lengths(a - start, b - start, rest=True):
                rest = music21.note.Rest(quarterLength=Fraction(value, UNITS), fullMeasure=full)
                rest.style.hideObjectOnPrint = hidden or sounds
                voice.append(rest)
        if chord.pitches:
            voice.append(_tied(chord, start, stop, centre))
    return voice


def _tied(chord: Chord, start: int, stop: int, centre: int) -> tuple[music21.chord.Chord, ...]:
    """The part of a chord that lies in a bar: one that can be written, or several that are tied."""
    begin, end = max(chord.onset, start), min(chord.end, stop)
    names = [spelled(pitch, centre) for pitch in chord.pitches]
    pitches = [music21.pitch.Pitch(step=s, accidental=a, octave=o) for s, a, o in names]
    element = music21.chord.Chord(pitches, quarterLength=Fraction(end - begin, UNITS))
    ties = {(False, True): "start", (True, True): "continue", (True, False): "stop"}
    tie = ties.get((begin > chord.onset, end < chord.end))
    element.tie = music21.tie.Tie(tie) if tie else None
    values = lengths(begin - start, end - start)
    return element.splitByQuarterLengths([Fraction(value, UNITS) for value in values])


def _beam(voice: music21.stream.Voice, metre: music21.meter.TimeSignature) -> None:
    """Brackets of triplets, which end as soon as plain values can go on, and beams.

    A short bar is the end of a full one. A bracket has beams of its own: verovio plays a beam
    across the end of one, and a triplet outside of one, at the wrong time.
    """
    missing = metre.barDuration.quarterLength - voice.highestTime
    run = []
    for element, following in pairwise([*voice, None]):
        run.append(element)
        triplet = element.duration.tuplets
        end = round((element.offset + element.quarterLength) * UNITS)
        same = following and bool(triplet) == bool(following.duration.tuplets)
        if same and (not triplet or end % 3):
            continue
        if triplet:
            run[-1].duration.tuplets[0].type = "stop"
            run[0].duration.tuplets[0].type = "start" if run[1:] else "startStop"
        start = missing + run[0].offset
        for note, beams in zip(run, metre.getBeams(run, start) if missing >= 0 else []):
            note.beams = beams or music21.beam.Beams()
        run = []


def _show_accidentals(staff: music21.stream.Part, signature: dict[str, int]) -> None:
    """Print an accidental where a note differs from what holds in its bar, or held in the last.

    In the order of time: music21 would go through one voice after the other.
    """
    before: dict[tuple, int] = {}
    for measure in staff.getElementsByClass(music21.stream.Measure):
        held: dict[tuple, int] = {}
        for note in measure.flatten().notes:
            again = note.tie and note.tie.type != "start"
            for pitch in note.pitches:
                place, alter = (pitch.step, pitch.octave), int(pitch.alter)
                holds = held.get(place, signature.get(pitch.step, 0))
                reminder = place not in held and before.get(place, alter) != alter
                pitch.accidental.displayStatus = not again and (alter != holds or reminder)
                if not again:
                    held[place] = alter
        before = held
