"""A piece as a piano roll: time to the right in bars, pitch upwards, a colour for each track.

`piano_roll` draws on matplotlib axes. `roll` returns a `Picture`, which a notebook shows together
with a text alternative, and `described` makes a `Picture` of any other figure.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from pianolstm.piece import Piece, pitch_name

# After Okabe and Ito, darkened to a contrast of at least 4.5 to 1 on white; the patterns tell them
# apart without colour
TRACK_COLOURS = ("#0072B2", "#C04F00", "#007A58", "#A64D79", "#8A6100", "#5B5BD6")
HATCHES = ("", "////", "....", "xxxx", "", "////")
MANY_BARS = 60  # in a roll with more, white edges and bar lines would hide the notes

DPI = 100
SIZE = (10, 3.0)  # of one roll, in inches
LEFT, RIGHT = 0.055, 0.985  # ends of the time axis, as shares of the picture's width
BOTTOM, HEIGHT = 0.17, 0.71  # of the pitch axis, as shares of the picture's height

# Fonts with Japanese, Chinese and Korean characters, of Windows, macOS and Linux
EASTERN_FONTS = (
    "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Hiragino Sans", "PingFang SC",
    "Noto Sans CJK JP", "IPAexGothic", "WenQuanYi Zen Hei",
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A PNG that JupyterLab, an HTML page and the preview of a code host all show."""

    png: bytes
    text: str  # what the picture shows, for readers who do not see it
    svg: str = ""  # the same as an SVG, of a score

    @property
    def base64(self) -> str:
        """The PNG as text, as notebooks and HTML pages hold it."""
        return b64encode(self.png).decode("ascii")

    def __repr__(self) -> str:
        return self.text

    def _repr_png_(self) -> tuple[str, dict]:
        """The picture in a notebook; `alt` is what a screen reader says."""
        return self.base64, {"alt": self.text}

    def save(self, path: str | Path) -> Path:
        """Write the PNG to a file."""
        Path(path).write_bytes(self.png)
        return Path(path)


def described(figure: Figure, text: str) -> Picture:
    """Turn a matplotlib figure into a picture with a text alternative, and close the figure.

    `text` says what a reader sees in it: which lines or bars there are, and how they compare.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    plt.close(figure)
    return Picture(buffer.getvalue(), text)


class Extent(NamedTuple):
    """What the axes of a piano roll cover."""

    quarters: float  # from 0
    low: int  # lowest pitch
    high: int  # highest pitch


def extent(pieces: Sequence[Piece]) -> Extent:
    """The smallest extent that shows every note of the pieces."""
    quarters = max(1.0, *(piece.end / piece.ticks_per_quarter for piece in pieces))
    pitches = np.concatenate([piece.notes["pitch"] for piece in pieces]).tolist() or [55, 65]
    return Extent(quarters, min(pitches), max(pitches))


def roll(*pieces: Piece, shown: Extent | None = None) -> Picture:
    """Piano rolls one above the other and to one scale, as a picture with a text alternative.

    `shown` is what the axes cover, all notes by default.
    """
    width, height = SIZE
    figure = Figure(figsize=(width, height * len(pieces)))
    share = 1 / len(pieces)
    for row, piece in enumerate(reversed(pieces)):
        place = (LEFT, (row + BOTTOM) * share, RIGHT - LEFT, HEIGHT * share)
        piano_roll(piece, figure.add_axes(place), shown or extent(pieces))
    return described(figure, "; ".join(map(_in_words, pieces)))


def _in_words(piece: Piece) -> str:
    """What a piano roll shows, for readers who do not see it."""
    name = piece.name or "a piece"
    if not len(piece):
        return f"Piano roll of {name}: no notes"
    tracks = len(np.unique(piece.notes["track"]))
    shown = extent([piece])
    return (
        f"Piano roll of {name}: {len(piece)} notes on {tracks} track{'s' if tracks > 1 else ''}, "
        f"{len(piece.bar_starts())} bars, {piece.seconds:.0f} s, "
        f"pitches from {pitch_name(shown.low)} to {pitch_name(shown.high)}"
    )


def piano_roll(piece: Piece, ax: Axes | None = None, shown: Extent | None = None) -> Axes:
    """Draw the notes of a piece, one colour and pattern for each track.

    Parameters
    ----------
    piece : Piece
        Its name is the title; its track names are the legend if more than one track has notes.
    ax : Axes, optional
        Where to draw. Default: axes of a new figure.
    shown : Extent, optional
        What the axes cover. Default: all notes of the piece.

    Returns
    -------
    Axes
        The axes drawn on. Each track is a collection with a path for each note.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=SIZE, layout="constrained")
    tracks = np.unique(piece.notes["track"]).tolist()
    for track in tracks:
        _draw_track(ax, piece, track)
    _label_axes(ax, piece, shown or extent([piece]))
    if len(tracks) > 1:
        above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.3, "ncols": 6}
        ax.legend(**above, frameon=False, prop={"family": _fonts(), "size": 8})
    return ax


