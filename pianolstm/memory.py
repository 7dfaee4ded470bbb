"""What a piece has said before: a tune that comes back can be copied.

A plain LSTM forgets a tune soon after it has ended. The memory keeps the whole piece. After every
token it compares the end of the piece with each earlier place: the more tokens before that place
are the same, the likelier what came next there comes next again. The memory's prediction and the
network's are mixed, with weights that depend only on the length of the longest match.

This is the match model of data compression (Mahoney 2005, "Adaptive Weighing of Context Models for
Lossless Data Compression") and the short-term model of music cognition (Conklin and Witten 1995,
"Multiple Viewpoint Systems for Music Prediction"). The continuous cache (Grave, Joulin and Usunier
2017) compares states of the network where this compares tokens.

Knows ids only. Shapes: T tokens of a piece, V vocabulary, N tokens of several pieces, K voices,
which are what is mixed: the memory, the network and perhaps n-grams of the training pieces.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

EDGES = (1, 2, 4, 6, 9, 13, 19, 27, 39, 56, 80, 120, 180)  # shortest match of each row of weights
SHARES = (
    0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 0.98,
)  # the memory's weights, where none are fitted: row 0 is for no match  # fmt: skip
SHARPNESS = 4  # how much more the longer of two matches counts
PRIOR = 10  # tokens that `SHARES` count for where weights are fitted
ROUNDS = 50  # of EM


class NGrams(Protocol):
    """A model that counted the training pieces, such as `KneserNey`."""

    def losses(self, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nats of every token but the first, one array (T − 1,) a piece."""

    def probabilities(self, past: Sequence[int]) -> np.ndarray:
        """The distribution (V,) of what follows."""


class Past:
    """The past of one piece, fed token by token."""

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self.tokens = np.zeros(0, dtype=np.int64)  # (T,)
        self.lengths = np.zeros(0, dtype=np.int64)  # (T,) tokens before each that match the end
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """Go on by one token. This costs one pass over the past."""
        longer = np.where(self.tokens == token, self.lengths + 1, 0)
        self.lengths = np.append(0, longer)
        self.tokens = np.append(self.tokens, token)

    def predict(self, vocabulary_size: int) -> tuple[np.ndarray, int]:
        """The distribution (V,) of the next token, and the length of the longest match.

        Every earlier token votes for itself, with its match's length to the power of `SHARPNESS`.
        Without any match, of length 0, all probabilities are 0: the memory has nothing to say.
        """
        places = np.flatnonzero(self.lengths)
        if not len(places):
            return np.zeros(vocabulary_size), 0
        length = self.lengths.max()
        votes = (self.lengths[places] / length) ** SHARPNESS
        p = np.bincount(self.tokens[places], votes, vocabulary_size)
        return p / p.sum(), int(length)


@dataclass(frozen=True)
class Memory:
    """How a network and the past of a piece are mixed; the same for all pieces."""

    weights: np.ndarray  # (rows, K), a row for each range of match lengths, which sums to one
    ngrams: NGrams | None = None  # the third voice

    def mix(self, p: np.ndarray, past: Past) -> np.ndarray:
        """The network's distribution (V,), mixed with what the past of the piece predicts."""
        remembered, length = past.predict(len(p))
        voices = [remembered, p]
        if self.ngrams is not None:
            voices.append(self.ngrams.probabilities(past.tokens))
        return self.weights[row_of(length)] @ np.stack(voices)

    def losses(
        self, pieces: Sequence[np.ndarray], losses: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """A network's nats of every token but the first → the mixture's, (T − 1,) a piece."""
        result = []
        for voices, rows in voices_of(pieces, losses, self.ngrams):
            result.append(-np.log((self.weights[rows] * voices).sum(axis=1)))
        return result


def row_of(length: int) -> int:
    """The row of weights for a match of that length."""
    return int(np.searchsorted(EDGES, length, side="right"))


def voices_of(
    pieces: Sequence[np.ndarray], losses: Sequence[np.ndarray], ngrams: NGrams | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each piece what every voice gave each token (T − 1, K), and its row of weights (T − 1,).

    losses: the network's nats of every token but the first, one array (T − 1,) a piece.
    """
    size = 1 + max(int(piece.max(initial=0)) for piece in pieces)
    others = [losses] if ngrams is None else [losses, ngrams.losses(pieces)]
    result = []
    for piece, *nats in zip(pieces, *others, strict=True):
        past, remembered, rows = Past(), [], []
        for token, following in itertools.pairwise(piece):
            past.add(token)
            p, length = past.predict(size)
            remembered.append(p[following])
            rows.append(row_of(length))
        voices = np.stack([remembered, *np.exp(np.negative(nats, dtype=float))], axis=1)
        result.append((voices, np.array(rows, dtype=int)))
    return result


def default_weights(voices: int = 2) -> np.ndarray:
    """Weights (rows, K) for music like the sets we know; the other voices share alike."""
    shares = np.array(SHARES)[:, None]
    return np.hstack([shares, *[(1 - shares) / (voices - 1)] * (voices - 1)])


def fit_weights(
    pieces: Sequence[np.ndarray], losses: Sequence[np.ndarray], ngrams: NGrams | None = None
) -> np.ndarray:
    """The weights (rows, K) that make held-out pieces likeliest, found by EM.

    Expectation: how likely each voice is to have said each token. Maximisation: a row's weights are
    the mean of that over its tokens. `PRIOR` tokens of the default weights belong to every row, so
    that rare match lengths get sensible weights too. `losses` as for `voices_of`.
    """
    voices, rows = map(np.concatenate, zip(*voices_of(pieces, losses, ngrams)))  # (N, K), (N,)
    prior = weights = default_weights(voices.shape[1])
    for _ in range(ROUNDS):
        share = weights[rows] * voices
        share /= share.sum(axis=1, keepdims=True)
        counts = PRIOR * prior
        np.add.at(counts, rows, share)
        weights = counts / counts.sum(axis=1, keepdims=True)
    return weights
