"""`Piece` → music21 stream and MusicXML."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pianolstm.hands import MIDDLE_C
from pianolstm.piece import Piece, key_sharps, pitch_name

if TYPE_CHECKING:
    from music21 import pitch, stream

MANY_STAVES = 8
VIOLA = 41  # its General MIDI program; the one instrument that reads an alto clef


def voices(notes: np.ndarray) -> list[list[np.ndarray]]:
    """Sort one staff's notes into voices in which nothing overlaps.

    A voice is a list of chords: notes with one onset and one duration. A chord goes to the first
    voice that is free, higher chords first, so that the top voice holds the tune.
    """
    chords: dict[tuple[int, int], list] = {}
    for note in notes:
        chords.setdefault((int(note["onset"]), int(note["duration"])), []).append(note)
    order = sorted(chords, key=lambda k: (k[0], -max(int(n["pitch"]) for n in chords[k])))
    result: list[list[np.ndarray]] = []
    ends: list[int] = []
    for onset, duration in order:
        free = next((i for i, end in enumerate(ends) if end <= onset), len(ends))
        if free == len(ends):
            result.append([])
            ends.append(0)
        result[free].append(np.array(chords[onset, duration]))
        ends[free] = onset + duration
    return result


def engraving_grid(notes: np.ndarray, ticks_per_quarter: int) -> np.ndarray:
    """The notes at times that notation can express.

    Multiples of 1/16 and 1/12 quarter stay as they are (64th notes; triplets down to 32nds). A note
    that begins or ends elsewhere is moved to multiples of 1/8, and lasts 1/8 at least.
    """
    moved = notes.copy()
    ends = notes["onset"] + notes["duration"]
    fits = np.ones(len(notes), dtype=bool)
    for times in (notes["onset"], ends):
        fits &= (times * 16 % ticks_per_quarter == 0) | (times * 12 % ticks_per_quarter == 0)
    step = ticks_per_quarter / 8
    onset = np.round(notes["onset"] / step).astype(np.int64)
    end = np.maximum(np.round(ends / step).astype(np.int64), onset + 1)
    moved["onset"] = np.where(fits, notes["onset"], np.round(onset * step))
    moved["duration"] = np.where(fits, notes["duration"], np.round((end - onset) * step))
    return moved


def _tied_parts(onset: Fraction, duration: Fraction) -> list[Fraction]:
    """A duration in pieces that single notes can have, split where a beat begins.

    music21 would write 7/6 quarter as one note of a 12:7 tuplet, which verovio plays wrongly.
    """
    for scale in (Fraction(1), Fraction(3, 2)):  # plain, or part of a triplet
        numerator, denominator = (duration * scale).as_integer_ratio()
        if numerator in (1, 2, 3, 4, 6, 8) and denominator & (denominator - 1) == 0:
            return [duration]
    head = onset.__floor__() + 1 - onset
    if head >= duration:
        return [duration]
    return [head, *_tied_parts(onset + head, duration - head)]


def _m21_pitch(number: int) -> pitch.Pitch:
    """By name where there is one: for bare numbers music21 prints needless accidentals."""
    from music21 import pitch

    return pitch.Pitch(pitch_name(number)) if number >= 12 else pitch.Pitch(midi=number)


def _staves(piece: Piece, notes: np.ndarray) -> list[tuple[np.ndarray, str, str | None]]:
    """(notes, clef, name) of every staff."""
    tracks = len(piece.track_names)
    if not 2 < tracks <= MANY_STAVES:
        upper = notes["track"] == 0 if tracks == 2 else notes["pitch"] >= MIDDLE_C
        return [(notes[upper], "TrebleClef", None), (notes[~upper], "BassClef", None)]
    result = []
    for track, name in enumerate(piece.track_names):
        mine = notes[notes["track"] == track]
        low = len(mine) and np.median(mine["pitch"]) < MIDDLE_C
        viola = len(mine) and mine["program"][0] == VIOLA
        sign = "AltoClef" if viola else "BassClef" if low else "TrebleClef"
        result.append((mine, sign, name))
    return result


def to_stream(piece: Piece) -> stream.Score:
    """The piece as a music21 score, ready for engraving.

    Two tracks are two staves, three to eight tracks a named staff each; any other piece is split
    at middle C.
    Each voice becomes a `music21.stream.Voice`, numbered from "1": numbered from 0, or notes put
    straight into a staff, engrave wrongly and without an error.
    """
    from music21 import chord as m21chord
    from music21 import clef, duration, key, layout, metadata, meter, note, stream, tempo, tie

    tpq = piece.ticks_per_quarter
    notes = engraving_grid(piece.notes, tpq)
    score = stream.Score()
    score.insert(0, metadata.Metadata(title=piece.name.replace("_", " ")))
    staves = []
    end = Fraction(piece.end, tpq)
    for hand, sign, name in _staves(piece, notes):
        staff = stream.Part() if name else stream.PartStaff()
        staff.partName = name
        staff.insert(0, getattr(clef, sign)())
        if piece.key:
            staff.insert(0, key.KeySignature(key_sharps(piece.key)[0]))
        for tick, beats, unit in piece.time_signatures:
            staff.insert(Fraction(tick, tpq), meter.TimeSignature(f"{beats}/{unit}"))
        if not staves:
            for tick, bpm in piece.tempi:
                staff.insert(Fraction(tick, tpq), tempo.MetronomeMark(number=round(bpm)))
        lines = voices(hand)
        first = lines[0] if lines else None
        for chords in lines:
            voice = stream.Voice()
            for group in chords:
                pitches = [_m21_pitch(int(p)) for p in np.unique(group["pitch"])]
                onset = Fraction(int(group["onset"][0]), tpq)
                parts = _tied_parts(onset, Fraction(int(group["duration"][0]), tpq))
                for i, length in enumerate(parts):
                    single = len(pitches) == 1
                    element = note.Note(pitches[0]) if single else m21chord.Chord(pitches)
                    element.duration = duration.Duration(length)
                    if len(parts) > 1:
                        last = i + 1 == len(parts)
                        element.tie = tie.Tie("start" if i == 0 else "stop" if last else "continue")
                    voice.insert(onset, element)
                    onset += length
            if name and chords is first:  # a player reads silence from rests
                voice.makeRests([0, end], fillGaps=True, inPlace=True)
            staff.insert(0, voice)
        staff.makeNotation(inPlace=True)
        for measure in staff.getElementsByClass(stream.Measure):
            for number, voice in enumerate(measure.voices, start=1):
                voice.id = str(number)
        score.insert(0, staff)
        staves.append(staff)
    several = len(staves) > 2
    score.insert(0, layout.StaffGroup(staves, symbol="bracket" if several else "brace"))
    return score


def to_musicxml(piece: Piece) -> str:
    """The piece as MusicXML text."""
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    return GeneralObjectExporter(to_stream(piece)).parse().decode("utf-8")


def write_musicxml(piece: Piece, path: str | Path) -> Path:
    """Write the piece as a MusicXML file that notation programs open."""
    path = Path(path)
    path.write_text(to_musicxml(piece), encoding="utf-8")
    return path
