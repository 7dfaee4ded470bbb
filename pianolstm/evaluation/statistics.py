"""What a piece is like, in numbers that can be compared.

A statistic is a function of a `Piece`, or of its `part_lines`; times are in quarters. It is NaN
where a piece has too little for it. A new statistic is one new function; `comparison` takes any.

Sources that are cited by their year: Dong et al. 2020, "MusPy"; Mogren 2016, "C-RNN-GAN"; Wu and
Yang 2020, "The Jazz Transformer on the Front Line"; Yang and Lerch 2020, "On the Evaluation of
Generative Models in Music"; Krumhansl 1990, "Cognitive Foundations of Musical Pitch"; Aldwell and
Schachter, "Harmony and Voice Leading".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from pianolstm.piece import PITCH_CLASS_NAMES, Piece, key_sharps

# Probe-tone profiles of Krumhansl and Kessler, from C: Krumhansl 1990, table 2.1
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
NO_KEY = (-1, "none")
TRIADS = ({0, 3}, {0, 3, 7}, {0, 4}, {0, 4, 7})  # semitones above the root, with or without fifth
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # major, natural minor
CONSONANT = (0, 3, 4, 5, 7, 8, 9)  # semitones modulo 12: unisons, thirds, fourths, fifths, sixths
LENGTHS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1, 1.5, 2, 3, 4)  # quarters
SILENT = -1

# ---- time


def bars(piece: Piece) -> int:
    """Length in bars."""
    return len(piece.bar_starts())


def durations(piece: Piece) -> np.ndarray:
    """Length of every note, shape (notes,)."""
    return piece.notes["duration"] / piece.ticks_per_quarter


def duration_histogram(piece: Piece) -> np.ndarray:
    """Share of the notes whose length is nearest, as a ratio, to each of `LENGTHS`; shape (10,).

    Source: Yang and Lerch 2020, note length histogram.
    """
    if not len(piece):
        return np.full(len(LENGTHS), np.nan)
    lengths = np.maximum(durations(piece), 1e-3)
    distances = np.abs(np.log(lengths)[:, None] - np.log(LENGTHS))
    return np.bincount(distances.argmin(axis=1), minlength=len(LENGTHS)) / len(piece)


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


def note_density(piece: Piece) -> float:
    """Onsets in a quarter, on average: note count of Yang and Lerch 2020, divided by the length."""
    return len(piece) * piece.ticks_per_quarter / piece.end if len(piece) else np.nan


def groove_consistency(piece: Piece) -> float:
    """Similarity of the onsets in neighbouring bars, 1 if they are in the same places.

    Each bar becomes a row of 16 bits; the result is 1 minus the mean share of bits in which a bar
    differs from the next. Source: Dong et al. 2020 (Wu and Yang 2020 compare all pairs of bars).
    """
    starts = np.array(piece.bar_starts())
    if len(starts) < 2 or not len(piece):
        return np.nan
    lengths = np.append(np.diff(starts), starts[-1] - starts[-2])
    bar = np.searchsorted(starts, piece.notes["onset"], side="right") - 1
    place = (piece.notes["onset"] - starts[bar]) * 16 // lengths[bar]
    grid = np.zeros((len(starts), 16), dtype=bool)
    grid[bar, np.minimum(place, 15)] = True
    return float(1 - (grid[1:] != grid[:-1]).mean())


# ---- pitch


def pitch_class_counts(piece: Piece) -> np.ndarray:
    """Number of notes of each pitch class, shape (12,)."""
    return np.bincount(piece.notes["pitch"] % 12, minlength=12)


def pitch_class_entropy(piece: Piece) -> float:
    """Entropy of the pitch classes in bits, from 0 to log2 12 = 3.58 (Dong et al. 2020)."""
    if not len(piece):
        return np.nan
    counts = pitch_class_counts(piece)
    p = counts[counts > 0] / len(piece)
    return float((p * np.log2(1 / p)).sum())


def scale_consistency(piece: Piece) -> float:
    """Largest share of notes in any major or natural minor scale (Mogren 2016)."""
    if not len(piece):
        return np.nan
    counts = pitch_class_counts(piece)
    most = 0
    for tonic, scale in itertools.product(range(12), SCALES):
        classes = [(tonic + step) % 12 for step in scale]
        most = max(most, counts[classes].sum())
    return float(most / len(piece))


def polyphony(piece: Piece) -> float:
    """Mean number of pitches that sound at once, silence not counted (Dong et al. 2020)."""
    begin, end = piece.notes["onset"], piece.notes["onset"] + piece.notes["duration"]
    moments = np.unique(np.concatenate([begin, end]))
    if len(moments) < 2:
        return np.nan
    numbers = np.array([len(np.unique(sounding(piece, moment))) for moment in moments[:-1]])
    ticks = np.diff(moments) * (numbers > 0)
    return float((numbers * ticks).sum() / ticks.sum())


def pitch_range(piece: Piece) -> float:
    """Semitones from the lowest note to the highest (Yang and Lerch 2020)."""
    return float(np.ptp(piece.notes["pitch"].astype(int))) if len(piece) else np.nan


def interval_histogram(piece: Piece) -> np.ndarray:
    """Share of each interval between successive top notes: 0 to 12 semitones, 13 for all larger.

    Shape (14,). After Yang and Lerch 2020, whose pitch interval is the mean of these.
    """
    _, place = np.unique(piece.notes["onset"], return_inverse=True)
    top = np.zeros(place.max(initial=-1) + 1, dtype=int)
    np.maximum.at(top, place, piece.notes["pitch"])
    intervals = np.minimum(np.abs(np.diff(top)), 13)
    if not len(intervals):
        return np.full(14, np.nan)
    return np.bincount(intervals, minlength=14) / len(intervals)


DESCRIPTORS: dict[str, Callable[[Piece], float]] = {
    "pitch-class entropy": pitch_class_entropy,
    "scale consistency": scale_consistency,
    "groove consistency": groove_consistency,
    "polyphony": polyphony,
    "notes a quarter": note_density,
    "pitch range": pitch_range,
}

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
    for mode, profile in (("major", MAJOR_PROFILE), ("minor", MINOR_PROFILE)):
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


def key_text(piece: Piece) -> str:
    """`key_of` in words: "G major"."""
    tonic, mode = key_of(piece)
    return f"{PITCH_CLASS_NAMES[tonic]} {mode}" if tonic >= 0 else "no key"


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
