"""The voices below a melody, compared with those that a composer wrote for it.

Everything is measured in frames of an eighth, and without the melody, which both have in common.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pianolstm.encodings.rolls import KEYS, LOWEST, PianoRollEncoding
from pianolstm.evaluation.statistics import SILENT
from pianolstm.piece import Piece
from pianolstm.split import top_line

ROLLS = PianoRollEncoding(2)
VOICES = 3  # below the melody, where there are four


def below(piece: Piece, melody: Piece) -> np.ndarray:
    """The piano roll of a piece without the melody: bool (frames, 88), as long as the melody."""
    melody_roll = ROLLS.roll(melody)
    result = np.zeros_like(melody_roll)
    roll = ROLLS.roll(piece)[: len(result)]
    result[: len(roll)] = roll
    return result & ~melody_roll


def shared_pitch_classes(
    piece: Piece, other: Piece, melody: Piece, where: np.ndarray | None = None
) -> float:
    """Jaccard index |A ∩ B| / |A ∪ B| of the pitch classes of a frame, the mean over all frames.

    The melody's pitch class is removed from both sides; frames without another are left out.
    `where`, bool (frames,), chooses frames.
    """
    ours, theirs = classes(below(piece, melody)), classes(below(other, melody))
    others = ~classes(ROLLS.roll(melody))
    both, either = (ours & theirs & others).sum(axis=1), ((ours | theirs) & others).sum(axis=1)
    counted = (either > 0) & (True if where is None else where)
    return float((both[counted] / either[counted]).mean()) if counted.any() else np.nan


def same_bass(piece: Piece, other: Piece, melody: Piece, where: np.ndarray | None = None) -> float:
    """Share of the frames, where the other has voices below, with the same lowest pitch class."""
    ours, theirs = bass(below(piece, melody)), bass(below(other, melody))
    counted = (theirs != SILENT) & (True if where is None else where)
    same = (ours != SILENT) & (ours % 12 == theirs % 12)
    return float(same[counted].mean()) if counted.any() else np.nan


def classes(roll: np.ndarray) -> np.ndarray:
    """Piano roll (frames, 88) → pitch classes, bool (frames, 12)."""
    return np.stack([roll[:, (c - LOWEST) % 12 :: 12].any(axis=1) for c in range(12)], axis=1)


def bass(roll: np.ndarray) -> np.ndarray:
    """The lowest MIDI number of each frame, `SILENT` where there is none."""
    return np.where(roll.any(axis=1), LOWEST + roll.argmax(axis=1), SILENT)


def voice_lines(piece: Piece, melody: Piece) -> np.ndarray:
    """What each of four voices sings in each frame, (frames, 4), the melody first.

    Voices are told apart by height, and only where three sound below the melody: in other frames
    they are `SILENT`. For `parallels`.
    """
    roll, tune = below(piece, melody), ROLLS.roll(melody)
    lines = np.full((len(roll), 1 + VOICES), SILENT)
    lines[:, 0] = np.where(
        tune.any(axis=1), LOWEST + KEYS - 1 - tune[:, ::-1].argmax(axis=1), SILENT
    )
    for t in np.flatnonzero(roll.sum(axis=1) == VOICES):
        lines[t, 1:] = LOWEST + np.flatnonzero(roll[t])[::-1]
    return lines


def struck_again(piece: Piece, melody: Piece) -> tuple[int, int]:
    """(repeated notes, notes that sound on or are repeated) of the voices below.

    Counted where a melody note begins and a voice keeps its pitch: it is held, or struck again.
    """
    roll = below(piece, melody)
    struck = ROLLS.struck(piece)[: len(roll)]
    begins = ROLLS.struck(melody)[: len(struck)].any(axis=1)
    kept = roll[1 : len(struck)] & roll[: len(struck) - 1] & begins[1:, None]
    return int((kept & struck[1:]).sum()), int(kept.sum())


def phrase_ends(melody: Piece) -> Iterator[int]:
    """Ticks at which a melody note begins that lasts two quarters or more, or is the last."""
    line = top_line(melody.notes)
    for i, (onset, length, _) in enumerate(line):
        if length >= 2 * melody.ticks_per_quarter or i == len(line) - 1:
            yield onset


def cadences(piece: Piece, melody: Piece) -> tuple[int, int]:
    """(phrase ends that are reached by an authentic cadence, phrase ends); see `phrase_ends`.

    The bass falls a fifth or rises a fourth to a major or minor triad in root position, and the
    chord before holds the leading note (Aldwell and Schachter, unit 7).
    """
    roll, found, ends = ROLLS.roll(piece), 0, 0
    lowest, held = bass(roll), classes(roll)
    for onset in phrase_ends(melody):
        t = -(-onset * ROLLS.frames // melody.ticks_per_quarter)
        if not 0 < t < len(roll) or SILENT in (lowest[t], lowest[t - 1]):
            continue
        ends += 1
        root = lowest[t] % 12
        chord = {(c - root) % 12 for c in np.flatnonzero(held[t])}
        dominant = (lowest[t - 1] - root) % 12 == 7 and held[t - 1][(root + 11) % 12]
        found += bool(dominant and chord <= {0, 3, 4, 7} and len(chord & {3, 4}) == 1)
    return found, ends
