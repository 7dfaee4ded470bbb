"""Everything a notebook shows of a `Piece`: piano roll, engraved score, sound.

All three work with pip's packages alone: matplotlib draws the roll, verovio engraves, symusic
plays with the sound font that pretty_midi ships.
"""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import symusic
from matplotlib import get_data_path
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from pianolstm.decoding import to_musicxml, to_symusic
from pianolstm.piece import Piece, pitch_name

SAMPLE_RATE = 22_050
# Okabe and Ito's colours, told apart by colour-blind readers too
TRACK_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
HATCHES = ("", "////", "....", "xxxx", "", "////")


def piano_roll(piece: Piece, ax: Axes | None = None, colour: str = "track") -> Axes:
    """Draw the notes: time to the right in bars, pitch upwards with note names.

    colour: "track" (one colour and pattern a track, with a legend) or "velocity" (loud is dark).
    Returns the axes; draws on `ax` if given. Raises ValueError for another `colour`.
    """
    if colour not in ("track", "velocity"):
        raise ValueError(f"colour is {colour!r}; choose 'track' or 'velocity'")
    if ax is None:
        _, ax = plt.subplots(figsize=(10, 3.2), layout="constrained")
    tpq, notes = piece.ticks_per_quarter, piece.notes
    names = piece.track_names or ("Piano",)
    for track in np.unique(notes["track"]):
        mine = notes[notes["track"] == track]
        boxes = [
            Rectangle((n["onset"] / tpq, int(n["pitch"]) - 0.45), n["duration"] / tpq, 0.9)
            for n in mine
        ]
        style = {"edgecolor": "white", "linewidth": 0.4}
        if colour == "track":
            style["facecolor"] = TRACK_COLOURS[track % len(TRACK_COLOURS)]
            style["hatch"] = HATCHES[track % len(HATCHES)]
            label = names[track] if track < len(names) else f"Track {track + 1}"
            ax.add_patch(Rectangle((0, 0), 0, 0, label=label, **style))
        collection = PatchCollection(boxes, **style)
        if colour == "velocity":
            collection.set(array=mine["velocity"].astype(float), cmap="viridis_r", clim=(1, 127))
        ax.add_collection(collection)
    _label_axes(ax, piece)
    if colour == "track" and len(np.unique(notes["track"])) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return ax


