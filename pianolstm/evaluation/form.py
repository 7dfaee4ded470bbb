"""What comes back in a piece: bars that were heard before, and how alike its bars are.

A bar is the notes that start in it, each as its place in the bar, its pitch and its length. Two
bars are the same, exactly or transposed, if all notes are, or all would be after moving one of the
bars up or down. Foote 1999, "Visualizing Music and Audio using Self-Similarity".
"""

from __future__ import annotations

import numpy as np

from pianolstm.evaluation.copying import notes_in_order
from pianolstm.piece import Piece

Bar = frozenset[tuple[int, int, int]]  # place in the bar and length in ticks, and pitch


def bar_contents(piece: Piece) -> list[Bar]:
    """The notes that start in each bar of a piece, also of bars in which none does."""
    notes, starts = piece.notes, piece.bar_starts()
    bars = np.searchsorted(starts, notes["onset"], side="right") - 1
    contents: list[set] = [set() for _ in starts]
    for bar, onset, pitch, length in zip(bars, notes["onset"], notes["pitch"], notes["duration"]):
        contents[bar].add((int(onset - starts[bar]), int(pitch), int(length)))
    return [frozenset(content) for content in contents]


def without_key(bar: Bar) -> Bar:
    """A bar with its lowest pitch at 0, so that a transposed bar is the same."""
    lowest = min((pitch for _, pitch, _ in bar), default=0)
    return frozenset((place, pitch - lowest, length) for place, pitch, length in bar)


def returning_bars(piece: Piece) -> float:
    """Share of the bars with notes that occurred before, exactly or transposed; NaN for none."""
    bars = [without_key(bar) for bar in bar_contents(piece) if bar]
    return 1 - len(set(bars)) / len(bars) if bars else np.nan


def self_similarity(piece: Piece) -> np.ndarray:
    """How alike each two bars are, (bars, bars): the share of notes of either that both have.

    That is the Jaccard index; two bars without notes are wholly alike.
    """
    bars = bar_contents(piece)
    return np.array([[len(a & b) / max(len(a | b), 1) if a or b else 1.0 for b in bars]
                     for a in bars])  # fmt: skip


def moments(piece: Piece) -> list[tuple]:
    """What starts at each onset: quarters since the onset before, then pitches and lengths."""
    notes = notes_in_order(piece)
    onsets, first = np.unique(notes["onset"], return_index=True)
    groups = np.split(notes, first[1:])
    gaps = np.diff(onsets, prepend=onsets[:1]).tolist()
    return [(gap, *map(tuple, group[["pitch", "duration"]].tolist()))
            for gap, group in zip(gaps, groups)]  # fmt: skip
