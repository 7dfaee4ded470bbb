"""Does a piece copy? Runs that it shares with other music, and loops within itself.

Tokens are compared as they are: `longest_copied_runs` takes ids, and finds a copy in another key if
it is given the training pieces in all keys. `Corpus` compares notes instead, whatever the encoding.
It reads a piece as a line of notes in order of onset, from high to low where onsets are equal, and
describes each note but the first by its distance from the note before it and by its own length. Key
and place in the bar do not matter, so n equal steps are n + 1 equal notes (of the first of them the
length is not compared).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.piece import Piece

UNKNOWN = 0  # the id that stands for many tokens and so cannot be a copy
Step = tuple[float, float, float]  # semitones, quarters since the note before, quarters it lasts


def longest_copied_runs(
    pieces: Sequence[Sequence[int]], training: Sequence[Sequence[int]]
) -> list[tuple[int, int]]:
    """Longest run of ids of each piece that also occurs in a training piece: (length, start).

    A run does not contain the id 0 (`<unk>`) and lies within one training piece. Of equally long
    runs the first counts. Raises ValueError for ids above 1,114,111, the last of Unicode.
    """
    corpus = chr(UNKNOWN).join(_as_text(ids) for ids in training)
    return [_longest_run(_as_text(ids), corpus) for ids in pieces]


def _as_text(ids: Sequence[int]) -> str:
    """One character for each id, because Python's substring search is fast."""
    return "".join(map(chr, ids))


def _longest_run(text: str, corpus: str) -> tuple[int, int]:
    longest = best_start = 0
    for start in range(len(text)):
        run = text[start : start + 1 + longest]  # only a longer run is of interest
        while len(run) > longest and chr(UNKNOWN) not in run and run in corpus:
            longest, best_start = len(run), start
            run = text[start : start + 1 + longest]
    return longest, best_start


def repetition(tokens: Sequence, window: int = 64) -> int:
    """Period of the loop that the last `window` tokens have fallen into; 0 if there is none.

    A period of 1 is one token repeated. A loop must be played at least twice within the window.
    """
    tail = list(tokens)[-window:]
    for period in range(1, len(tail) // 2 + 1):
        if tail[period:] == tail[:-period]:
            return period
    return 0


def notes_in_order(piece: Piece) -> np.ndarray:
    """Notes by onset, then from high to low, then by duration; `Piece.notes`' fields, (notes,)."""
    notes = piece.notes
    return notes[np.lexsort((notes["duration"], -notes["pitch"].astype(int), notes["onset"]))]


def steps(piece: Piece) -> list[Step]:
    """Every note but the first, described by how it follows the note before it."""
    notes = notes_in_order(piece)
    semitones = np.diff(notes["pitch"].astype(int))
    since = np.diff(notes["onset"]) / piece.ticks_per_quarter
    lengths = notes["duration"][1:] / piece.ticks_per_quarter
    return [tuple(row) for row in np.column_stack([semitones, since, lengths]).tolist()]


@dataclass(frozen=True)
class Copy:
    """The longest run of notes of a piece that also occurs in the corpus."""

    notes: int
    seconds: float  # from the beginning of its first note to the end of its last


class Corpus:
    """Pieces to search for copies."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._ids: dict[Step, int] = {}  # from 1 on
        self._encoded: list[list[int]] = []
        for piece in pieces:
            ids = [self._ids.setdefault(step, len(self._ids) + 1) for step in steps(piece)]
            self._encoded.append(ids)

    def _encode(self, piece: Piece) -> list[int]:
        return [self._ids.get(step, UNKNOWN) for step in steps(piece)]

    def longest_copies(self, pieces: Sequence[Piece]) -> list[Copy]:
        """The longest copied run of each piece, in any key and at any place."""
        runs = longest_copied_runs([self._encode(piece) for piece in pieces], self._encoded)
        copies = []
        for piece, (length, start) in zip(pieces, runs):
            notes = notes_in_order(piece)[start : start + length + 1]
            seconds = 0.0
            if len(notes):
                end = (notes["onset"] + notes["duration"]).max()
                seconds = piece.seconds_at(end) - piece.seconds_at(notes["onset"][0])
            copies.append(Copy(len(notes), seconds))
        return copies
