"""The bigram: what every network must beat, as a likelihood and as a composer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pianolstm.generation import sample_next
from pianolstm.vocabulary import UNK_ID


class Bigram:
    """A model that knows what tends to follow each token.

    Smoothed after Witten and Bell 1991, method C: with n occurrences of a context and t different
    tokens after it, p(w | context) = (count + t · p_unigram(w)) / (n + t); one is added to every
    count of the unigram.
    """

    def __init__(self, train: Sequence[np.ndarray], vocabulary_size: int) -> None:
        V = vocabulary_size
        train = [np.asarray(piece, dtype=np.int64) for piece in train]  # a pair may pass 2**31
        counts = np.bincount(np.concatenate(train), minlength=V) + 1.0
        self.unigram = counts / counts.sum()
        pairs = np.concatenate([piece[:-1] * V + piece[1:] for piece in train])
        self._pairs, self._counts = np.unique(pairs, return_counts=True)
        context = self._pairs // V
        self._n = np.bincount(context, weights=self._counts, minlength=V)
        self._t = np.bincount(context, minlength=V).astype(float)
        self._rows = np.searchsorted(context, np.arange(V + 1))  # where each context begins
        self.size = V

    def probabilities(self, context: int) -> np.ndarray:
        """The distribution (V,) of what follows a token."""
        n, t = self._n[context], self._t[context]
        p = self.unigram * (t if n else 1.0)
        rows = slice(self._rows[context], self._rows[context + 1])
        p[self._pairs[rows] % self.size] += self._counts[rows]
        return p / (n + t if n else 1.0)

    def losses(self, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nats of every token but the first, one array (T − 1,) a piece."""
        return [self._losses(piece) for piece in pieces]

    def _losses(self, piece: np.ndarray) -> np.ndarray:
        first, second = piece[:-1].astype(np.int64), piece[1:].astype(np.int64)
        key = first * self.size + second
        place = np.minimum(np.searchsorted(self._pairs, key), len(self._pairs) - 1)
        count = np.where(self._pairs[place] == key, self._counts[place], 0)
        n, t = self._n[first], self._t[first]
        seen = n > 0
        p = np.where(seen, (count + t * self.unigram[second]) / np.where(seen, n + t, 1), 0)
        return -np.log(np.where(seen, p, self.unigram[second]))

    def generate(
        self, start: int, length: int, seeds: Sequence[int], stop: int | None = None
    ) -> list[np.ndarray]:
        """As `generation.generate`, from one token: new ids only, up to `stop` or `length`."""
        pieces = []
        for seed in seeds:
            generator, ids = np.random.default_rng(seed), [start]
            while len(ids) <= length:
                p = self.probabilities(ids[-1])
                p[UNK_ID] = 0.0
                token = sample_next(p, generator)
                if token == stop:
                    break
                ids.append(token)
            pieces.append(np.array(ids[1:], dtype=np.int64))
        return pieces
