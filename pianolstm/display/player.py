"""Piano rolls that play: a cursor follows the sound, and a click on the roll moves both.

`player` shows one piece, `compare` several, one above the other. What they return is one output
cell that needs no network and no other file. Without scripts, the pictures and the audio controls
remain; without HTML, one picture of all rolls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jinja2
import numpy as np

from pianolstm.display.roll import LEFT, RIGHT, Picture, extent, roll
from pianolstm.display.sound import Sound, audio
from pianolstm.piece import Piece

TEMPLATES = jinja2.Environment(loader=jinja2.PackageLoader(__package__, ""), autoescape=True)


@dataclass(frozen=True)
class PlayableRoll:
    """A piano roll, its sound, and what the script needs to move a cursor over it."""

    picture: Picture
    sound: Sound | None  # None for a piece without notes
    places: list[tuple[float, float]]  # (seconds, share of the picture's width) of the cursor
    bar: float  # seconds of a bar: the step of an arrow key

    def __repr__(self) -> str:
        return f"{self.picture.text}; {'playable' if self.sound else 'nothing to play'}"


@dataclass(frozen=True)
class Player:
    """One or more playable rolls in one output cell."""

    rolls: list[PlayableRoll]
    together: Picture  # all rolls, for programs that do not show HTML

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.rolls))

    def _repr_html_(self) -> str:
        """The output cell: the rolls, and the script that ties pictures and sounds together."""
        return TEMPLATES.get_template("player.html.j2").render(rolls=self.rolls)

    def _repr_png_(self) -> tuple[str, dict]:
        return self.together._repr_png_()


def player(piece: Piece) -> Player:
    """The piece as a piano roll that plays: press play, click on the roll, or use the arrow keys.

    A piece without notes gives an empty roll. One of more than ten minutes plays its beginning.
    """
    return compare([piece], [piece.name.replace("_", " ")])


def compare(pieces: Sequence[Piece], titles: Sequence[str]) -> Player:
    """Playable piano rolls one above the other, with one scale of time (in quarters) and of pitch.

    Raises ValueError unless there is a title for each piece.
    """
    pieces = [replace(piece, name=title) for piece, title in zip(pieces, titles, strict=True)]
    shown = extent(pieces)
    rolls = []
    for piece in pieces:
        sound = audio(piece) if len(piece) else None
        bar = piece.seconds / max(1, len(piece.bar_starts()))
        places = cursor_places(piece, shown.quarters)
        rolls.append(PlayableRoll(roll(piece, shown=shown), sound, places, bar))
    return Player(rolls, rolls[0].picture if len(rolls) == 1 else roll(*pieces, shown=shown))


def cursor_places(piece: Piece, quarters: float) -> list[tuple[float, float]]:
    """Where the cursor is at the start, at each change of tempo and at the end.

    Returns (seconds, share of the picture's width) for each, where the time axis ends at
    `quarters`. In between, the cursor moves evenly.
    """
    changes = {tick for tick, _ in piece.tempi if 0 < tick < piece.end}
    ticks = np.array(sorted({0, *changes, max(piece.end, 1)}))
    widths = LEFT + ticks * (RIGHT - LEFT) / (quarters * piece.ticks_per_quarter)
    seconds = piece.seconds_at(ticks)
    return list(zip(seconds.round(3).tolist(), widths.round(5).tolist()))
