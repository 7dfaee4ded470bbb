"""Pieces → training data: a split by piece, the article's windows, and parallel streams.

From here on everything is ids; nothing below knows what a note is.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pianolstm.encoding import ArticleEncoding
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

IGNORE = -100  # target of a padded step; PyTorch's cross-entropy passes over it
ALL_KEYS = tuple(range(-6, 6))  # semitones that bring a piece into each of the twelve keys


def is_chorale(piece: Piece) -> bool:
    """True for the four-part Bach chorales of `midi_songs`."""
    return piece.name.startswith("bach_bwv") and "prelude" not in piece.name


def soprano_line(piece: Piece) -> tuple[tuple[int, int], ...]:
    """The top line of the first track as (ticks since the last onset, interval in semitones).

    A note belongs to it if nothing higher sounds when it starts. Transposition makes no difference.
    """
    line: list[tuple[int, int, int]] = []  # onset, end, pitch
    upper = piece.notes[piece.notes["track"] == 0]
    for note in sorted(upper, key=lambda n: (n["onset"], -int(n["pitch"]))):
        onset, pitch = int(note["onset"]), int(note["pitch"])
        if line and line[-1][1] > onset and line[-1][2] > pitch:
            continue
        if line and line[-1][0] == onset:
            continue
        line.append((onset, onset + int(note["duration"]), pitch))
    return tuple((b[0] - a[0], b[2] - a[2]) for a, b in itertools.pairwise(line))


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
        digest = hashlib.sha256(group[0].name.encode()).digest()
        tenth = int.from_bytes(digest[:8], "big") % 10
        parts[max(0, tenth - 7)].extend(group)
    return Split(*parts)


def transposed_tokens(
    pieces: Sequence[Piece], encoding: ArticleEncoding, semitones: Sequence[int] = ALL_KEYS
) -> list[list[list[str]]]:
    """Tokens of every piece in every transposition: [piece][transposition] → list of tokens."""
    return [[encoding.encode(piece.transpose(s)) for s in semitones] for piece in pieces]


def to_ids(
    tokens: Sequence[Sequence[Sequence[str]]], vocabulary: Vocabulary
) -> list[list[np.ndarray]]:
    """`transposed_tokens` as ids, the same nesting."""
    return [[vocabulary.encode(version) for version in versions] for versions in tokens]


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
    every = torch.from_numpy(np.ascontiguousarray(ids)).unfold(0, length + 1, 1)
    return every[:, :-1], every[:, -1]


@dataclass(frozen=True)
class Dataset:
    """Pieces as ids, ready for training and measuring."""

    split: Split
    encoding: ArticleEncoding
    vocabulary: Vocabulary
    train: list[list[np.ndarray]]  # [piece][transposition] → ids (T,)
    valid: list[np.ndarray]  # ids (T,) in the piece's own key
    test: list[np.ndarray]

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
    encoding: ArticleEncoding,
    vocabulary: Vocabulary | None = None,
    chorales_only: bool = True,
) -> Dataset:
    """Split, transpose and number pieces. The vocabulary holds the training tokens in all keys.

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
    if vocabulary is None:
        vocabulary = Vocabulary.build(version for versions in tokens for version in versions)
    held_out = (
        [vocabulary.encode(encoding.encode(p)) for p in part] for part in (split.valid, split.test)
    )
    return Dataset(split, encoding, vocabulary, to_ids(tokens, vocabulary), *held_out)


@dataclass(frozen=True)
class Chunk:
    """A rectangle of the streams: B rows, T steps."""

    inputs: torch.Tensor  # (B, T) ids
    targets: torch.Tensor  # (B, T) the id one step later, IGNORE where padded
    fresh: torch.Tensor  # (B,) True where a new piece starts: its state must be zero


def streams(pieces: Sequence[np.ndarray], batch: int, steps: int) -> Iterator[Chunk]:
    """Whole pieces in `batch` parallel rows, cut into chunks of `steps` (truncated BPTT).

    A row plays its pieces one after another; a piece starts at a chunk's beginning, so that the
    state can be set to zero there, and the rest of its last chunk is padding. Every token but a
    piece's first is a target exactly once.
    """
    queue = [piece for piece in reversed(pieces) if len(piece) > 1]
    rows: list[tuple[np.ndarray, int] | None] = [None] * batch  # piece and position in it
    while queue or any(rows):
        inputs = np.zeros((batch, steps), dtype=np.int64)
        targets = np.full((batch, steps), IGNORE, dtype=np.int64)
        fresh = np.zeros(batch, dtype=bool)
        for b in range(batch):
            if rows[b] is None:
                fresh[b] = True
                rows[b] = (queue.pop(), 0) if queue else None
            if rows[b] is None:
                continue
            piece, start = rows[b]
            part = piece[start : start + steps + 1]
            inputs[b, : len(part) - 1], targets[b, : len(part) - 1] = part[:-1], part[1:]
            rows[b] = (piece, start + steps) if start + steps + 1 < len(piece) else None
        yield Chunk(*map(torch.from_numpy, (inputs, targets, fresh)))
