"""Pieces → training data: a split by piece, the article's windows, and parallel streams.

From here on everything is ids; nothing below knows what a note is.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pianolstm.encoding import Encoding
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

if TYPE_CHECKING:  # imported where it is used: processes that only read files start much faster
    import torch

IGNORE = -100  # target of a padded step; PyTorch's cross-entropy passes over it
ALL_KEYS = tuple(range(-6, 6))  # semitones that bring a piece into each of the twelve keys


def is_chorale(piece: Piece) -> bool:
    """True for the four-part Bach chorales of `midi_songs`."""
    return piece.name.startswith("bach_bwv") and "prelude" not in piece.name


def soprano_line(piece: Piece) -> tuple[tuple[int, int], ...]:
    """The top line of the first track as (ticks since the last onset, interval in semitones).

    A note belongs to it if nothing higher sounds when it starts. Transposition makes no difference.
    """
    upper = piece.notes[piece.notes["track"] == 0]
    rows = sorted(zip(upper["onset"].tolist(), (-upper["pitch"].astype(int)).tolist(),
                      upper["duration"].tolist()))  # fmt: skip
    line: list[tuple[int, int]] = []  # onset, pitch
    end = -1  # of the latest note of the line
    for onset, lower, duration in rows:
        if line and (line[-1][0] == onset or (end > onset and line[-1][1] > -lower)):
            continue
        line.append((onset, -lower))
        end = onset + duration
    return tuple((b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(line))


def part_of(name: str) -> int:
    """The part of the split that a group of pieces goes to: 0 train, 1 valid, 2 test."""
    digest = hashlib.sha256(name.encode()).digest()
    return max(0, int.from_bytes(digest[:8]) % 10 - 7)


@dataclass(frozen=True)
class Split:
    """Pieces for training, for choosing (valid) and for the final measurement (test)."""

    train: list[Piece]
    valid: list[Piece]
    test: list[Piece]

    def __iter__(self) -> Iterator[list[Piece]]:
        return iter((self.train, self.valid, self.test))


def split_pieces(pieces: Sequence[Piece], chorales_only: bool = True) -> Split:
    """Split 80 / 10 / 10 by a hash of the group's name; only the chorales unless told otherwise.

    A group is all pieces with the same soprano line (settings of one tune), under the name of its
    first piece; it is never torn apart, or the test would hold tunes that were trained on.
    """
    groups: dict[tuple, list[Piece]] = {}
    for piece in sorted(pieces, key=lambda p: p.name):
        if not chorales_only or is_chorale(piece):
            groups.setdefault(soprano_line(piece), []).append(piece)
    parts: tuple[list[Piece], ...] = ([], [], [])
    for group in groups.values():
        parts[part_of(group[0].name)].extend(group)
    return Split(*parts)


def transposed_tokens(
    pieces: Sequence[Piece], encoding: Encoding, semitones: Sequence[int] = ALL_KEYS
) -> list[list[list[str]]]:
    """Tokens of every piece in every transposition: [piece][transposition] → list of tokens."""
    transpose = lru_cache(maxsize=None)(encoding.transpose)
    encoded = [encoding.encode(piece) for piece in pieces]
    return [[[transpose(t, s) for t in tokens] for s in semitones] for tokens in encoded]


def to_ids(
    tokens: Sequence[Sequence[Sequence[str]]], vocabulary: Vocabulary
) -> list[list[np.ndarray]]:
    """`transposed_tokens` as ids, the same nesting."""
    return [[vocabulary.encode(version) for version in versions] for versions in tokens]


def joined(pieces: Sequence[Sequence[np.ndarray]], keys: Sequence[int]) -> np.ndarray:
    """All pieces one after another, each in its key: ids (T,).

    Pieces that lie so in a file already (`TokenStore`, all in their own keys) are not copied.
    """
    if hasattr(pieces, "joined") and all(key == ALL_KEYS.index(0) for key in keys):
        return pieces.joined()
    return np.concatenate([versions[key] for versions, key in zip(pieces, keys)])


def windows(ids: np.ndarray, length: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """The article's training examples: every `length` ids and the one that follows.

    Takes one long sequence (T,), all pieces one after another as in the article, so that a window
    may reach from one piece into the next. Returns inputs (T − length, length), targets
    (T − length,). Raises ValueError if the sequence is too short for a single window.
    """
    if len(ids) <= length:
        raise ValueError(
            f"{len(ids)} tokens are too few for windows of {length}: a window and its target need "
            f"{length + 1}. Use more music or a shorter window"
        )
    import torch

    every = torch.from_numpy(np.ascontiguousarray(ids)).unfold(0, length + 1, 1)
    return every[:, :-1], every[:, -1]


@dataclass(frozen=True)
class Dataset:
    """Pieces as ids, ready for training and measuring."""

    split: Split | None  # None where the pieces themselves are not at hand (a token store)
    encoding: Encoding
    vocabulary: Vocabulary
    train: Sequence[Sequence[np.ndarray]]  # [piece][transposition] → ids (T,)
    valid: Sequence[np.ndarray]  # ids (T,) in the piece's own key
    test: Sequence[np.ndarray]

    @property
    def train_own_key(self) -> list[np.ndarray]:
        """Training pieces in their own keys."""
        return [versions[ALL_KEYS.index(0)] for versions in self.train]

    @property
    def train_all_keys(self) -> list[np.ndarray]:
        """Training pieces in all twelve keys, one after another."""
        return [ids for versions in self.train for ids in versions]


def prepare(
    pieces: Sequence[Piece],
    encoding: Encoding,
    vocabulary: Vocabulary | None = None,
    chorales_only: bool = True,
    at_least: int = 1,
) -> Dataset:
    """Split, transpose and number pieces.

    The vocabulary holds all tokens of the encoding where their number has a bound, else those that
    training holds, in all keys, `at_least` so many times.

    Raises ValueError if one of the three parts would be empty.
    """
    split = split_pieces(pieces, chorales_only)
    if not all(split):
        sizes = ", ".join(str(len(part)) for part in split)
        raise ValueError(
            f"{len(pieces)} pieces give a split of {sizes} (train, valid, test); each part needs a "
            "piece. Use more pieces" + (", or chorales_only=False" if chorales_only else "")
        )
    tokens = transposed_tokens(split.train, encoding)
    if vocabulary is None and (everything := encoding.all_tokens()):
        vocabulary = Vocabulary(everything)
    elif vocabulary is None:
        versions = (version for versions in tokens for version in versions)
        vocabulary = Vocabulary.build(versions, at_least)
    held_out = (
        [vocabulary.encode(encoding.encode(p)) for p in part] for part in (split.valid, split.test)
    )
    return Dataset(split, encoding, vocabulary, to_ids(tokens, vocabulary), *held_out)


@dataclass(frozen=True)
class Chunk:
    """A rectangle of the streams: B rows, T steps (fewer where all rows end)."""

    inputs: torch.Tensor  # (B, T) ids
    targets: torch.Tensor  # (B, T) the id one step later, IGNORE where padded
    fresh: torch.Tensor  # (B,) True where a new piece starts: its state must be zero


def streams(pieces: Iterable[np.ndarray], batch: int, steps: int) -> Iterator[Chunk]:
    """Whole pieces in `batch` parallel rows, cut into chunks of `steps` (truncated BPTT).

    A row plays its pieces one after another; a piece starts at a chunk's beginning, so that the
    state can be set to zero there, and the rest of its last chunk is padding. Every token but a
    piece's first is a target exactly once. A piece is asked for when its row begins.
    """
    import torch

    queue = (piece for piece in pieces if len(piece) > 1)
    rows: list[tuple[np.ndarray, int] | None] = [None] * batch  # piece and position in it
    while True:
        fresh = np.array([row is None for row in rows])
        for b in np.flatnonzero(fresh):
            piece = next(queue, None)
            rows[b] = None if piece is None else (piece, 0)
        if not any(rows):
            return
        parts = [() if row is None else row[0][row[1] : row[1] + steps + 1] for row in rows]
        width = max(map(len, parts)) - 1
        inputs = np.zeros((batch, width), dtype=np.int64)
        targets = np.full((batch, width), IGNORE, dtype=np.int64)
        for b, (row, part) in enumerate(zip(rows, parts)):
            if row is None:
                continue
            piece, start = row
            inputs[b, : len(part) - 1], targets[b, : len(part) - 1] = part[:-1], part[1:]
            rows[b] = (piece, start + steps) if start + steps + 1 < len(piece) else None
        yield Chunk(*map(torch.from_numpy, (inputs, targets, fresh)))
