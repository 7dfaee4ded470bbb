"""What comes back: runs that a piece shares with other music, loops, and bars heard before.

Tokens are compared as they are: `longest_copied_runs` takes ids, and finds a copy in another key if
it is given the training pieces in all keys. `longest_copies` compares notes, whatever the encoding.
It reads a piece as a line of notes in order of onset, from high to low where onsets are equal, and
describes each note but the first by its distance from the note before it and by its own length. Key
and place in the bar do not matter, so n equal steps are n + 1 equal notes (of the first of them the
length is not compared).

A bar is the notes that start in it, each as its place in the bar, its length and its pitch (Foote
1999, "Visualizing Music and Audio using Self-Similarity").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pianolstm.piece import Piece

UNKNOWN = 0  # the id that stands for many tokens and so cannot be a copy
Step = tuple[float, float, float]  # semitones, quarters since the note before, quarters it lasts

# ---- copies of other pieces, and loops


def longest_copied_runs(
    pieces: Iterable[Sequence[int]], training: Iterable[Sequence[int]]
) -> list[int]:
    """The length of the longest run of ids of each piece that also occurs in a training piece.

    A run does not contain the id 0 (`<unk>`) and lies within one training piece. Raises ValueError
    for ids above 1,114,111, the last of Unicode.
    """
    # A character for each id, because Python's substring search is fast
    corpus = chr(UNKNOWN).join("".join(map(chr, ids)) for ids in training)
    return [_longest_run("".join(map(chr, ids)), corpus) for ids in pieces]


def _longest_run(text: str, corpus: str) -> int:
    longest = 0
    for start in range(len(text)):
        run = text[start : start + longest + 1]  # only a longer run is of interest
        while len(run) > longest and chr(UNKNOWN) not in run and run in corpus:
            longest += 1
            run = text[start : start + longest + 1]
    return longest


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


def longest_copies(pieces: Sequence[Piece], songs: Sequence[Piece]) -> list[int]:
    """Notes of the longest run of each piece that occurs in a song, in any key and at any place."""
    known = {step for song in songs for step in steps(song)}
    ids = {step: number for number, step in enumerate(known, UNKNOWN + 1)}

    def encode(piece: Piece) -> list[int]:
        return [ids.get(step, UNKNOWN) for step in steps(piece)]

    runs = longest_copied_runs(map(encode, pieces), map(encode, songs))
    return [min(len(piece), run + 1) for piece, run in zip(pieces, runs)]


# ---- bars


def bar_contents(piece: Piece) -> list[frozenset[tuple[int, int, int]]]:
    """(place, length, pitch) of the notes of each bar, times in ticks; also of empty bars."""
    starts = piece.bar_starts()
    bars = np.searchsorted(starts, piece.notes["onset"], side="right") - 1
    contents: list[set] = [set() for _ in starts]
    for bar, (onset, length, pitch, *_) in zip(bars, piece.notes.tolist()):
        contents[bar].add((onset - int(starts[bar]), length, pitch))
    return [frozenset(content) for content in contents]


def returning_bars(piece: Piece) -> float:
    """Share of the bars with notes that occurred before, exactly or transposed; NaN for none."""
    bars = []
    for bar in filter(None, bar_contents(piece)):
        lowest = min(pitch for _, _, pitch in bar)
        bars.append(frozenset((place, length, pitch - lowest) for place, length, pitch in bar))
    return 1 - len(set(bars)) / len(bars) if bars else np.nan


def self_similarity(piece: Piece) -> np.ndarray:
    """How alike each two bars are, (bars, bars): the share of notes of either that both have.

    That is the Jaccard index; two bars without notes are wholly alike.
    """
    bars = bar_contents(piece)
    return np.array([[len(a & b) / max(len(a | b), 1) if a or b else 1.0 for b in bars]
                     for a in bars])  # fmt: skip
