"""What a piece has said before: a tune that comes back can be copied.

A plain LSTM forgets a tune soon after it has ended. The memory keeps the whole piece. After every
token it compares the end of the piece with each earlier place: the more tokens before that place
are the same, the likelier what came next there comes next again. The memory's prediction and the
network's are mixed, with weights that depend only on the length of the longest match.

This is the match model of data compression (Mahoney 2005, "Adaptive Weighing of Context Models for
Lossless Data Compression") and the short-term model of music cognition (Conklin and Witten 1995,
"Multiple Viewpoint Systems for Music Prediction").

Knows ids only. Shapes: T tokens of a piece, N tokens of several pieces, V vocabulary, R ranges of
match lengths, K voices: what network and memory say together, and perhaps n-grams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

# The shortest match of ranges 1, 2, …
EDGES = (1, 2, 4, 6, 9, 13, 19, 27, 39, 56, 80, 120, 180)
SHARES = (  # of the memory in each range: between those of JSB's and Nottingham's validation
    0, 0.005, 0.02, 0.04, 0.16, 0.3, 0.58, 0.83, 0.93, 0.96, 0.96, 0.96, 0.97, 0.97,
)  # fmt: skip
SHARPNESS = 4  # how much more the longer of two matches counts
FLOOR = 1e-30  # least probability that a logarithm is taken of
OVERLAP = 2  # a match counts for no more tokens than this times its distance


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
        """The distribution (V,) of the next token, and for how long a match it counts.

        Every earlier token votes for itself, with its match's length to the power of `SHARPNESS`.
        A passage that repeats itself, such as a held chord, matches itself ever longer. So the
        longest match, the nearest of equal ones, counts for at most `OVERLAP` times its distance;
        otherwise a piece that is written would not leave the passage again. Without any match the
        length and all probabilities are 0.
        """
        places = np.flatnonzero(self.lengths)
        if not len(places):
            return np.zeros(vocabulary_size), 0
        lengths = self.lengths[places]
        longest = lengths.max()
        p = np.bincount(self.tokens[places], (lengths / longest) ** SHARPNESS, vocabulary_size)
        distance = len(self.tokens) - places[lengths == longest][-1]
        return p / p.sum(), int(min(longest, OVERLAP * distance))


@dataclass(frozen=True)
class Memory:
    """How a network, the past of a piece and perhaps n-grams are mixed; the same for all pieces.

    Network and memory are averaged. The result and the n-grams' distribution are multiplied, each
    to a power, as opinions are that only agree on what both think possible (Hinton 2002, "Training
    Products of Experts by Minimizing Contrastive Divergence").
    """

    shares: np.ndarray = field(default_factory=lambda: np.array(SHARES))  # (R,) of the memory
    exponents: np.ndarray = field(default_factory=lambda: np.ones((len(SHARES), 1)))  # (R, K)
    ngrams: Callable[[Sequence[int]], np.ndarray] | None = None  # past → distribution (V,)

    def mix(self, p: np.ndarray, past: Past) -> np.ndarray:
        """The network's distribution (V,), mixed with what the past of the piece predicts."""
        remembered, length = past.predict(len(p))
        row = range_of(length)
        average = self.shares[row] * remembered + (1 - self.shares[row]) * p
        voices = [average] if self.ngrams is None else [average, self.ngrams(past.tokens)]
        mixed = np.exp(self.exponents[row] @ np.log(np.maximum(voices, FLOOR)))
        mixed[average == 0] = 0
        return mixed / mixed.sum()

    def losses(self, piece: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Nats (T − 1,) of every token of a piece but the first.

        predictions: the network's distribution before each of them, (T − 1, V).
        """
        past, nats = Past(), np.zeros(len(predictions))
        for t, p in enumerate(predictions):
            past.add(piece[t])
            nats[t] = -np.log(self.mix(p, past)[piece[t + 1]])
        return nats


def range_of(length: int) -> int:
    """The range that a match length lies in."""
    return int(np.searchsorted(EDGES, length, side="right"))
