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
SHARES = (  # of the memory in each range: between those of JSB's and Nottingham's whole frames
    0, 0.005, 0.02, 0.04, 0.16, 0.3, 0.58, 0.83, 0.93, 0.96, 0.96, 0.96, 0.97, 0.97,
)  # fmt: skip
R = len(SHARES)
FITTED = ("shares", "exponents", "beside_ngrams")  # fields of `Memory`: tables by range
SHARPNESS = 4.0  # how much more the longer of two matches counts
NGRAMS = (0.8, 0.2)  # exponents beside n-grams where none are fitted: of both voices
FLOOR = 1e-30  # least probability that a logarithm is taken of
PASSED_OVER = -1  # class of a token that is not compared; nothing is recalled after it
OVERLAP = 2.0  # for so many times its distance a match that overlaps itself counts at most


class Past:
    """The past of one piece, fed token by token.

    same: for every id the class that it belongs to when tokens are compared, (V,), or `PASSED_OVER`
    for a token that says that the piece will end; without it each id is a class.
    """

    def __init__(self, tokens: Sequence[int] = (), same: np.ndarray | None = None) -> None:
        self.same = same
        self.tokens: list[int] = []
        self.classes = np.zeros(0, dtype=np.int64)  # (T,) without what is passed over
        self.lengths = np.zeros(0, dtype=np.int64)  # (T,) classes before each that match the end
        self.ends = False  # whether the piece has said so
        for token in tokens:
            self.add(int(token))

    def add(self, token: int) -> None:
        """Go on by one token. This costs one pass over the past."""
        self.tokens.append(token)
        own = token if self.same is None else self.same[token]
        if own == PASSED_OVER:
            self.ends = True
        else:
            self.lengths = np.append(0, np.where(self.classes == own, self.lengths + 1, 0))
            self.classes = np.append(self.classes, own)

    def predict(self, size: int, sharpness=SHARPNESS, overlap=OVERLAP) -> tuple[np.ndarray, int]:
        """The distribution (V,) of the next token's class, and for how long a match it counts.

        Every earlier class votes for itself, with its match's length to the power of `sharpness`.
        A passage that repeats itself, such as a held chord, matches itself ever longer, and a piece
        that is written would not leave it again. So a longest match, the nearest of equal ones,
        that is no shorter than its distance counts for at most `overlap` times that. Without any
        match the length and all probabilities are 0.
        """
        places = np.flatnonzero(self.lengths)
        if self.ends or not len(places):
            return np.zeros(size), 0
        lengths = self.lengths[places]
        longest = lengths.max()
        p = np.bincount(self.classes[places], (lengths / longest) ** sharpness, size)
        distance = len(self.classes) - places[lengths == longest][-1]
        limit = longest if longest < distance else overlap * distance
        return p / p.sum(), int(min(longest, limit))


@dataclass(frozen=True)
class Memory:
    """How a network, the past of a piece and perhaps n-grams are mixed; the same for all pieces.

    Network and memory are averaged. The result and the n-grams' distribution are multiplied, each
    to a power, as opinions are that only agree on what both think possible (Hinton 2002, "Training
    Products of Experts by Minimizing Contrastive Divergence").
    """

    shares: np.ndarray = field(default_factory=lambda: np.array(SHARES))  # (R,) of the memory
    exponents: np.ndarray = field(default_factory=lambda: np.ones((R, 1)))  # (R, 1)
    beside_ngrams: np.ndarray = field(default_factory=lambda: np.tile(NGRAMS, (R, 1)))
    sharpness: float = SHARPNESS
    overlap: float = OVERLAP
    ngrams: Callable[[Sequence[int]], np.ndarray] | None = None  # past → distribution (V,)
    same: np.ndarray | None = None  # (V,) classes of ids, see `Past`; the network's encoding knows

    def mix(self, p: np.ndarray, past: Past) -> np.ndarray:
        """The network's distribution (V,), mixed with what the past of the piece predicts."""
        remembered, row = self.recall(p, past)
        average = self.shares[row] * remembered + (1 - self.shares[row]) * p
        voices, exponents = [average], self.exponents
        if self.ngrams is not None:
            voices, exponents = [average, self.ngrams(past.tokens)], self.beside_ngrams  # (R, 2)
        mixed = np.exp(exponents[row] @ np.log(np.maximum(voices, FLOOR)))
        mixed[average == 0] = 0
        return mixed / mixed.sum()

    def recall(self, p: np.ndarray, past: Past) -> tuple[np.ndarray, int]:
        """What the past says of the next token, (V,), and the range that its match lies in.

        Of a class each token gets the part that the network's distribution p (V,) gives it, so that
        nothing forbidden is copied; a token that is passed over keeps its probability.
        """
        predicted, length = past.predict(len(p), self.sharpness, self.overlap)
        if past.same is not None:
            passed = past.same == PASSED_OVER
            classes, free = np.where(passed, 0, past.same), np.where(passed, 0, p)
            whole = np.bincount(classes, free, len(p))  # the network's probability of each class
            predicted = predicted[classes] * free / np.maximum(whole[classes], FLOOR)
            predicted = np.where(passed, p * (length > 0), predicted * free.sum())
        return predicted, int(np.searchsorted(EDGES, length, side="right"))

    def to_dict(self) -> dict:
        """What was fitted, for a checkpoint's header."""
        tables = {name: getattr(self, name).round(3).tolist() for name in FITTED}
        return tables | {"sharpness": self.sharpness, "overlap": self.overlap}

    @classmethod
    def from_dict(cls, header: dict, same: np.ndarray | None = None) -> Memory:
        """What `to_dict` described. Raises ValueError for tables of other shapes."""
        tables = {name: np.array(header[name], dtype=float) for name in FITTED}
        if [table.shape for table in tables.values()] != [(R,), (R, 1), (R, 2)]:
            raise ValueError(f"tables of shapes other than {R}, {R} × 1 and {R} × 2")
        return cls(**tables, **{k: float(header[k]) for k in ("sharpness", "overlap")}, same=same)

    def losses(self, piece: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Nats (T − 1,) of every token of a piece but the first.

        predictions: the network's distribution before each of them, (T − 1, V).
        """
        past, nats = Past(same=self.same), np.zeros(len(predictions))
        for t, p in enumerate(predictions):
            past.add(int(piece[t]))
            nats[t] = -np.log(self.mix(p, past)[piece[t + 1]])
        return nats
