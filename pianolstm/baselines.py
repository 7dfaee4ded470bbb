"""Models that only count: what every network must beat, as likelihoods and as composers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pianolstm.dataset import Dataset
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


def fitted_bigram(data: Dataset) -> Bigram:
    """A bigram of the training pieces in all keys or in their own: what suits validation better."""
    models = [Bigram(pieces, len(data.vocabulary))
              for pieces in (data.train_all_keys, data.train_own_key)]  # fmt: skip
    return min(models, key=lambda model: np.concatenate(model.losses(data.valid)).mean())


class KneserNey:
    """What tends to follow the last `order` − 1 tokens, mixed with what follows fewer of them.

    Interpolated Kneser-Ney smoothing, one discount an order, D = n1 / (n1 + 2 n2): Chen and Goodman
    1999, "An Empirical Study of Smoothing Techniques for Language Modeling", section 3 and equation
    26. Below the highest order a token counts once for each different token that it was seen after
    together with its context. Under the lowest order all tokens are equally likely.

    An n-gram is kept as a hash of 64 bits; of a million n-grams two share one with a probability of
    some 3 in 100 million.
    """

    def __init__(self, train: Sequence[np.ndarray], vocabulary_size: int, order: int = 5) -> None:
        if order < 1:
            raise ValueError(f"order is {order}; a model needs at least 1")
        self.size, self.order = vocabulary_size, order
        # A random odd factor for every place, so that order matters, and a number for every token
        draw = np.random.default_rng(order)
        self._factors = draw.integers(2**63, size=order, dtype=np.uint64) * np.uint64(2) + 1
        self._numbers = draw.integers(2**63, size=vocabulary_size + 1, dtype=np.uint64)
        grams = np.concatenate([self._grams(piece) for piece in train], axis=1)
        distinct = [np.unique(row, return_index=True, return_counts=True) for row in grams[1:]]
        self._tables = []
        for k in range(1, order + 1):
            if k == order:
                keys, places, counts = distinct[k - 1]
            else:  # each distinct (k + 1)-gram counts once for the k-gram it ends with
                longer = grams[k, distinct[k][1]]
                keys, first, counts = np.unique(longer, return_index=True, return_counts=True)
                places = distinct[k][1][first]
            contexts = self._contexts(grams, k)[places]
            context, inverse, types = np.unique(contexts, return_inverse=True, return_counts=True)
            total = np.bincount(inverse, weights=counts)
            once, twice = (counts == 1).sum(), (counts == 2).sum()
            discount = once / (once + 2 * twice) if once and twice else 0.5
            self._tables.append((keys, counts, context, total, types, discount))

    def _grams(self, piece: np.ndarray) -> np.ndarray:
        """Hashes of the last 0, 1, … `order` tokens at every token of a piece but the first.

        Shape (order + 1, T − 1). Before a piece stands a token of its own.
        """
        padded = np.concatenate([np.full(self.order - 1, self.size), np.asarray(piece, dtype=int)])
        numbers = self._numbers[padded]
        T, rows = len(piece), [np.zeros(len(piece), dtype=np.uint64)]
        for k in range(self.order):
            begin = self.order - 1 - k
            rows.append(rows[-1] + numbers[begin : begin + T] * self._factors[k])
        return np.stack(rows)[:, 1:]

    def _contexts(self, grams: np.ndarray, k: int) -> np.ndarray:
        """Hashes of k-grams without their last token."""
        return grams[k] - grams[1]

    def _probability(self, grams: np.ndarray) -> np.ndarray:
        """Of the last token of each column of `_grams`, given those before it."""
        p = np.full(grams.shape[1], 1 / self.size)
        for k, (keys, counts, context, total, types, discount) in enumerate(self._tables, 1):
            found, n = _lookup(keys, counts, grams[k])
            known, C = _lookup(context, total, self._contexts(grams, k))
            _, t = _lookup(context, types, self._contexts(grams, k))
            C = np.where(known, C, 1)
            own = np.where(found, np.maximum(n - discount, 0), 0) / C
            p = np.where(known, own + discount * t / C * p, p)
        return p

    def losses(self, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nats of every token but the first, one array (T − 1,) a piece."""
        return [-np.log(self._probability(self._grams(piece))) for piece in pieces]

    def probabilities(self, past: Sequence[int]) -> np.ndarray:
        """The distribution (V,) of what follows the whole past of a piece."""
        past = list(past)[-self.order :]
        pieces = (self._grams(np.array([*past, token]))[:, -1:] for token in range(self.size))
        return self._probability(np.concatenate(list(pieces), axis=1))


def _lookup(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Whether each wanted key is among the sorted ones, and its value (else 0)."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = keys[place] == wanted
    return found, np.where(found, values[place], 0)
