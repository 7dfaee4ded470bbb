"""What pieces are like, in numbers that can be compared: human, generated, baseline.

Statistics take a `Piece`, or the matrix of its `part_lines`; a set of pieces gets an interval from
`bootstrap`. Times are in quarters. A statistic that a piece does not have (the last chord of
nothing) is NaN, and `bootstrap` leaves such pieces out and counts those that stay.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.piece import PITCH_CLASS_NAMES, Piece, key_sharps

# Krumhansl and Kessler's probe-tone profiles, from C: Krumhansl 1990, "Cognitive Foundations of
# Musical Pitch", table 2.1
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
CONSONANT = (0, 3, 4, 5, 7, 8, 9)  # semitones modulo 12: unisons, thirds, fourths, fifths, sixths
SILENT = -1


@dataclass(frozen=True)
class Interval:
    """A statistic of a set of pieces, with a 95 % interval over pieces."""

    value: float
    low: float
    high: float
    pieces: int  # that have the statistic

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def bootstrap(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """A statistic of one value (or one row of values) a piece, with its percentile interval.

    Pieces are drawn again with replacement; the interval holds the middle 95 % of the results
    (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13). Where all pieces
    have the same value the interval has no width, which promises too much: of n pieces without an
    event, up to 3/n may still be expected to have it. Raises ValueError if no piece has a value.
    """
    rows = np.asarray(values, dtype=float)
    if len(rows):
        rows = rows[~np.isnan(rows.reshape(len(rows), -1)).any(axis=1)]
    if not len(rows):
        raise ValueError(f"{len(values)} pieces, none of which has this statistic")
    generator = np.random.default_rng(seed)
    again = [statistic(rows[generator.integers(len(rows), size=len(rows))]) for _ in range(draws)]
    return Interval(float(statistic(rows)), *np.percentile(again, [2.5, 97.5]), len(rows))


def ratio(rows: np.ndarray) -> float:
    """Rows (a sum, a count), one a piece → sum a count, all pieces together."""
    count = rows[:, 1].sum()
    return float(rows[:, 0].sum() / count) if count else np.nan


def pooled(rows: np.ndarray) -> float:
    """Rows (events, occasions), one a piece → events per 1,000 occasions, all pieces together."""
    return 1000 * ratio(rows)


# ---- time


def bars(piece: Piece) -> int:
    """Length in bars."""
    return len(piece.bar_starts())


def durations(piece: Piece) -> np.ndarray:
    """Length of every note, shape (notes,)."""
    return piece.notes["duration"] / piece.ticks_per_quarter


def silences(piece: Piece) -> np.ndarray:
    """Lengths of the times between its first and its last note in which nothing sounds."""
    if not len(piece):
        return np.zeros(0)
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


def key_of(piece: Piece) -> tuple[int, str]:
    """Tonic (pitch class) and mode that fit the piece best.

    The durations of the twelve pitch classes are correlated with the 24 turned key profiles
    (Krumhansl and Schmuckler; Krumhansl 1990, chapter 4). (−1, "none") where nothing sounds, or all
    twelve equally long.
    """
    weights = np.bincount(piece.notes["pitch"] % 12, weights=piece.notes["duration"], minlength=12)
    if not weights.std():  # nothing sounds, or everything alike
        return -1, "none"
    candidates = {
        (tonic, mode): np.corrcoef(np.roll(profile, tonic), weights)[0, 1]
        for mode, profile in (("major", MAJOR_PROFILE), ("minor", MINOR_PROFILE))
        for tonic in range(12)
    }
    return max(candidates, key=candidates.get)


def written_key(piece: Piece) -> tuple[int, str]:
    """Tonic (pitch class) and mode of the key signature; (−1, "none") where there is none."""
    if not piece.key:
        return -1, "none"
    sharps, minor = key_sharps(piece.key)
    return (7 * sharps + 9 * minor) % 12, "minor" if minor else "major"


KeyFinder = Callable[[Piece], tuple[int, str]]  # `key_of`, `written_key`


def key_text(piece: Piece) -> str:
    """The key as words: "G major"."""
    tonic, mode = key_of(piece)
    return f"{PITCH_CLASS_NAMES[tonic]} {mode}" if tonic >= 0 else "no key"


def sounding(piece: Piece, tick: int) -> np.ndarray:
    """Pitches that sound at a tick, sorted."""
    notes = piece.notes
    now = (notes["onset"] <= tick) & (tick < notes["onset"] + notes["duration"])
    return np.sort(notes["pitch"][now]).astype(int)


def ends_on_tonic_triad(piece: Piece, key: KeyFinder = key_of) -> float:
    """1 if the last chord is a triad on the tonic, else 0; nan without a note or a key.

    The last chord is what sounds at the last onset; it must hold the tonic and its major or minor
    third, may hold the fifth, and nothing else. The tonic is that of `key`: of `key_of`, which
    listens, or of `written_key`.
    """
    tonic, _ = key(piece)
    if not len(piece) or tonic < 0:
        return np.nan
    classes = {int(p - tonic) % 12 for p in sounding(piece, int(piece.notes["onset"].max()))}
    return float(any({0, third} <= classes <= {0, third, 7} for third in (3, 4)))


def ends_with_cadence(piece: Piece, key: KeyFinder = key_of) -> float:
    """1 if the piece closes with dominant to tonic, else 0; nan without a note or a key.

    An authentic cadence (Aldwell and Schachter, "Harmony and Voice Leading", unit 7): the last
    chord is a triad on the tonic with the tonic in the bass; what sounds just before its bass note
    has the fifth step in the bass and holds the leading note; besides these two there are only the
    second and fourth step, and anticipated notes of the tonic triad. A final chord that is struck
    twice, or reached through a suspension, is not recognised.
    """
    if (triad := ends_on_tonic_triad(piece, key)) != 1:
        return triad
    tonic, _ = key(piece)
    notes, last = piece.notes, int(piece.notes["onset"].max())
    final = notes[(notes["onset"] + notes["duration"] > last)]
    bass = final[np.argmin(final["pitch"])]
    earlier = notes[notes["onset"] < bass["onset"]]
    if not len(earlier):
        return 0.0
    ends = int((earlier["onset"] + earlier["duration"]).max())
    before = (sounding(piece, min(int(bass["onset"]), ends) - 1) - tonic) % 12
    in_root_position = (int(bass["pitch"]) - tonic) % 12 == 0 and before[0] == 7
    return float(in_root_position and {7, 11} <= set(before.tolist()) <= {7, 11, 2, 5, 0, 3, 4})


# ---- parts


def part_lines(piece: Piece) -> np.ndarray:
    """What each part sounds at each onset of the piece: shape (moments, parts), −1 for silence.

    A part is a track; of several notes at once the highest counts.
    """
    parts = max(1, len(piece.track_names), int(piece.notes["track"].max(initial=0)) + 1)
    moments = np.unique(piece.notes["onset"])
    lines = np.full((len(moments), parts), SILENT)
    for onset, length, pitch, _, _, track in piece.notes.tolist():
        first, last = np.searchsorted(moments, (onset, onset + length))
        lines[first:last, track] = np.maximum(lines[first:last, track], pitch)
    return lines


def agreement(lines: np.ndarray) -> float:
    """Share of pairs of parts sounding at a moment whose interval is consonant (`CONSONANT`)."""
    found = [
        np.isin(np.abs(a - b)[both] % 12, CONSONANT)
        for a, b in _pairs(lines)
        if (both := (a != SILENT) & (b != SILENT)).any()
    ]
    return float(np.concatenate(found).mean()) if found else np.nan


def crossings(lines: np.ndarray) -> tuple[int, int]:
    """(how often a part is above the next higher one, neighbours that sound at a moment)."""
    upper, lower = lines[:, :-1], lines[:, 1:]
    both = (upper != SILENT) & (lower != SILENT)
    return int(((lower > upper) & both).sum()), int(both.sum())


def parallels(lines: np.ndarray) -> tuple[int, int]:
    """(parallel fifths and octaves, moves in which two parts both change their note).

    Two parts move in parallel if they go in one direction from a perfect fifth to a perfect fifth,
    or from a unison or octave to one: what four-part writing avoids (Aldwell and Schachter,
    unit 5).
    """
    wrong = moves = 0
    for a, b in _pairs(lines):
        sound = (a[:-1] != SILENT) & (b[:-1] != SILENT) & (a[1:] != SILENT) & (b[1:] != SILENT)
        up_a, up_b = np.diff(a), np.diff(b)
        both = sound & (up_a != 0) & (up_b != 0)
        before, after = (np.abs(a - b)[:-1] % 12)[both], (np.abs(a - b)[1:] % 12)[both]
        same_way = (np.sign(up_a) == np.sign(up_b))[both]
        wrong += int((same_way & (before == after) & np.isin(before, (0, 7))).sum())
        moves += int(both.sum())
    return wrong, moves


def _pairs(lines: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(lines[:, i], lines[:, j]) for i, j in itertools.combinations(range(lines.shape[1]), 2)]


def shuffled_parts(pieces: Sequence[Piece], seed: int = 0) -> list[Piece]:
    """As many pieces, each with its parts taken from different pieces: parts that do not listen.

    All are moved to one tonic first (`key_of`, by at most six semitones), and each is as long as
    the shortest that gave a part. What still fits together does so by the key alone. Raises
    ValueError for fewer pieces than parts.
    """
    parts = len(pieces[0].track_names)
    if len(pieces) < parts or len({piece.ticks_per_quarter for piece in pieces}) > 1:
        raise ValueError(
            f"{len(pieces)} pieces for {parts} parts: give as many pieces at least, all with the "
            "same ticks_per_quarter (`quantise` sees to that)"
        )
    tonics = [key_of(piece)[0] for piece in pieces]
    home = [piece.transpose((6 - tonic) % 12 - 6) for piece, tonic in zip(pieces, tonics)]
    order = np.random.default_rng(seed).permutation(len(pieces))
    result = []
    for index in range(len(pieces)):
        sources = [home[order[(index + part) % len(order)]] for part in range(parts)]
        end = min(source.end for source in sources)
        notes = np.concatenate(
            [source.notes[source.notes["track"] == part] for part, source in enumerate(sources)]
        )
        notes = notes[notes["onset"] < end]
        notes["duration"] = np.minimum(notes["duration"], end - notes["onset"])
        result.append(
            Piece(
                notes,
                pieces[0].ticks_per_quarter,
                track_names=pieces[0].track_names,
                name=f"shuffled {index + 1}",
            )
        )
    return result
