"""Sets of pieces: a statistic with its confidence interval, and a set to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.evaluation.statistics import key_of
from pianolstm.piece import Piece


@dataclass(frozen=True)
class Interval:
    """A statistic of a set of pieces, with a 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def bootstrap(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic of one value, or one row of values, a piece, with its percentile interval.

    Pieces are drawn again with replacement; the interval holds the middle 95 % of the results
    (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13). If all pieces have
    the same value the interval has no width, which is too optimistic: if none of n pieces has an
    event, up to 3/n of all pieces may still have it. Raises ValueError if no piece has a value.
    """
    rows = np.array([row for row in values if not np.isnan(row).any()], dtype=float)
    if not len(rows):
        raise ValueError(f"{len(values)} pieces, none of which has this statistic")
    generator = np.random.default_rng(seed)
    results = [statistic(rows[generator.integers(len(rows), size=len(rows))]) for _ in range(draws)]
    low, high = np.percentile(results, [2.5, 97.5])
    return Interval(float(statistic(rows)), low, high)


def ratio(rows: np.ndarray) -> float:
    """Rows (sum, count), one a piece → the sum divided by the count, over all pieces."""
    count = rows[:, 1].sum()
    return float(rows[:, 0].sum() / count) if count else np.nan


def pooled(rows: np.ndarray) -> float:
    """Rows (events, occasions), one a piece → events per 1,000 occasions, over all pieces."""
    return 1000 * ratio(rows)


def shuffled_parts(pieces: Sequence[Piece], seed: int = 0) -> list[Piece]:
    """As many pieces, each with its parts taken from different pieces, which do not fit together.

    All pieces are moved to one tonic first (`key_of`, by at most six semitones), so that what still
    agrees does so because of the key. A result is as long as the shortest piece that gave a part.
    Raises ValueError for fewer pieces than parts, or for unequal ticks_per_quarter.
    """
    parts = len(pieces[0].track_names)
    if len(pieces) < parts or len({piece.ticks_per_quarter for piece in pieces}) > 1:
        raise ValueError(
            f"{len(pieces)} pieces for {parts} parts: give as many pieces at least, all with the "
            "same ticks_per_quarter (`quantise` sees to that)"
        )
    same_tonic = [piece.transpose((6 - key_of(piece)[0]) % 12 - 6) for piece in pieces]
    order = np.random.default_rng(seed).permutation(len(pieces))
    result = []
    for index in range(len(pieces)):
        sources = [same_tonic[order[(index + part) % len(pieces)]] for part in range(parts)]
        lines = [source.notes[source.notes["track"] == part] for part, source in enumerate(sources)]
        notes = np.concatenate(lines)
        end = min(source.end for source in sources)
        notes = notes[notes["onset"] < end]
        notes["duration"] = np.minimum(notes["duration"], end - notes["onset"])
        result.append(
            Piece(notes, pieces[0].ticks_per_quarter, track_names=pieces[0].track_names,
                  name=f"shuffled {index + 1}")
        )  # fmt: skip
    return result
