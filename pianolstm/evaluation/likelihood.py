"""Negative log-likelihood of held-out pieces, in nats a token or nats a note.

A piece's first token is never counted, because nothing precedes it that could predict it. Every
other token is, `<unk>` among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from pianolstm.dataset import windows
from pianolstm.encodings import BOS, Encoding
from pianolstm.evaluation.statistics import Interval, bootstrap, ratio
from pianolstm.memory import Memory
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

PITCHES = 128  # that a note behind `<unk>` may have
DURATIONS = 48  # lengths that it may have: up to a whole note, in twelfths of a quarter


class Likelihood(NamedTuple):
    """Negative log-likelihood of every counted token."""

    per_piece: list[np.ndarray]  # nats, one array (T − 1,) a piece

    @property
    def mean(self) -> float:
        """Nats a token, pooled over all pieces."""
        return float(np.concatenate(self.per_piece).mean())


def nll(
    model: torch.nn.Module,
    pieces: Sequence[np.ndarray],
    window: int = 100,
    before: np.ndarray | None = None,
    every: int = 1,
    memory: Memory | None = None,
) -> Likelihood:
    """Held-out negative log-likelihood of pieces, each ids of shape (T,).

    A network that reads streams reads each piece from its start; the other parameters are not for
    it. One that reads windows, as the article's does, is measured as it was trained: on windows
    over all pieces one after another. `before` (ids, by default the end of the pieces) fills the
    first window, so that every token has a full window of past. This is slow: with `every` n only
    every n-th token is measured.

    With a `memory`, a network that reads streams is mixed with each piece's own past. Raises
    ValueError if no piece has two tokens, and for a memory beside a network that reads windows.
    """
    if not any(len(piece) > 1 for piece in pieces):
        raise ValueError("no piece of two tokens or more: there is nothing to predict")
    if memory is not None:
        predicted = predictions(model, pieces)
        shown = tqdm(pieces, "measuring", unit="piece", leave=False, disable=None)
        return Likelihood([memory.losses(piece, p) for piece, p in zip(shown, predicted)])
    if model.reads == "windows":
        past = np.concatenate(pieces) if before is None else before
        past = np.resize(past[-window:], window)  # repeated if it is too short
        return Likelihood(_window_losses(model, pieces, past, every))
    losses = [np.zeros(0)] * len(pieces)
    for i, logits in _logits(model, pieces):
        targets = torch.from_numpy(pieces[i][1:].astype(np.int64)).to(logits.device)
        losses[i] = cross_entropy(logits, targets, reduction="none").cpu().numpy()
    return Likelihood(losses)


def predictions(model: torch.nn.Module, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The distribution before each token of a piece but the first, (T − 1, V), one a piece.

    Raises ValueError for a network that reads windows.
    """
    if model.reads == "windows":
        raise ValueError("a network that reads windows has no prediction for a piece's beginning")
    result = [np.zeros((0, model.config.vocabulary_size))] * len(pieces)
    for i, logits in _logits(model, pieces):
        result[i] = logits.cpu().double().softmax(dim=1).numpy()
    return result


@contextmanager
def _asked(model: torch.nn.Module) -> Iterator[torch.device]:
    """Where the network's weights are; it is measured without dropout, and left as it was."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        yield next(model.parameters()).device
    model.train(was_training)


def _logits(
    model: torch.nn.Module, pieces: Sequence[np.ndarray]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Place and logits (T − 1, V) of each piece of two tokens or more, the shortest first."""
    measured = [i for i, piece in enumerate(pieces) if len(piece) > 1]
    measured.sort(key=lambda i: len(pieces[i]))
    for start in range(0, len(measured), 32):  # pieces of similar length side by side
        group = measured[start : start + 32]
        inputs = [torch.from_numpy(pieces[i][:-1].astype(np.int64)) for i in group]
        with _asked(model) as device:
            logits, _ = model(pad_sequence(inputs, batch_first=True).to(device))  # (B, T − 1, V)
        for i, row, ids in zip(group, logits, inputs):
            yield i, row[: len(ids)]


def _window_losses(
    model: torch.nn.Module, pieces: Sequence[np.ndarray], past: np.ndarray, every: int
) -> list[np.ndarray]:
    """Nats of every counted token, predicted from the window of `len(past)` tokens before it."""
    inputs, targets = windows(np.concatenate([past, *pieces]), len(past))  # one window a token
    place = np.concatenate([np.arange(len(piece)) for piece in pieces])
    counted = np.flatnonzero(place > 0)[::every]
    batches = []
    parts = torch.from_numpy(counted).split(256)
    with _asked(model) as device:
        for index in tqdm(parts, "measuring", unit="batch", leave=False, disable=None):
            logits = model.predict_next(inputs[index].to(device)).cpu()
            batches.append(cross_entropy(logits, targets[index], reduction="none"))
    losses = torch.cat(batches).numpy()
    piece_of = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])[counted]
    return [losses[piece_of == i] for i in range(len(pieces))]


class NoteLikelihood(NamedTuple):
    """Negative log-likelihood of whole pieces, and how many notes they have."""

    nats: np.ndarray  # (pieces,)
    notes: np.ndarray  # (pieces,)

    @property
    def mean(self) -> float:
        """Nats a note, pooled over all pieces."""
        return ratio(np.column_stack([self.nats, self.notes]))

    def interval(self) -> Interval:
        """Nats a note, pooled over all pieces, with a 95 % confidence interval over pieces."""
        return bootstrap(np.column_stack([self.nats, self.notes]), ratio)

    def __sub__(self, other: NoteLikelihood) -> NoteLikelihood:
        """The difference, piece by piece. Raises ValueError for different pieces."""
        if not np.array_equal(self.notes, other.notes):
            raise ValueError("likelihoods of different pieces; compare them on the same")
        return NoteLikelihood(self.nats - other.nats, self.notes)


def note_likelihood(
    losses: Sequence[np.ndarray],
    pieces: Sequence[Piece],
    encoding: Encoding,
    vocabulary: Vocabulary,
) -> NoteLikelihood:
    """Nats a note, in which models with different tokens can be compared.

    losses: nats of every token after `<bos>`, `<eos>` among them, one array a piece (from `nll` or
    a baseline's `losses`). An unknown token costs its `<unk>` and a uniform guess: ln 128 for each
    pitch behind it and ln 48 for the one duration, of a rest too. (These sum to 1.7 over all chords
    of up to four quarters and to 1 over rests, so an unknown token costs at most ln 2.7 = 1 nat too
    little.) What an encoding does not write, such as how long a note is held under the next chord,
    costs nothing: say so where you compare.

    Raises ValueError for an encoding without `<bos>`, whose first token would cost nothing, and for
    losses that do not fit the pieces.
    """
    nats = np.zeros(len(pieces))
    for index, (piece, loss) in enumerate(zip(pieces, losses, strict=True)):
        tokens = encoding.encode(piece)
        if tokens[0] != BOS or len(loss) != len(tokens) - 1:
            found = f"{len(loss)} losses for {len(tokens)} tokens that begin with {tokens[0]}"
            raise ValueError(f"piece {piece.name!r}: {found}; give one for each after a {BOS}")
        nats[index] = loss.sum()
        for token in tokens:
            if token not in vocabulary:
                notes, durations = encoding.hidden_counts(token)
                nats[index] += notes * np.log(PITCHES) + durations * np.log(DURATIONS)
    return NoteLikelihood(nats, np.array([len(piece) for piece in pieces]))
