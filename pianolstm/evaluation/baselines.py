"""Models that only count: what every network must beat, as likelihoods and as composers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pianolstm.dataset import Dataset
from pianolstm.networks import State


class Bigram(nn.Module):
    """A model of which token follows which; `generate` writes with it as with a network.

    Smoothed after Witten and Bell 1991, method C: with n occurrences of a context and t different
    tokens after it, p(w | context) = (count + t · p_unigram(w)) / (n + t). One is added to every
    count of the unigram.
    """

    def __init__(self, train: Sequence[np.ndarray], vocabulary_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0))  # a network's weights say on which device it is
        V = vocabulary_size
        train = [np.asarray(piece, dtype=np.int64) for piece in train]  # a pair may exceed 2**31
        counts = np.bincount(np.concatenate(train), minlength=V) + 1.0
        self.unigram = counts / counts.sum()  # (V,)
        pairs = np.concatenate([piece[:-1] * V + piece[1:] for piece in train])
        self._pairs, self._counts = np.unique(pairs, return_counts=True)
        contexts = self._pairs // V
        self._n = np.bincount(contexts, weights=self._counts, minlength=V)
        # With t = 1 the formula gives the unigram for a context that never occurs
        self._t = np.maximum(1, np.bincount(contexts, minlength=V))

    def _probability(self, context: np.ndarray, token: np.ndarray) -> np.ndarray:
        """Of each token after its context; both int64 and of one shape."""
        count = _lookup(self._pairs, self._counts, context * len(self.unigram) + token, 0)
        n, t = self._n[context], self._t[context]
        return (count + t * self.unigram[token]) / (n + t)

    def probabilities(self, context: int) -> np.ndarray:
        """The distribution (V,) of the token after `context`."""
        tokens = np.arange(len(self.unigram))
        return self._probability(np.full_like(tokens, context), tokens)

    def losses(self, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nats of every token but the first, one array (T − 1,) a piece."""
        pieces = [np.asarray(piece, dtype=np.int64) for piece in pieces]
        return [-np.log(self._probability(piece[:-1], piece[1:])) for piece in pieces]

    def zero_state(self, batch: int) -> State:
        """Nothing is remembered; shapes as a network's."""
        return [(torch.zeros(batch, 1),)]

    def step(self, ids: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Logits (B, V) of what follows each of the ids (B,), float64; and the same state."""
        p = np.stack([self.probabilities(token) for token in ids.tolist()])
        return torch.from_numpy(np.log(p)), state


def unigram_nll(
    train: Sequence[np.ndarray], held_out: Sequence[np.ndarray], vocabulary_size: int
) -> float:
    """Nats a token of a model that knows how common each token is (one added to every count)."""
    log_p = np.log(Bigram(train, vocabulary_size).unigram)
    return float(-np.concatenate([log_p[piece[1:]] for piece in held_out]).mean())


def fitted_bigram(data: Dataset) -> Bigram:
    """A bigram of the training pieces in all keys or in their own: what suits validation better."""
    all_keys = Bigram(data.train_all_keys, len(data.vocabulary))
    own_key = Bigram(data.train_own_key, len(data.vocabulary))
    return min(all_keys, own_key, key=lambda model: np.concatenate(model.losses(data.valid)).mean())


class KneserNey:
    """A model of what follows the last `order` − 1 tokens, mixed with what follows fewer of them.

    Interpolated Kneser-Ney smoothing, one discount an order, D = n1 / (n1 + 2 n2): Chen and Goodman
    1999, "An Empirical Study of Smoothing Techniques for Language Modeling", section 3 and equation
    26. Below the highest order an n-gram counts once for each different token seen before it. Below
    the lowest order all tokens are equally likely.

    N-grams are stored as hashes of 64 bits. Among a million n-grams two have the same hash with a
    probability of about 3 in 100 million.
    """

    def __init__(self, train: Sequence[np.ndarray], vocabulary_size: int, order: int = 5) -> None:
        self.size, self.order = vocabulary_size, order
        # A random odd factor for each place, because order matters, and a number for each token
        draw = np.random.default_rng(order)
        self._factors = draw.integers(2**63, size=order, dtype=np.uint64) * np.uint64(2) + 1
        self._numbers = draw.integers(2**63, size=vocabulary_size + 1, dtype=np.uint64)
        hashes = np.concatenate([self._hashes(piece) for piece in train], axis=1)
        self._orders = [self._count(hashes, k) for k in range(1, order + 1)]

    def _hashes(self, piece: Sequence[int]) -> np.ndarray:
        """Hashes of the last 0, 1, … `order` tokens at every token of a piece but the first.

        Shape (order + 1, T − 1). A piece is preceded by a token of its own.
        """
        padded = np.concatenate([np.full(self.order - 1, self.size), np.asarray(piece, dtype=int)])
        numbers = self._numbers[padded]
        hashes = np.zeros((self.order + 1, len(piece)), dtype=np.uint64)
        for k in range(self.order):
            first = self.order - 1 - k
            hashes[k + 1] = hashes[k] + numbers[first : first + len(piece)] * self._factors[k]
        return hashes[:, 1:]

    def _count(self, hashes: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
        """Count the k-grams of `_hashes` of the training pieces.

        Returns their hashes, sorted, and the share of each in its context, after the discount; then
        the hashes of the contexts, and what the discount leaves in each for the shorter n-grams.
        """
        grams, tokens = hashes[k], hashes[1]
        if k < self.order:  # each distinct longer n-gram counts once
            _, distinct = np.unique(hashes[k + 1], return_index=True)
            grams, tokens = grams[distinct], tokens[distinct]
        grams, first, counts = np.unique(grams, return_index=True, return_counts=True)
        contexts, context_of, types = np.unique(
            grams - tokens[first], return_inverse=True, return_counts=True
        )
        totals = np.bincount(context_of, weights=counts)
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        discount = once / (once + 2 * twice) if once and twice else 0.5
        shares = np.maximum(counts - discount, 0) / totals[context_of]
        return grams, shares, contexts, discount * types / totals

    def _probability(self, hashes: np.ndarray, contexts: np.ndarray) -> np.ndarray:
        """Of the last token of each column of `_hashes`, given those before it.

        contexts: hashes without that token, a column each, or one for all of them.
        """
        p = np.full(hashes.shape[1], 1 / self.size)
        for k, (grams, shares, known, rests) in enumerate(self._orders, 1):
            share = _lookup(grams, shares, hashes[k], 0)
            rest = _lookup(known, rests, contexts[k], 1)
            if (rest == 1).all():  # no context of this length was seen, and so no longer one
                break
            p = share + rest * p
        return p

    def losses(self, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nats of every token but the first, one array (T − 1,) a piece."""
        hashes = map(self._hashes, pieces)
        return [-np.log(self._probability(found, found - found[1])) for found in hashes]

    def probabilities(self, past: Sequence[int]) -> np.ndarray:
        """The distribution (V,) of what follows the whole past of a piece."""
        ends = self._hashes([*past[-self.order :], 0])[:, -1:]  # as if token 0 came next
        change = (self._numbers[: self.size] - self._numbers[0]) * self._factors[0]
        hashes = np.vstack([np.zeros_like(change), ends[1:] + change])  # (order + 1, V)
        return self._probability(hashes, hashes[:, :1] - hashes[1, :1])


def _lookup(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray, default: int) -> np.ndarray:
    """The value of each wanted key; `keys` are sorted, and `default` stands for missing ones."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], default)
