"""Did it copy? What a piece shares, note for note, with the music that a network was trained on.

A piece is read as a line of notes in the order in which they begin, the higher first. Each note but
the first becomes a word: semitones and time from the note before it, and its own length. So neither
key nor place in the bar matters, and a run of n equal words is n + 1 equal notes (of the first of
them, which begins the run, the length is not compared).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pianolstm.evaluation import longest_copied_runs
from pianolstm.piece import Piece

Word = tuple[int, Fraction, Fraction]  # semitones, quarters to it, quarters that it lasts


@dataclass(frozen=True)
class Copy:
    """The stretch of most notes of a piece that also stands in the corpus."""

    notes: int
    seconds: float  # that it lasts, from the beginning of its first note to the end of its last
    start: int  # the first note's place in the line


def line(piece: Piece) -> np.ndarray:
    """The notes in the order in which they begin, the higher first (`Piece.notes`' fields)."""
    notes = piece.notes
    return notes[np.lexsort((notes["duration"], -notes["pitch"].astype(int), notes["onset"]))]


def words(piece: Piece) -> list[Word]:
    """Every note but the first, as it follows the one before it."""
    notes, tpq = line(piece), piece.ticks_per_quarter
    return [
        (int(b["pitch"]) - int(a["pitch"]), Fraction(int(b["onset"] - a["onset"]), tpq),
         Fraction(int(b["duration"]), tpq))
        for a, b in itertools.pairwise(notes)
    ]  # fmt: skip


class Corpus:
    """Pieces to look for copies in."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._lines = [words(piece) for piece in pieces]
        self._ids: dict[Word, int] = {}  # 0 stands for words that the corpus has not
        for word in (word for every in self._lines for word in every):
            self._ids.setdefault(word, len(self._ids) + 1)
        self._encoded = [self._encode(every) for every in self._lines]
        self._grams: dict[int, set[bytes]] = {}

    def _encode(self, line: list[Word]) -> np.ndarray:
        return np.array([self._ids.get(word, 0) for word in line], dtype=np.int32)

    def longest_copies(self, pieces: Sequence[Piece]) -> list[Copy]:
        """The longest copied run of each piece, in any key and at any place."""
        runs = longest_copied_runs([self._encode(words(p)) for p in pieces], self._encoded)
        copies = []
        for piece, (length, start) in zip(pieces, runs):
            if not len(piece):
                copies.append(Copy(0, 0.0, 0))
                continue
            run = line(piece)[start : start + length + 1]
            end = int((run["onset"] + run["duration"]).max())
            seconds = piece.seconds_at(end) - piece.seconds_at(int(run["onset"][0]))
            copies.append(Copy(length + 1, seconds, start))
        return copies

    def share_of_grams(self, piece: Piece, n: int) -> float:
        """Share of the runs of n notes of a piece that stand somewhere in the corpus.

        NaN for a piece of fewer notes. Raises ValueError for n below 2: a note alone is no copy.
        """
        if n < 2:
            raise ValueError(f"n is {n}; a run has at least 2 notes")
        if n not in self._grams:
            self._grams[n] = {gram for every in self._encoded for gram in _grams(every, n - 1)}
        own = _grams(self._encode(words(piece)), n - 1)
        return float(np.mean([gram in self._grams[n] for gram in own])) if own else np.nan


def _grams(ids: np.ndarray, n: int) -> list[bytes]:
    return [ids[i : i + n].tobytes() for i in range(len(ids) - n + 1)]
