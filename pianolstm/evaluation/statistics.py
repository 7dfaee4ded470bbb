"""What a piece is like, in numbers that can be compared; and how sure a number of a set is.

A statistic is a function of a `Piece`, or of its `part_lines`; times are in quarters. It is NaN
where a piece has too little for it. A new statistic is one new function.

Sources: Krumhansl 1990, "Cognitive Foundations of Musical Pitch"; Aldwell and Schachter, "Harmony
and Voice Leading".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pianolstm.piece import Piece, key_sharps

# Probe-tone profiles of Krumhansl and Kessler, from C: Krumhansl 1990, table 2.1
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}
NO_KEY = (-1, "none")
TRIADS = ({0, 3}, {0, 3, 7}, {0, 4}, {0, 4, 7})  # semitones above the root, with or without fifth
CONSONANT = (0, 3, 4, 5, 7, 8, 9)  # semitones modulo 12: unisons, thirds, fourths, fifths, sixths
SILENT = -1
DRAWS = 1000  # of a bootstrap

# ---- sets of pieces


class Interval(NamedTuple):
    """A statistic of a set of pieces, with a 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def bootstrap(
    values: Sequence[float] | np.ndarray, statistic: Callable[[np.ndarray], float] = np.mean
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
    generator = np.random.default_rng(0)
    results = [statistic(rows[generator.integers(len(rows), size=len(rows))]) for _ in range(DRAWS)]
    return Interval(float(statistic(rows)), *np.percentile(results, [2.5, 97.5]).tolist())


def ratio(rows: np.ndarray) -> float:
    """Rows (sum, count), one a piece → the sum divided by the count, over all pieces."""
    count = rows[:, 1].sum()
    return float(rows[:, 0].sum() / count) if count else np.nan


# ---- time


def bars(piece: Piece) -> int:
    """Length in bars."""
    return len(piece.bar_starts())


def silences(piece: Piece) -> np.ndarray:
    """Length of every gap between the first and the last note in which nothing sounds."""
    onset = piece.notes["onset"]
    ends = np.maximum.accumulate(onset + piece.notes["duration"])
    gaps = onset[1:] - ends[:-1]
    return gaps[gaps > 0] / piece.ticks_per_quarter


def off_beat_share(piece: Piece) -> float:
    """Share of notes that begin between the quarters."""
    if not len(piece):
        return np.nan
    return float((piece.notes["onset"] % piece.ticks_per_quarter != 0).mean())


# ---- key and ending

Key = tuple[int, str]  # tonic (pitch class) and mode; `NO_KEY` if there is none
KeyFinder = Callable[[Piece], Key]


def key_fits(piece: Piece) -> dict[Key, float]:
    """How well each of the 24 keys fits the notes, −1 to 1; none where nothing can be said.

    The durations of the twelve pitch classes are correlated with the 24 rotated key profiles
    (Krumhansl and Schmuckler; Krumhansl 1990, chapter 4).
    """
    weights = np.bincount(piece.notes["pitch"] % 12, weights=piece.notes["duration"], minlength=12)
    if not weights.std():
        return {}
    fits = {}
    for mode, profile in PROFILES.items():
        for tonic in range(12):
            fits[tonic, mode] = np.corrcoef(np.roll(profile, tonic), weights)[0, 1]
    return fits


def key_of(piece: Piece) -> Key:
    """The key that fits the notes best; `NO_KEY` without notes or with all twelve equally long."""
    fits = key_fits(piece)
    return max(fits, key=fits.get) if fits else NO_KEY


def written_key(piece: Piece) -> Key:
    """The key of the key signature; `NO_KEY` if the piece has none."""
    if not piece.key:
        return NO_KEY
    sharps, minor = key_sharps(piece.key)
    return (7 * sharps + 9 * minor) % 12, "minor" if minor else "major"


def sounding(piece: Piece, tick: int) -> np.ndarray:
    """Pitches that sound at a tick, sorted."""
    notes = piece.notes
    now = (notes["onset"] <= tick) & (tick < notes["onset"] + notes["duration"])
    return np.sort(notes["pitch"][now]).astype(int)


def ends_on_tonic_triad(piece: Piece, key: KeyFinder = key_of) -> float:
    """1 if the last chord is a triad on the tonic, else 0; NaN without a note or a key.

    The last chord is what sounds at the last onset. It must hold the tonic and its major or minor
    third, may hold the fifth, and nothing else. `key` finds the tonic: `key_of` or `written_key`.
    """
    tonic, _ = key(piece)
    if not len(piece) or tonic < 0:
        return np.nan
    chord = sounding(piece, piece.notes["onset"].max())
    return float(set((chord - tonic) % 12) in TRIADS)


def ends_with_cadence(piece: Piece, key: KeyFinder = key_of) -> float:
    """1 if the piece closes with dominant to tonic, else 0; NaN without a note or a key.

    An authentic cadence (Aldwell and Schachter, unit 7): the last chord is a triad on the tonic
    with the tonic in the bass. What sounds just before its bass note has the fifth step in the bass
    and holds the leading note; it may hold the second and fourth step and anticipated notes of the
    tonic triad. A final chord that is struck twice, or reached through a suspension, is not
    recognised.
    """
    on_tonic = ends_on_tonic_triad(piece, key)
    if on_tonic != 1:
        return on_tonic
    tonic, _ = key(piece)
    ends = piece.notes["onset"] + piece.notes["duration"]
    final = piece.notes[ends > piece.notes["onset"].max()]
    bass = final[np.argmin(final["pitch"])]
    earlier = piece.notes["onset"] < bass["onset"]
    if not earlier.any() or bass["pitch"] % 12 != tonic:
        return 0.0
    before = (sounding(piece, min(bass["onset"], ends[earlier].max()) - 1) - tonic) % 12
    return float(before[0] == 7 and {7, 11} <= set(before) <= {7, 11, 2, 5, 0, 3, 4})


# ---- parts


def part_lines(piece: Piece) -> np.ndarray:
    """What each part sounds at each onset of the piece: shape (moments, parts), −1 for silence.

    A part is a track. If several of its notes sound at once, the highest counts.
    """
    parts = max(1, len(piece.track_names), int(piece.notes["track"].max(initial=0)) + 1)
    moments = np.unique(piece.notes["onset"])
    lines = np.full((len(moments), parts), SILENT)
    for onset, length, pitch, _, _, track in piece.notes.tolist():
        first, last = np.searchsorted(moments, (onset, onset + length))
        lines[first:last, track] = np.maximum(lines[first:last, track], pitch)
    return lines


def agreement(lines: np.ndarray) -> float:
    """Share of the pairs of parts sounding at a moment whose interval is consonant."""
    consonant = pairs = 0
    for a, b in itertools.combinations(lines.T, 2):
        both = (a != SILENT) & (b != SILENT)
        consonant += np.isin(np.abs(a - b)[both] % 12, CONSONANT).sum()
        pairs += both.sum()
    return float(consonant / pairs) if pairs else np.nan


def crossings(lines: np.ndarray) -> tuple[int, int]:
    """(how often a part is above the next higher one, neighbours that sound at a moment)."""
    upper, lower = lines[:, :-1], lines[:, 1:]
    both = (upper != SILENT) & (lower != SILENT)
    return int(((lower > upper) & both).sum()), int(both.sum())


def parallels(lines: np.ndarray) -> tuple[int, int]:
    """(parallel fifths and octaves, moves in which two parts both change their note).

    Two parts move in parallel if they go in the same direction from a perfect fifth to a perfect
    fifth, or from a unison or octave to a unison or octave. Four-part writing avoids it (Aldwell
    and Schachter, unit 5).
    """
    parallel = moves = 0
    for a, b in itertools.combinations(lines.T, 2):
        both = (a != SILENT) & (b != SILENT)
        step_a, step_b = np.diff(a), np.diff(b)
        moved = both[:-1] & both[1:] & (step_a != 0) & (step_b != 0)
        interval = np.abs(a - b) % 12
        kept = (interval[1:] == interval[:-1]) & np.isin(interval[1:], (0, 7))
        parallel += (moved & kept & (np.sign(step_a) == np.sign(step_b))).sum()
        moves += moved.sum()
    return int(parallel), int(moves)
