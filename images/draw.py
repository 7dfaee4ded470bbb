"""Draws the pictures of this folder: the article's four figures anew, and what networks wrote.

Run it with `python images/draw.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pianolstm.checkpoint import load_pretrained
from pianolstm.composing import compose
from pianolstm.display import TRACK_COLOURS, roll, score
from pianolstm.generation import probabilities
from pianolstm.harmonising import harmonise, read_melody
from pianolstm.piece import Piece

BLUE, ORANGE = TRACK_COLOURS[:2]
DPI = 110
SEED, TOP_P = 6, 0.95  # `python -m pianolstm compose --checkpoint events --seed 6`

ODE = (
    "B4:1 B4:1 C5:1 D5:1 D5:1 C5:1 B4:1 A4:1 G4:1 G4:1 A4:1 B4:1 B4:1.5 A4:0.5 A4:2 "
    "B4:1 B4:1 C5:1 D5:1 D5:1 C5:1 B4:1 A4:1 G4:1 G4:1 A4:1 B4:1 A4:1.5 G4:0.5 G4:2"
)


def _canvas(width: float, height: float, right: float, top: float) -> tuple[Figure, Axes]:
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.set(xlim=(0, right), ylim=(0, top))
    ax.axis("off")
    return figure, ax


def _box(ax: Axes, x: float, y: float, text: str, colour: str = "0.4", fill: str = "white") -> None:
    ax.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=12,
        family="monospace",
        bbox={"boxstyle": "round,pad=0.45", "facecolor": fill, "edgecolor": colour},
    )


def midimusic() -> Figure:
    """From categories to integers: each distinct token has a place in a sorted list."""
    figure, ax = _canvas(8, 2.8, 8, 3)
    melody = ["E5", "4.9", "C5", "E5", "B4"]
    ids = {token: i for i, token in enumerate(sorted(set(melody)))}
    ax.text(0.1, 2.4, "music", va="center")
    ax.text(0.1, 0.4, "integers", va="center")
    for i, token in enumerate(melody):
        x = 1.6 + i * 0.95
        _box(ax, x, 2.4, token, BLUE)
        _box(ax, x, 0.4, str(ids[token]), ORANGE)
        ax.annotate("", (x, 0.85), (x, 1.95), arrowprops={"arrowstyle": "->", "color": "0.4"})
    ax.text(6.9, 2.75, "sorted tokens", ha="center")
    for token, i in ids.items():
        ax.text(6.9, 2.3 - i * 0.5, f"{token:>4} → {i}", ha="center", family="monospace")
    return figure


def sequence() -> Figure:
    """The sliding window: what was predicted enters on the right, the oldest leaves on the left."""
    figure, ax = _canvas(8, 3.2, 9, 3.6)
    letters = "ABCDEFGH"
    for step in range(3):
        y = 3.0 - step * 1.15
        for i, letter in enumerate(letters[: 6 + step]):
            inside, new = step <= i < step + 5, i == step + 5
            colour = ORANGE if new else BLUE if inside else "0.8"
            _box(ax, 0.8 + i * 0.85, y, letter, colour, "#fdf0e6" if new else "white")
        ax.text(7.5, y, f"{letters[step:step + 5]} → {letters[step + 5]}", va="center",
                family="monospace", fontsize=11)  # fmt: skip
    ax.text(0.8, 0.05, "blue: the window; orange: the prediction", fontsize=9, color="0.35")
    return figure


def mapping() -> Figure:
    """From the network's outputs to a class: one probability for each token."""
    figure, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
    classes = list("ABCDEF")
    p = probabilities(np.array([0.2, 1.1, 0.4, 2.6, 1.0, -0.3]), forbid=())
    bars = ax.bar(classes, p, color=[ORANGE if v == p.max() else BLUE for v in p])
    ax.bar_label(bars, [f"{v:.2f}" for v in p])
    ax.set(ylim=(0, 0.75), ylabel="probability", xlabel="class",
           title="argmax picks the highest bar: D")  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def generated_piece() -> Piece:
    """The piece shown in README and images: shipped checkpoint, fixed seed."""
    (piece,) = compose(load_pretrained("events"), [SEED], top_p=TOP_P)
    return replace(piece, name="generated")


def harmonisation() -> Piece:
    """The tune of Beethoven's Ninth with voices below it, as in notebook 14."""
    tune, _ = read_melody(ODE)
    return harmonise(tune, load_pretrained("rolls"), seed=2)[0]


def draw_all(folder: str | Path) -> list[Path]:
    """Write all pictures as PNG into `folder` and return their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for draw in (midimusic, sequence, mapping):
        figure = draw()
        paths.append(folder / f"{draw.__name__}.png")
        figure.savefig(paths[-1], dpi=DPI)
        plt.close(figure)
    piece = generated_piece()
    paths.append(score(piece.bars(1, 12)).save(folder / "example_of_sheet_music.png"))
    paths.append(roll(piece).save(folder / "generated_piece.png"))
    paths.append(score(harmonisation()).save(folder / "harmonisation.png"))
    return paths


if __name__ == "__main__":
    for written in draw_all(Path(__file__).parent):
        print(written.name)
