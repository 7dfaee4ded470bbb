"""A piece as an engraved score: music21 writes notation, verovio engraves it, resvg draws it.

`score` returns a picture, `write_musicxml` writes a file that notation programs open.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import resvg_py
import symusic
import verovio
from music21.musicxml.m21ToXml import GeneralObjectExporter

from pianolstm.display.roll import Picture
from pianolstm.display.staves import to_stream
from pianolstm.grid import quantise
from pianolstm.piece import Piece

PAGE = {"pageWidth": 1800, "pageHeight": 60000, "adjustPageHeight": True, "scale": 45}


def score(piece: Piece, marked: Mapping[int, str] | None = None) -> Picture:
    """Engrave a piece on its staves (see `to_stream`); give `piece.bars(1, 8)` for a part of it.

    `marked` gives bars (counted from 1) a colour: {4: "#0072B2"}. A line above the music, and the
    text of the picture, say how many notes are not engraved where they sound, if any. A performance
    without a beat is put on the grid first. Raises ValueError for a piece without notes, and for a
    marked bar that it does not have.
    """
    if not len(piece):
        raise ValueError(f"piece {piece.name!r} holds no notes to engrave")
    toolkit = engrave(piece)
    # Text is set in matplotlib's fonts, because a bare machine has none. They lack verovio's
    # private code for the quarter note of a tempo mark, but hold Unicode's.
    svg = coloured(toolkit.renderToSVG(1), marked or {})
    svg = svg.replace("\ueca5", "\N{QUARTER NOTE}").replace('"Leipzig"', '"DejaVu Sans"')
    text = f"Score of {piece.name}: {len(piece.bar_starts())} bars, {len(piece)} notes"
    wrong = misplaced_notes(piece, toolkit)
    if wrong:
        text += f", {wrong} of them NOT where they sound"
        what = "stand off the grid"
        if not quantise(piece).has_beat:
            what = "were moved to the grid: this is a performance without a beat"
        what = f"{wrong} of {len(piece)} notes {what}"
        line = f'<text x="22" y="16" font-family="DejaVu Sans" font-size="15">{what}</text>'
        music = '<svg class="definition-scale"'  # below the margin, which holds the line
        svg = svg.replace(music, line + music, 1)
    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        background="white",
        skip_system_fonts=True,
        font_dirs=[f"{matplotlib.get_data_path()}/fonts/ttf"],
        serif_family="DejaVu Serif",
    )
    return Picture(bytes(png), text, svg)


def coloured(svg: str, marked: Mapping[int, str]) -> str:
    """verovio's page with some bars in colour; ValueError for a bar that it does not have."""
    before, *bars = svg.split('class="measure"')
    for bar, colour in marked.items():
        if not 1 <= bar <= len(bars):
            raise ValueError(f"there is no bar {bar} to mark; the score has bars 1 to {len(bars)}")
        # `fill` for heads, `color` for lines
        bars[bar - 1] = f' color="{colour}" fill="{colour}"{bars[bar - 1]}'
    return 'class="measure"'.join([before, *bars])


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

    Looks for each note in verovio's own MIDI of the engraving, and allows for one of its ticks (120
    a quarter). 0 if all are plain notes or triplets: `engraving_grid` moves the others.
    """
    midi = symusic.Score.from_midi(base64.b64decode(toolkit.renderToMIDI()))
    engraved = set()
    for track in midi.tracks:
        engraved |= {(note.pitch, note.start) for note in track.notes}
    wrong = 0
    for pitch, onset in zip(piece.notes["pitch"].tolist(), piece.onsets.tolist()):
        tick = round(onset * midi.ticks_per_quarter, 6)
        near = range(math.ceil(tick - 1), math.floor(tick + 1) + 1)
        wrong += engraved.isdisjoint((pitch, place) for place in near)
    return wrong


def write_musicxml(piece: Piece, path: str | Path) -> Path:
    """Write the piece as a MusicXML file that notation programs open."""
    Path(path).write_text(to_musicxml(piece), encoding="utf-8")
    return Path(path)


def to_musicxml(piece: Piece) -> str:
    """The piece as MusicXML text."""
    exporter = GeneralObjectExporter(to_stream(piece))
    exporter.makeNotation = False  # it would fill short bars, and split notes to complete triplets
    return exporter.parse().decode("utf-8")
