"""Training data: pieces as ids, whatever they were made from; windows and streams of them.

From here on everything is ids; nothing below knows what a note is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pianolstm.encodings import ArticleEncoding, Encoding, encoding_named
from pianolstm.folder import read_folder
from pianolstm.grid import quantise
from pianolstm.piece import Piece, listed
from pianolstm.split import PARTS, Split, is_chorale, split_pieces
from pianolstm.store import StoreError, is_store, open_store
from pianolstm.vocabulary import ALL_KEYS, OUT_OF_RANGE, UNK_ID, Vocabulary, transposed_ids

IGNORE = -100  # target of a padded step; PyTorch's cross-entropy passes over it
OWN_KEY = ALL_KEYS.index(0)


@dataclass(frozen=True)
class Transposed(Sequence):
    """The ids of one piece in every key of `ALL_KEYS`; each made when asked for.

    Where a note would leave the range of the encoding, the piece stays in its own key.
    """

    numbers: np.ndarray  # (T,) of the piece's tokens
    table: np.ndarray  # (12, numbers) → ids, from `transposed_ids`

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int) -> np.ndarray:
        ids = self.table[key][self.numbers]
        return self.table[OWN_KEY][self.numbers] if (ids == OUT_OF_RANGE).any() else ids


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pieces as ids, ready for training and measuring.

    `ids` are numbers of `tokens`. Those are the vocabulary's, or, where it does not hold all, every
    token of the pieces: one that is unknown in its own key may be known in another.
    """

    encoding: Encoding
    vocabulary: Vocabulary
    tokens: Sequence[str]
    ids: np.ndarray  # (tokens,) of all pieces one after another, in their own keys
    offsets: np.ndarray  # (pieces + 1,) where each piece begins
    parts: np.ndarray  # (pieces,) 0 train, 1 valid, 2 test
    names: Sequence[str] = ()
    split: Split | None = None  # the pieces themselves, where they are in memory
    report: str = ""  # what became of the files that were read

    @classmethod
    def from_ids(
        cls,
        encoding: Encoding,
        vocabulary: Vocabulary,
        train: Sequence[np.ndarray],
        valid: Sequence[np.ndarray],
        test: Sequence[np.ndarray] = (),
        **fields,
    ) -> Dataset:
        """A dataset of pieces that are ids already, each of shape (T,) and in its own key."""
        pieces, sizes = [*train, *valid, *test], [len(train), len(valid), len(test)]
        ids = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)
        fields = {"tokens": vocabulary.tokens} | fields
        return cls(encoding, vocabulary, ids=ids, offsets=np.cumsum([0, *map(len, pieces)]),
                   parts=np.repeat(range(3), sizes), **fields)  # fmt: skip

    @classmethod
    def load(cls, folder: str | Path) -> Dataset:
        """A token store that `build_store` wrote, memory-mapped.

        Raises StoreError, with what is wrong, for a folder that is not a whole store.
        """
        header, ids = open_store(folder)
        return cls(
            encoding_named(**header["read"]["encoding"]),
            Vocabulary(header["vocabulary"]),
            header["tokens"],
            ids,
            np.cumsum([0, *header["lengths"]]),
            np.array(header["parts"]),
            header["names"],
            report=header["report"],
        )

    def __repr__(self) -> str:
        sizes = f"{len(self.parts):,} pieces, {len(self.ids):,} tokens"
        return f"Dataset({sizes}, vocabulary of {len(self.vocabulary):,})"

    def _numbers(self, part: str) -> list[np.ndarray]:
        """The pieces of a part as `ids` holds them, (T,) each."""
        places = np.flatnonzero(self.parts == PARTS.index(part))
        return [self.ids[self.offsets[i] : self.offsets[i + 1]] for i in places]

    def _in_own_key(self, part: str) -> list[np.ndarray]:
        known = self.vocabulary.ids
        ids = np.array([known.get(token, UNK_ID) for token in self.tokens], dtype=np.int64)
        return [ids[numbers] for numbers in self._numbers(part)]

    @cached_property
    def train(self) -> list[Transposed]:
        """Training pieces in every key: [piece][key] → ids (T,)."""
        table = transposed_ids(self.encoding, self.vocabulary, self.tokens, ALL_KEYS)
        return [Transposed(numbers, table) for numbers in self._numbers("train")]

    @cached_property
    def train_own_key(self) -> list[np.ndarray]:
        """Training pieces in their own keys, each as ids (T,)."""
        return self._in_own_key("train")

    @property
    def train_all_keys(self) -> list[np.ndarray]:
        """Training pieces in all twelve keys, one after another."""
        return [ids for versions in self.train for ids in versions]

    @cached_property
    def valid(self) -> list[np.ndarray]:
        """Pieces to choose by, each as ids (T,)."""
        return self._in_own_key("valid")

    @cached_property
    def test(self) -> list[np.ndarray]:
        """Pieces for the final measurement, each as ids (T,)."""
        return self._in_own_key("test")