def _label_axes(ax: Axes, piece: Piece) -> None:
    tpq = piece.ticks_per_quarter
    starts = [tick / tpq for tick in piece.bar_starts()]
    every = max(1, len(starts) // 16)
    ax.set_xticks(starts[::every], [str(i + 1) for i in range(0, len(starts), every)])
    ax.set_xticks(starts, minor=True)
    ax.set_xlim(0, max(piece.end / tpq, 1))
    low, high = (int(f(piece.notes["pitch"])) for f in (np.min, np.max)) if len(piece) else (55, 65)
    octaves = [p for p in range(128) if p % 12 == 0 and low - 3 <= p <= high + 3]
    ax.set_yticks(octaves, [pitch_name(p) for p in octaves])
    ax.set_ylim(low - 2, high + 2)
    ax.grid(which="both", axis="x", color="0.88", linewidth=0.6)
    ax.grid(axis="y", color="0.88", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel="bar", ylabel="pitch", title=piece.name.replace("_", " "))


@dataclass(frozen=True)
class Picture:
    """A PNG that JupyterLab, an HTML page and a code host's preview all show."""

    png: bytes
    text: str  # what it shows, for readers who do not see it

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        encoded = base64.b64encode(self.png).decode("ascii")
        return {"image/png": encoded, "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text

    def save(self, path: str | Path) -> Path:
        """Write the PNG to a file."""
        Path(path).write_bytes(self.png)
        return Path(path)


def engrave(piece: Piece, page_width: int = 1800):
    """The piece laid out by verovio: its toolkit, from which pages and MIDI can be had."""
    import verovio

    toolkit = verovio.toolkit()
    toolkit.setOptions(
        {"pageWidth": page_width, "adjustPageHeight": True, "pageHeight": 60000, "scale": 45,
         "footer": "none", "header": "none", "xmlIdSeed": 1, "breaks": "auto"}
    )  # fmt: skip
    if not toolkit.loadData(to_musicxml(piece)):
        raise ValueError(f"piece {piece.name!r}: verovio could not read its MusicXML")
    return toolkit


def misplaced_notes(piece: Piece, toolkit) -> int:
    """How many notes of the piece an engraving does not hold at their onset.

    Compares with verovio's own MIDI of what it engraved, pitch by pitch, to one of its ticks (120 a
    quarter). 0 for the chorales and for what our networks write; music21 and verovio still disagree
    about some triplets of freer piano music.
    """
    engraved = symusic.Score.from_midi(base64.b64decode(toolkit.renderToMIDI()))
    found = np.array([(n.pitch, n.start) for track in engraved.tracks for n in track.notes])
    wanted = piece.notes["onset"] * engraved.ticks_per_quarter / piece.ticks_per_quarter
    wrong = 0
    for pitch in np.unique(piece.notes["pitch"]):
        ours = np.sort(wanted[piece.notes["pitch"] == pitch])
        theirs = np.sort(found[found[:, 0] == pitch, 1])
        both = min(len(ours), len(theirs))
        wrong += len(ours) - both + int((np.abs(ours[:both] - theirs[:both]) > 1).sum())
        wrong += len(theirs) - both
    return wrong


def score(piece: Piece, page_width: int = 1800) -> Picture:
    """Engrave the piece as notes on two staves. Take `piece.bars(1, 8)` for a part of it.

    The picture's text says how many notes, if any, do not stand where they sound.
    """
    import resvg_py

    if not len(piece):
        raise ValueError(f"piece {piece.name!r} holds no notes to engrave")
    toolkit = engrave(piece, page_width)
    # Text is set in matplotlib's own fonts: a bare machine has none. They lack verovio's private
    # code for the quarter note of a tempo mark, but hold Unicode's.
    svg = toolkit.renderToSVG(1)
    svg = svg.replace("\ueca5", "\N{QUARTER NOTE}").replace('"Leipzig"', '"DejaVu Sans"')
    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        background="white",
        skip_system_fonts=True,
        font_dirs=[str(Path(get_data_path()) / "fonts" / "ttf")],
        font_family="DejaVu Serif",
        serif_family="DejaVu Serif",
    )
    text = f"Score of {piece.name}: {len(piece.bar_starts())} bars, {len(piece)} notes"
    wrong = misplaced_notes(piece, toolkit)
    return Picture(bytes(png), text + (f", {wrong} of them NOT where they sound" if wrong else ""))


@lru_cache(maxsize=1)
def _synthesizer():
    font = resources.files("pretty_midi") / "TimGM6mb.sf2"
    if not font.is_file():
        raise FileNotFoundError(
            "pretty_midi's sound font TimGM6mb.sf2 is missing; reinstall it with "
            "`pip install --force-reinstall pretty-midi`"
        )
    return symusic.Synthesizer(sf_path=str(font), sample_rate=SAMPLE_RATE)


def render(piece: Piece) -> np.ndarray:
    """The piece as sound: mono float32 samples at 22,050 Hz, loudest sample 0.9."""
    if not len(piece):
        raise ValueError(f"piece {piece.name!r} holds no notes to play")
    mono = _synthesizer().render(to_symusic(piece), True).mean(axis=0)
    return (0.9 * mono / max(np.abs(mono).max(), 1e-9)).astype(np.float32)


@dataclass(frozen=True)
class Sound:
    """An MP3 with a player, self-contained in the page."""

    mp3: bytes
    seconds: float
    notes: int
    name: str

    def _repr_html_(self) -> str:
        source = "data:audio/mpeg;base64," + base64.b64encode(self.mp3).decode("ascii")
        label = html.escape(repr(self), quote=True)
        return f'<audio controls preload="metadata" aria-label="{label}" src="{source}"></audio>'

    def __repr__(self) -> str:
        return f"Sound of {self.name}: {self.notes} notes, {self.seconds:.0f} s"

    def save(self, path: str | Path) -> Path:
        """Write the MP3 to a file."""
        Path(path).write_bytes(self.mp3)
        return Path(path)


def audio(piece: Piece) -> Sound:
    """The piece played by a sampled piano, as an MP3 inside the page."""
    import soundfile

    samples = render(piece)
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.8
    )
    return Sound(buffer.getvalue(), len(samples) / SAMPLE_RATE, len(piece), piece.name)
