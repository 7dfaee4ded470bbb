"""A piece as an engraved score: music21 writes notation, verovio engraves it, resvg draws it.

`score` returns a picture, `write_musicxml` writes a file that notation programs open.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import matplotlib
import music21
import numpy as np
import resvg_py
import symusic
import verovio
from music21.musicxml.m21ToXml import GeneralObjectExporter

from pianolstm.display.roll import Picture
from pianolstm.hands import MIDDLE_C
from pianolstm.piece import Piece, key_sharps, pitch_name

MANY_STAVES = 8  # a piece of more tracks is written for two hands
VIOLA = 41  # its General MIDI program; the only instrument that reads an alto clef
PAGE = {"pageWidth": 1800, "pageHeight": 60000, "adjustPageHeight": True, "scale": 45}
# Lengths in quarters that one note can have: plain, dotted, or part of a triplet
NOTE_VALUES = {
    Fraction(numerator, denominator) * scale
    for numerator in (1, 2, 3, 4, 6, 8)
    for denominator in (1, 2, 4, 8, 16, 32)
    for scale in (1, Fraction(2, 3))
}


def score(piece: Piece) -> Picture:
    """Engrave a piece on its staves (see `to_stream`); give `piece.bars(1, 8)` for a part of it.

    The text of the picture says how many notes are not engraved where they sound, if any. Raises
    ValueError for a piece without notes.
    """
    if not len(piece):
        raise ValueError(f"piece {piece.name!r} holds no notes to engrave")
    toolkit = engrave(piece)
    # Text is set in matplotlib's fonts, because a bare machine has none. They lack verovio's
    # private code for the quarter note of a tempo mark, but hold Unicode's.
    svg = toolkit.renderToSVG(1)
    svg = svg.replace("\ueca5", "\N{QUARTER NOTE}").replace('"Leipzig"', '"DejaVu Sans"')
    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        background="white",
        skip_system_fonts=True,
        font_dirs=[f"{matplotlib.get_data_path()}/fonts/ttf"],
        serif_family="DejaVu Serif",
    )
    text = f"Score of {piece.name}: {len(piece.bar_starts())} bars, {len(piece)} notes"
    wrong = misplaced_notes(piece, toolkit)
    if wrong:
        text += f", {wrong} of them NOT where they sound"
    return Picture(bytes(png), text)


def engrave(piece: Piece) -> verovio.toolkit:
    """The piece as laid out by verovio, whose toolkit gives pages and MIDI."""
    toolkit = verovio.toolkit()
    # Without a seed, overlapping voices are laid out differently from time to time
    toolkit.setOptions({**PAGE, "header": "none", "footer": "none", "xmlIdSeed": 1})
    if not toolkit.loadData(to_musicxml(piece)):
        raise ValueError(f"piece {piece.name!r}: verovio could not read its MusicXML")
    return toolkit


def misplaced_notes(piece: Piece, toolkit: verovio.toolkit) -> int:
    """How many notes of the piece are not engraved at their onset.

    Compares with verovio's own MIDI of the engraving, pitch by pitch, and allows for one of its
    ticks (120 a quarter). 0 for the chorales; music21 and verovio disagree about some triplets and
    the gaps between them.
    """
    midi = symusic.Score.from_midi(base64.b64decode(toolkit.renderToMIDI()))
    engraved = np.array([(note.pitch, note.start) for track in midi.tracks for note in track.notes])
    onsets = piece.onsets * midi.ticks_per_quarter
    wrong = 0
    for pitch in np.unique(piece.notes["pitch"]):
        ours = np.sort(onsets[piece.notes["pitch"] == pitch])
        theirs = np.sort(engraved[engraved[:, 0] == pitch, 1])
        both = min(len(ours), len(theirs))
        moved = np.abs(ours[:both] - theirs[:both]) > 1
        wrong += int(moved.sum()) + abs(len(ours) - len(theirs))
    return wrong


def write_musicxml(piece: Piece, path: str | Path) -> Path:
    """Write the piece as a MusicXML file that notation programs open."""
    Path(path).write_text(to_musicxml(piece), encoding="utf-8")
    return Path(path)


def to_musicxml(piece: Piece) -> str:
    """The piece as MusicXML text."""
    return GeneralObjectExporter(to_stream(piece)).parse().decode("utf-8")


def to_stream(piece: Piece) -> music21.stream.Score:
    """The piece as a music21 score, ready for engraving.

    Two tracks are two staves, and three to eight tracks a named staff each. Any other piece is
    split at middle C.
    """
    stream = music21.stream.Score()
    stream.insert(0, music21.metadata.Metadata(title=piece.name.replace("_", " ")))
    staves = [_staff(piece, *part) for part in _parts(piece)]
    for tick, bpm in piece.tempi:
        mark = music21.tempo.MetronomeMark(number=round(bpm))
        staves[0].insert(Fraction(tick, piece.ticks_per_quarter), mark)
    for staff in staves:
        staff.makeNotation(inPlace=True)
        for measure in staff.getElementsByClass(music21.stream.Measure):
            for number, voice in enumerate(measure.voices, start=1):
                voice.id = str(number)  # voices counted from 0 are engraved wrongly
        stream.insert(0, staff)
    symbol = "bracket" if len(staves) > 2 else "brace"
    stream.insert(0, music21.layout.StaffGroup(staves, symbol=symbol))
    return stream


def _parts(piece: Piece) -> list[tuple[np.ndarray, music21.clef.Clef, str | None]]:
    """(notes, clef, name) of each staff; two hands have no names."""
    notes = engraving_grid(piece.notes, piece.ticks_per_quarter)
    tracks = len(piece.track_names)
    if not 2 < tracks <= MANY_STAVES:
        upper = notes["track"] == 0 if tracks == 2 else notes["pitch"] >= MIDDLE_C
        treble, bass = music21.clef.TrebleClef(), music21.clef.BassClef()
        return [(notes[upper], treble, None), (notes[~upper], bass, None)]
    parts = []
    for track, name in enumerate(piece.track_names):
        mine = notes[notes["track"] == track]
        clef = music21.clef.TrebleClef()
        if len(mine) and mine["program"][0] == VIOLA:
            clef = music21.clef.AltoClef()
        elif len(mine) and np.median(mine["pitch"]) < MIDDLE_C:
            clef = music21.clef.BassClef()
        parts.append((mine, clef, name))
    return parts


def engraving_grid(notes: np.ndarray, ticks_per_quarter: int) -> np.ndarray:
    """The notes at times that notation can express.

    Multiples of 1/16 and of 1/12 quarter stay as they are: 64th notes, and triplets down to 32nds.
    A note that begins or ends elsewhere moves to multiples of 1/8, and lasts at least 1/8.
    """
    begins, ends = notes["onset"], notes["onset"] + notes["duration"]
    fits = np.ones(len(notes), dtype=bool)
    for times in (begins, ends):
        fits &= (times * 16 % ticks_per_quarter == 0) | (times * 12 % ticks_per_quarter == 0)
    step = ticks_per_quarter / 8
    first = np.round(begins / step)
    last = np.maximum(np.round(ends / step), first + 1)
    moved = notes.copy()
    moved["onset"] = np.where(fits, begins, np.round(first * step))
    moved["duration"] = np.where(fits, notes["duration"], np.round((last - first) * step))
    return moved


def _staff(piece: Piece, notes: np.ndarray, clef, name: str | None) -> music21.stream.Part:
    """One staff without bar lines, which `makeNotation` adds.

    Its notes are in voices, even if one is enough: notes put straight into a staff are engraved
    wrongly.
    """
    tpq = piece.ticks_per_quarter
    staff = music21.stream.Part() if name else music21.stream.PartStaff()
    staff.partName = name
    staff.insert(0, clef)
    if piece.key:
        staff.insert(0, music21.key.KeySignature(key_sharps(piece.key)[0]))
    for tick, beats, unit in piece.time_signatures:
        staff.insert(Fraction(tick, tpq), music21.meter.TimeSignature(f"{beats}/{unit}"))
    for number, chords in enumerate(voices(notes)):
        voice = music21.stream.Voice()
        for chord in chords:
            onset = Fraction(chord.onset, tpq)
            for element in _tied(chord, onset, Fraction(chord.end, tpq)):
                voice.insert(onset, element)
                onset += element.quarterLength
        if name and number == 0:  # a player counts rests
            voice.makeRests([0, Fraction(piece.end, tpq)], fillGaps=True, inPlace=True)
        staff.insert(0, voice)
    return staff


class Chord(NamedTuple):
    """Notes of one staff that begin and end together."""

    onset: int  # ticks
    end: int  # ticks
    pitches: list[int]  # rising


def voices(notes: np.ndarray) -> list[list[Chord]]:
    """Sort the notes of one staff into voices in which nothing overlaps.

    A chord goes to the first voice that is free. Of chords that begin together, the highest goes
    first, so that the top voice holds the tune.
    """
    together = defaultdict(set)
    for onset, duration, pitch, *_ in notes.tolist():
        together[onset, onset + duration].add(pitch)
    chords = [Chord(onset, end, sorted(found)) for (onset, end), found in together.items()]
    result: list[list[Chord]] = []
    for chord in sorted(chords, key=lambda chord: (chord.onset, -chord.pitches[-1])):
        for voice in result:
            if voice[-1].end <= chord.onset:
                voice.append(chord)
                break
        else:
            result.append([chord])
    return result


def _tied(chord: Chord, onset: Fraction, end: Fraction) -> list[music21.chord.Chord]:
    """A chord as one that a note value can write, or as several that are tied.

    A length that is no note value is split at beats. music21 would write 7/6 quarter as one note of
    a 12:7 tuplet, which verovio plays wrongly.
    """
    # By name where there is one: for numbers, music21 prints needless accidentals
    pitches = [pitch_name(p) if p >= 12 else music21.pitch.Pitch(midi=p) for p in chord.pitches]
    lengths = []
    while end - onset not in NOTE_VALUES and onset // 1 + 1 < end:
        next_beat = Fraction(onset // 1 + 1)
        lengths.append(next_beat - onset)
        onset = next_beat
    lengths.append(end - onset)
    elements = [music21.chord.Chord(pitches, quarterLength=length) for length in lengths]
    if len(elements) > 1:
        for element in elements:
            element.tie = music21.tie.Tie("continue")
        elements[0].tie.type = "start"
        elements[-1].tie.type = "stop"
    return elements
