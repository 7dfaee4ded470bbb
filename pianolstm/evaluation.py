"""How good is a model, and did it copy? Likelihood on held-out pieces, baselines, novelty.

Likelihood is in nats a token. A piece's first token is never counted, because nothing precedes it
that could predict it; every other token is, `<unk>` among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pianolstm.baselines import Bigram
from pianolstm.dataset import windows
from pianolstm.encodings import BOS, Encoding
from pianolstm.piece import Piece
from pianolstm.statistics import Interval, bootstrap, ratio
from pianolstm.vocabulary import UNK_ID, Vocabulary


@dataclass(frozen=True)
class Likelihood:
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
) -> Likelihood:
    """Held-out negative log-likelihood of pieces (each ids of shape (T,)).

    A `NoteLSTM` reads each piece from its start. An `ArticleLSTM` reads as it was trained: windows
    over all pieces one after another, the first ones filled from `before` (or, where that is not
    given, from the end of the pieces themselves), so that every token has a full window of past.
    That is slow: `every` n asks it about every n-th token only.
    """
    if not any(len(piece) > 1 for piece in pieces):
        raise ValueError("no piece of two tokens or more: there is nothing to predict")
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        if model.reads == "windows":
            result = _window_nll(model, pieces, window, before, every)
        else:
            result = _stream_nll(model, pieces)
    model.train(was_training)
    return Likelihood(result)


def _window_nll(model, pieces, window, before, every) -> list[np.ndarray]:
    everything = np.concatenate(pieces)
    past = everything if before is None else before
    past = np.resize(past[-window:], window) if len(past) < window else past[-window:]
    inputs, targets = windows(np.concatenate([past, everything]), window)
    place = np.concatenate([np.arange(len(piece)) for piece in pieces])
    owner = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    counted = np.flatnonzero(place > 0)[::every]  # all but each piece's first token
    device = next(model.parameters()).device
    losses = []
    for index in torch.from_numpy(counted).split(256):
        logits = model.predict_next(inputs[index].to(device))
        target = targets[index].to(device).long()
        losses.append(torch.nn.functional.cross_entropy(logits, target, reduction="none").cpu())
    found = torch.cat(losses).numpy()
    return [found[owner[counted] == i] for i in range(len(pieces))]


def _stream_nll(model, pieces) -> list[np.ndarray]:
    result: list[np.ndarray] = [np.zeros(0)] * len(pieces)
    device = next(model.parameters()).device
    order = sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
    for start in range(0, len(order), 32):  # pieces of similar length side by side
        group = [i for i in order[start : start + 32] if len(pieces[i]) > 1]
        if not group:
            continue
        longest = max(len(pieces[i]) for i in group)
        ids = np.zeros((len(group), longest), dtype=np.int64)
        for row, i in enumerate(group):
            ids[row, : len(pieces[i])] = pieces[i]
        batch = torch.from_numpy(ids).to(device)
        logits, _ = model(batch[:, :-1])
        losses = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), batch[:, 1:], reduction="none"
        ).cpu()
        for row, i in enumerate(group):
            result[i] = losses[row, : len(pieces[i]) - 1].numpy()
    return result


def uniform_nll(vocabulary_size: int) -> float:
    """Nats a token of a model that knows nothing: ln V."""
    return float(np.log(vocabulary_size))


def unigram_nll(
    train: Sequence[np.ndarray], held_out: Sequence[np.ndarray], vocabulary_size: int
) -> float:
    """Nats a token of a model that knows how common each token is (one added to every count)."""
    counts = np.bincount(np.concatenate(train), minlength=vocabulary_size) + 1.0
    log_p = np.log(counts / counts.sum())
    return float(-np.concatenate([log_p[piece[1:]] for piece in held_out]).mean())


def bigram_nll(
    train: Sequence[np.ndarray], held_out: Sequence[np.ndarray], vocabulary_size: int
) -> float:
    """Nats a token of a model that knows what tends to follow each token (`Bigram`)."""
    return float(np.concatenate(Bigram(train, vocabulary_size).losses(held_out)).mean())


@dataclass(frozen=True)
class NoteLikelihood:
    """What pieces cost a model, everything paid for."""

    nats: np.ndarray  # (pieces,)
    notes: np.ndarray  # (pieces,)

    @property
    def mean(self) -> float:
        """Nats a note, pooled over all pieces."""
        return self.interval().value

    def interval(self) -> Interval:
        """Nats a note, pooled over all pieces, with a 95 % interval over pieces."""
        return bootstrap(np.column_stack([self.nats, self.notes]), ratio)

    def __sub__(self, other: NoteLikelihood) -> NoteLikelihood:
        """What the same pieces cost more here than there, piece by piece."""
        if not np.array_equal(self.notes, other.notes):
            raise ValueError("likelihoods of different pieces; compare them on the same")
        return NoteLikelihood(self.nats - other.nats, self.notes)


DURATIONS = 48  # lengths that a hidden note may have: up to a whole note, in twelfths of a quarter


def note_likelihood(
    losses: Sequence[np.ndarray],
    pieces: Sequence[Piece],
    encoding: Encoding,
    vocabulary: Vocabulary,
) -> NoteLikelihood:
    """Nats a note, in which models with different tokens can be compared.

    losses: nats of every token after `<bos>`, `<eos>` among them, one array a piece (from `nll` or
    `Bigram.losses`). An unknown token costs its `<unk>` and then, for each note it hides, ln 128
    for the pitch and ln 48 for the duration: a uniform guess; an unknown rest costs ln 48. (The
    guesses of all chords sum to 1.01 and those of rests to 1, so an unknown token is charged at
    most ln 2.01 = 0.7 nats too little, in its favour.) What an encoding does not write at all, such
    as how long a note is held beneath the next chord, it does not pay for: say so where you
    compare. Raises ValueError for an encoding without `<bos>`, whose first token nobody would pay
    for, and for losses that do not fit the pieces.
    """
    nats = np.zeros(len(pieces))
    for index, (piece, loss) in enumerate(zip(pieces, losses, strict=True)):
        tokens = encoding.encode(piece)
        if tokens[0] != BOS:
            raise ValueError(f"{encoding} has no {BOS}: the first token would be free of charge")
        if len(loss) != len(tokens) - 1:
            raise ValueError(
                f"piece {piece.name!r}: {len(loss)} losses for {len(tokens)} tokens; give one for "
                f"each token after {BOS}"
            )
        hidden = [encoding.hidden_counts(token) for token in tokens if token not in vocabulary]
        notes, durations = np.sum(hidden, axis=0) if hidden else (0, 0)
        nats[index] = loss.sum() + notes * np.log(128) + durations * np.log(DURATIONS)
    return NoteLikelihood(nats, np.array([len(piece) for piece in pieces]))


def unknown_share(pieces: Sequence[np.ndarray]) -> float:
    """Share of `<unk>` among the counted tokens (the first of each piece is not)."""
    counted = np.concatenate([piece[1:] for piece in pieces])
    return float((counted == UNK_ID).mean())


def longest_copied_runs(
    pieces: Sequence[np.ndarray], training: Sequence[np.ndarray]
) -> list[tuple[int, int]]:
    """Longest run of tokens of each piece that also stands in a training piece: (length, start).

    Give the training pieces in all transpositions, and a copy in another key is found too. A run
    may not contain `<unk>`, which stands for many tokens, nor cross from one training piece into
    the next.
    """
    known = sorted({int(t) for piece in training for t in np.unique(piece)} - {UNK_ID})
    alphabet = {token: chr(i + 1) for i, token in enumerate(known)}

    def as_text(piece: Sequence[int] | np.ndarray) -> str:
        # One character a token: Python's substring search is fast. "\0" ends a run.
        return "".join(alphabet.get(token, "\0") for token in np.asarray(piece, int).tolist())

    corpus = "\0".join(map(as_text, training))
    result = []
    for text in map(as_text, pieces):
        best, where = 0, 0
        for start in range(len(text)):
            run = text[start : start + best + 1]
            while len(run) == best + 1 and "\0" not in run and run in corpus:
                best, where = best + 1, start
                run = text[start : start + best + 1]
        result.append((best, where))
    return result


def repetition(tokens: Sequence, window: int = 64) -> int:
    """Period of the loop that the last `window` tokens have fallen into; 0 if there is none.

    1 is one token for ever. A loop counts if it is played at least twice within the window.
    """
    tail = list(tokens)[-window:]
    for period in range(1, len(tail) // 2 + 1):
        if tail[period:] == tail[:-period]:
            return period
    return 0
