"""`Piece` → `Piece` on a grid: a step of its own, which says how far the notes moved.

A person's playing is never exactly on the beat, and a token for every small deviation would teach
nothing. The grid holds the given divisions of a quarter note: (4, 3) are sixteenths and triplet
eighths. A performance that was recorded without a metronome has no beat that a grid could follow;
it is recognised, and left as it was played unless told otherwise.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pianolstm.piece import Piece, sort_key

GRID = (4, 3)  # sixteenths and triplet eighths
FASTEST = 16  # a beat shows at some division of a quarter from 1 to this, or nowhere
CLEAR = 0.3  # concentration of onsets that speaks for a beat; human playing along a click has 0.6
ERROR = 0.01  # probability of seeing a beat where onsets are random
SHIFTS = np.arange(-6, 7) / 48  # quarters by which a whole piece may stand beside its beats


@dataclass(frozen=True)
class Quantised:
    """A piece on the grid, and what it took to put it there."""

    piece: Piece  # on the grid, or as it was played
    grid: tuple[int, ...]  # divisions of a quarter; none if it was left as it was played
    has_beat: bool = True
    concentration: float | None = None  # see `beat_concentration`; None: all stood on the grid
    moved: np.ndarray | None = None  # (notes,) quarters that each onset moved, beyond `shift`
    shift: float = 0.0  # quarters that the piece as a whole was moved to meet its beats
    merged: int = 0  # notes that fell onto the same pitch in the same track
    joined: int = 0  # moments that fell together with another

    def __str__(self) -> str:
        text = f"{self.piece.name}: "
        if not self.has_beat:
            text += f"no beat (concentration {self.concentration:.2f}), "
        if not self.grid:
            return text + "left as it was played"
        stayed = 1 - float(np.mean(self.moved > 1e-9)) if len(self.moved) else 1.0
        names = " and ".join(f"1/{division}" for division in self.grid)
        text += f"{stayed:.1%} of the notes stood on the grid of {names} quarter, "
        text += f"the furthest moved by {self.moved.max(initial=0):.3f}"
        if self.shift:
            text += f" after the whole piece was shifted by {self.shift:.3f}"
        if self.joined:
            text += f"; {self.joined} moments joined"
        return text + (f"; {self.merged} notes merged" if self.merged else "")


def beat_concentration(piece: Piece) -> tuple[float, int]:
    """How strongly onsets gather at some division of the quarter: (0 to 1, number of onsets).

    The largest mean resultant length |mean exp(2πi k x)| of the onset times x (in quarters) over
    the divisions k = 1 to 16: 1 if all lie at the same place, near 0 if they lie anywhere.
    Source: Mardia and Jupp 2000, "Directional Statistics", section 2.3.
    """
    times = np.unique(piece.notes["onset"]) / piece.ticks_per_quarter
    if not len(times):
        return 0.0, 0
    phases, counts = np.unique(times % 1, return_counts=True)
    turns = np.exp(2j * np.pi * np.arange(1, FASTEST + 1)[:, None] * phases)
    return float(np.abs(turns @ counts).max() / len(times)), len(times)


def check_grid(grid: tuple[int, ...]) -> None:
    """Raise ValueError for a grid without positive divisions."""
    if not grid or any(division < 1 for division in grid):
        raise ValueError(f"grid {grid}: give divisions of a quarter note, such as (4, 3)")


def quantise(piece: Piece, grid: tuple[int, ...] = GRID, bend: bool = False) -> Quantised:
    """Move every onset and end to the nearest point of the grid; a note lasts to the next at least.

    The result counts time in the smallest unit that holds all points (12 ticks a quarter for
    sixteenths and triplets). A piece whose notes all stand beside the beats by the same amount
    (at most 1/8 quarter) is first moved as a whole. Notes of one track that come to start together
    on one pitch are merged into the longest, and counted.

    A performance without a beat is returned as it is, unless `bend` says to force it; the test is
    Rayleigh's for `FASTEST` divisions at once (Mardia and Jupp 2000, section 6.3.1) with a floor.
    Raises ValueError for a grid without positive divisions.
    """
    check_grid(grid)
    onset, tpq = piece.notes["onset"], piece.ticks_per_quarter
    if not _snap(onset, tpq, grid)[1].any():
        return _put_on_grid(Quantised(piece, grid), 0)
    concentration, onsets = beat_concentration(piece)
    # P(R > r) is about exp(-n r²) for n random onsets, and sixteen divisions are tried.
    random = math.sqrt(math.log(FASTEST / ERROR) / onsets)
    has_beat = random >= 1 or concentration >= max(CLEAR, random)
    if not has_beat and not bend:
        return Quantised(piece, (), False, concentration, np.zeros(len(piece)))
    shift = _best_shift(onset, tpq, grid)
    first = int(onset.min()) + shift
    late = tpq * (-(first // tpq)) if first < 0 else 0  # whole quarters, to start at 0 or later
    return _put_on_grid(
        Quantised(piece, grid, has_beat, concentration, shift=shift / tpq), shift + late
    )


def _put_on_grid(found: Quantised, shift: int) -> Quantised:
    """The piece `shift` ticks later, then every time at its nearest grid point."""
    piece, grid = found.piece, found.grid
    tpq, unit = piece.ticks_per_quarter, math.lcm(*grid)
    notes = piece.notes.take(np.arange(len(piece)))  # in half the time of a copy
    onset = notes["onset"] + shift
    start, moved = _snap(onset, tpq, grid)
    end, _ = _snap(onset + notes["duration"], tpq, grid)
    notes["onset"] = start
    notes["duration"] = np.maximum(end - start, _tables(tpq, grid)[2][start % unit])
    kept = _longest(notes)
    merged = len(notes) - len(kept)
    on_grid = replace(
        piece,
        notes=kept,
        ticks_per_quarter=unit,
        tempi=_rescale(piece.tempi, shift, unit / tpq),
        time_signatures=_rescale(piece.time_signatures, shift, unit / tpq),
        dropped=dict(Counter(piece.dropped) + Counter({"merged on the grid": merged})),
    )
    joined = len(np.unique(onset)) - len(np.unique(start)) if moved.any() else 0
    return replace(found, piece=on_grid, moved=moved, merged=merged, joined=joined)


@lru_cache(maxsize=64)
def _tables(tpq: int, grid: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each tick of a quarter its nearest grid point (in units) and the distance (in quarters);
    for each unit of a quarter the steps to the next grid point."""
    unit = math.lcm(*grid)
    points = np.array(sorted({k * unit // d for d in grid for k in range(d)} | {unit}))
    gaps = np.abs(np.arange(tpq)[:, None] * unit - points * tpq)  # exact: in units times ticks
    nearest = points[gaps.argmin(axis=1)]
    units = np.arange(unit)
    following = points[np.searchsorted(points, units, side="right")] - units
    return nearest, gaps.min(axis=1) / (unit * tpq), following


def _snap(ticks: np.ndarray, tpq: int, grid: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest grid points (in units) and the distances to them (in quarters)."""
    nearest, distance, _ = _tables(tpq, grid)
    quarter = ticks // tpq
    rest = ticks - quarter * tpq  # in half the time of np.divmod
    return quarter * math.lcm(*grid) + nearest[rest], distance[rest]


def _best_shift(onset: np.ndarray, tpq: int, grid: tuple[int, ...]) -> int:
    """Ticks by which the whole piece must move: 0 unless that at least halves the way to go."""
    ticks = sorted({round(shift * tpq) for shift in SHIFTS}, key=lambda t: (abs(t), t))
    costs = [_snap(onset + tick, tpq, grid)[1].sum() for tick in ticks]
    best = int(np.argmin(costs))
    return ticks[best] if costs[best] < costs[0] / 2 else 0


def _longest(notes: np.ndarray) -> np.ndarray:
    """Of the notes of one track that start together on one pitch, only the longest."""
    key = sort_key(notes)
    if (key[1:] > key[:-1]).all():
        return notes
    order = np.lexsort((-notes["duration"], key))
    return notes.take(order[np.append(True, np.diff(key[order]) > 0)])


def _rescale(marks: tuple[tuple, ...], shift: int, scale: float) -> tuple[tuple, ...]:
    """Marks (tick, …) on the new clock; of several at one place the last one holds."""
    moved = {max(0, round((mark[0] + shift * (mark[0] > 0)) * scale)): mark[1:] for mark in marks}
    return tuple((tick, *rest) for tick, rest in sorted(moved.items()))