def _draw_track(ax: Axes, piece: Piece, track: int) -> None:
    """Draw one track: a box for each note, as wide as the note is long and 0.9 semitones high.

    In a long piece, no box is narrower than about a pixel, so that every note is seen.
    """
    notes = piece.notes[piece.notes["track"] == track]
    many = len(piece.bar_starts()) > MANY_BARS
    shortest = piece.end / 900 if many else 0
    left = notes["onset"] / piece.ticks_per_quarter
    right = left + np.maximum(notes["duration"], shortest) / piece.ticks_per_quarter
    bottom, top = notes["pitch"] - 0.45, notes["pitch"] + 0.45
    corners = np.array([(left, bottom), (right, bottom), (right, top), (left, top)])
    names = dict(enumerate(piece.track_names))
    boxes = PolyCollection(
        corners.transpose(2, 0, 1),  # (notes, 4 corners, 2 coordinates)
        facecolor=TRACK_COLOURS[track % len(TRACK_COLOURS)],
        hatch=HATCHES[track % len(HATCHES)],
        edgecolor="white",
        linewidth=0 if many else 0.4,
        label=_plain(names.get(track, f"Track {track + 1}")),
    )
    ax.add_collection(boxes)


def _label_axes(ax: Axes, piece: Piece, shown: Extent) -> None:
    """Title, bar numbers, names of the octaves, and grid lines at both."""
    starts = [tick / piece.ticks_per_quarter for tick in piece.bar_starts()]
    step = max(1, len(starts) // 16)
    ax.set_xticks(starts[::step], [str(i + 1) for i in range(0, len(starts), step)])
    if len(starts) <= MANY_BARS:
        ax.set_xticks(starts, minor=True)
    octaves = [pitch for pitch in range(0, 128, 12) if shown.low - 3 <= pitch <= shown.high + 3]
    ax.set_yticks(octaves, [pitch_name(pitch) for pitch in octaves])
    ax.set(xlabel="bar", ylabel="pitch")
    ax.set(xlim=(0, shown.quarters), ylim=(shown.low - 2, shown.high + 2))
    ax.grid(which="both", color="0.88", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(_plain(piece.name.replace("_", " ")), loc="left", family=_fonts(), fontsize=11)


def _fonts() -> list[str]:
    """matplotlib's own font, and the eastern ones of this machine."""
    installed = font_manager.fontManager.get_font_names()
    return ["DejaVu Sans", *(name for name in EASTERN_FONTS if name in installed)]


def _plain(text: str) -> str:
    """Text that matplotlib draws as it is: no formulas, no hidden labels, no control characters."""
    drawn = "".join(filter(str.isprintable, " ".join(text.split())))
    return drawn.replace("$", r"\$").lstrip("_") or " "