def prepare(
    pieces: Sequence[Piece],
    encoding: Encoding,
    vocabulary: Vocabulary | None = None,
    chorales_only: bool = True,
    at_least: int = 1,
) -> Dataset:
    """Split, encode and number pieces.

    The vocabulary, unless given, is `Vocabulary.for_training`. Raises ValueError for pieces that
    cannot be split.
    """
    split = split_pieces(pieces, chorales_only)
    train, valid, test = ([encoding.encode(piece) for piece in part] for part in split)
    counts = Counter(token for tokens in train for token in tokens)
    if vocabulary is None:
        vocabulary = Vocabulary.for_training(encoding, counts, at_least)
    held_out = {token for tokens in (*valid, *test) for token in tokens}
    everything = Vocabulary({*counts, *held_out, *vocabulary.tokens})
    parts = ([everything.encode(tokens) for tokens in part] for part in (train, valid, test))
    return Dataset.from_ids(encoding, vocabulary, *parts, tokens=everything.tokens, split=split)


def load_songs(
    songs: str | Path,
    encoding: Encoding | None = None,
    vocabulary: Vocabulary | None = None,
    only: Sequence[str] = (),
    at_least: int = 1,
) -> Dataset:
    """Training data from a folder of MIDI files, or from a token store, with its report.

    `only` are patterns of names, such as "bach_*". Without them the chorales are taken where there
    are some, as in `midi_songs`, and otherwise every piece. Without an encoding a store has its
    own, and a folder the article's. `at_least`: rarer tokens become `<unk>`.

    Raises StoreError for a store of another encoding or vocabulary, or one that is to be chosen
    from, and what `read_folder` and `prepare` raise.
    """
    if is_store(songs):
        data = Dataset.load(songs)
        if only or at_least > 1:
            raise StoreError(
                f"{songs}: a token store is used whole; leave out what chooses from it"
            )
        if encoding not in (None, data.encoding) or vocabulary not in (None, data.vocabulary):
            raise StoreError(
                f"{songs}: a store of {data.encoding}, which need not be given again, with "
                f"{len(data.vocabulary):,} classes. Leave --encoding out, and evaluate only "
                "networks that were trained on this store"
            )
        return data
    report = read_folder(songs)
    pieces, notes, encoding = report.pieces, str(report), encoding or ArticleEncoding()
    if encoding.needs_grid:
        moved = [quantise(piece, bend=True) for piece in pieces]
        pieces = [result.piece for result in moved]
        counts = {
            "notes merged": sum(result.merged for result in moved),
            "moments joined": sum(result.joined for result in moved),
            "pieces without a beat bent": sum(not result.has_beat for result in moved),
        }
        notes += f"\nto put them on the grid: {listed(counts)}"
    if only:
        pieces = [p for p in pieces if any(fnmatch(p.name, pattern) for pattern in only)]
    chorales_only = not only and any(map(is_chorale, pieces))
    return replace(prepare(pieces, encoding, vocabulary, chorales_only, at_least), report=notes)


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
    every = torch.from_numpy(np.array(ids, dtype=np.int64)).unfold(0, length + 1, 1)
    return every[:, :-1], every[:, -1]


class Chunk(NamedTuple):
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
    queue = (piece for piece in pieces if len(piece) > 1)
    rows: list[Sequence[int]] = [()] * batch  # what each row still has to read of its piece
    while True:
        fresh = [len(row) < 2 for row in rows]  # used up: a last token is only a target
        rows = [next(queue, ()) if new else row for row, new in zip(rows, fresh)]
        lengths = [max(0, min(steps, len(row) - 1)) for row in rows]
        if not any(lengths):
            return
        inputs = np.zeros((batch, max(lengths)), dtype=np.int64)
        targets = np.full_like(inputs, IGNORE)
        for b, (row, length) in enumerate(zip(rows, lengths)):
            inputs[b, :length], targets[b, :length] = row[:length], row[1 : length + 1]
        yield Chunk(*map(torch.from_numpy, (inputs, targets, np.array(fresh))))
        rows = [row[steps:] for row in rows]
