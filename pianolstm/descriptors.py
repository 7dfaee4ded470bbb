"""The statistics that the literature describes music with, and how alike two sets of pieces are.

All take a `Piece`. Where a piece has too little for a statistic it is NaN, which `bootstrap` leaves
out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pianolstm.piece import Piece
from pianolstm.statistics import durations

MAJOR_SCALE, MINOR_SCALE = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


def pitch_class_counts(piece: Piece) -> np.ndarray:
    """How many notes have each of the twelve pitch classes."""
    return np.bincount(piece.notes["pitch"] % 12, minlength=12)


def pitch_class_entropy(piece: Piece) -> float:
    """Entropy of the pitch classes in bits: 0 for one, log2 12 = 3.58 if all are as common.

    Source: Dong et al. 2020, "MusPy": pitch class entropy; over bars, not whole pieces, in Wu and
    Yang 2020, "The Jazz Transformer on the Front Line": H.
    """
    counts = pitch_class_counts(piece)
    p = counts[counts > 0] / max(1, counts.sum())
    return float(-(p * np.log2(p)).sum()) + 0.0 if len(p) else np.nan


def scale_consistency(piece: Piece) -> float:
    """Share of notes that lie in the major or natural minor scale that holds most of them.

    Source: Mogren 2016, "C-RNN-GAN": scale consistency.
    """
    counts = pitch_class_counts(piece)
    if not counts.sum():
        return np.nan
    held = [counts[[(tonic + step) % 12 for step in scale]].sum()
            for tonic in range(12) for scale in (MAJOR_SCALE, MINOR_SCALE)]  # fmt: skip
    return float(max(held) / counts.sum())


def groove_consistency(piece: Piece, positions: int = 16) -> float:
    """How alike neighbouring bars are in where notes begin: 1 if in the same places.

    Each bar becomes a row of `positions` bits; 1 less the mean share of bits that differ between a
    bar and the next. Source: Dong et al. 2020, "MusPy": groove consistency; over all pairs of bars,
    not neighbours, in Wu and Yang 2020: grooving pattern similarity, GS.
    """
    lines = np.array(piece.bar_starts())
    if len(lines) < 2 or not len(piece):
        return np.nan
    ends = np.append(lines[1:], 2 * lines[-1] - lines[-2])
    bar = np.searchsorted(lines, piece.notes["onset"], side="right") - 1
    place = (piece.notes["onset"] - lines[bar]) * positions // (ends - lines)[bar]
    grid = np.zeros((len(lines), positions), dtype=bool)
    grid[bar, np.minimum(place, positions - 1)] = True
    return float(1 - (grid[1:] != grid[:-1]).mean())


def polyphony(piece: Piece) -> float:
    """Mean number of pitches that sound at a time, over the time in which anything sounds.

    Source: Dong et al. 2020, "MusPy": polyphony.
    """
    begin, end = piece.notes["onset"], piece.notes["onset"] + piece.notes["duration"]
    moments = np.unique(np.concatenate([begin, end]))
    if len(moments) < 2:
        return np.nan
    middles = (moments[:-1] + moments[1:]) / 2
    numbers = [len(np.unique(piece.notes["pitch"][(begin < m) & (m < end)])) for m in middles]
    length = np.diff(moments) * (np.array(numbers) > 0)
    return float((numbers * length).sum() / length.sum())


def note_density(piece: Piece) -> float:
    """Notes that begin in a quarter, on average.

    Source: Yang and Lerch 2020, "On the Evaluation of Generative Models in Music": note count,
    here divided by the piece's length.
    """
    return len(piece) * piece.ticks_per_quarter / piece.end if len(piece) else np.nan


def pitch_range(piece: Piece) -> float:
    """Semitones from the lowest note to the highest (Yang and Lerch 2020: pitch range)."""
    return float(np.ptp(piece.notes["pitch"].astype(int))) if len(piece) else np.nan


def top_intervals(piece: Piece) -> np.ndarray:
    """Semitones from each top note to the next, the highest of all that begin together."""
    _, place = np.unique(piece.notes["onset"], return_inverse=True)
    top = np.zeros(place.max(initial=-1) + 1, dtype=int)
    np.maximum.at(top, place, piece.notes["pitch"])
    return np.diff(top)


def interval_histogram(piece: Piece) -> np.ndarray:
    """Shares of the intervals of the top line, 0 to 12 semitones up or down (13: more than that).

    After Yang and Lerch 2020, whose pitch interval is the mean of these.
    """
    steps = np.minimum(np.abs(top_intervals(piece)), 13)
    return np.bincount(steps, minlength=14) / (len(steps) or np.nan)


LENGTHS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1, 1.5, 2, 3, 4)  # quarters


def duration_histogram(piece: Piece) -> np.ndarray:
    """Shares of the notes whose length is nearest to each of `LENGTHS`, as a ratio.

    Source: Yang and Lerch 2020: note length histogram.
    """
    lengths = durations(piece)
    if not len(lengths):
        return np.full(len(LENGTHS), np.nan)
    ratios = np.abs(np.log(np.maximum(lengths, 1e-3))[:, None] - np.log(LENGTHS))
    return np.bincount(ratios.argmin(axis=1), minlength=len(LENGTHS)) / len(lengths)


DESCRIPTORS: dict[str, Callable[[Piece], float]] = {
    "pitch-class entropy": pitch_class_entropy,
    "scale consistency": scale_consistency,
    "groove consistency": groove_consistency,
    "polyphony": polyphony,
    "notes a quarter": note_density,
    "pitch range": pitch_range,
}


def overlapping_area(
    pieces: Sequence[Piece],
    reference: Sequence[Piece],
    descriptor: Callable[[Piece], float | np.ndarray],
) -> float:
    """How far a set of pieces looks like the reference in one respect: 1 alike, 0 not at all.

    Distances between each two pieces of the reference, and from each piece to each of the
    reference, become two densities (Gaussian kernels of Scott's width); the area under both. So it
    asks for the same variety, not only for the same mean. Source: Yang and Lerch 2020, relative
    measurement by intra-set and inter-set distances. NaN unless three pieces of the reference, and
    one of the others, have the statistic.
    """
    from scipy.stats import gaussian_kde

    ours, theirs = (
        np.array([value for value in map(descriptor, group) if not np.isnan(value).any()])
        for group in (pieces, reference)
    )
    if len(theirs) < 3 or not len(ours):
        return np.nan
    ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    every = np.linalg.norm(theirs[:, None] - theirs[None], axis=-1)
    intra = every[np.triu_indices(len(theirs), 1)]
    inter = np.linalg.norm(ours[:, None] - theirs[None], axis=-1).ravel()
    if not np.ptp(intra) or not np.ptp(inter):  # a single distance has no density
        return float(np.array_equal(np.unique(intra), np.unique(inter)))
    a, b = gaussian_kde(intra), gaussian_kde(inter)
    spread = 4 * max(np.sqrt(a.covariance.item()), np.sqrt(b.covariance.item()))
    low, high = min(intra.min(), inter.min()) - spread, max(intra.max(), inter.max()) + spread
    x = np.linspace(low, high, 1000)
    return float(np.trapezoid(np.minimum(a(x), b(x)), x))
