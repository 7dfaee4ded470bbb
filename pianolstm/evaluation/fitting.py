"""Fitting what `Memory` mixes with, on held-out pieces that neither network nor n-grams learned.

Shapes as in `memory`: N tokens of several pieces, V vocabulary, R ranges of match lengths, K
voices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from pianolstm.memory import FLOOR, SHARES, Memory, Past, range_of

PRIOR = 10  # tokens that a range's default weights count for, because some ranges are rare
ROUNDS = 50  # of EM, and of L-BFGS


def fit_memory(
    pieces: Sequence[np.ndarray],
    predictions: Iterable[np.ndarray],
    ngrams: Callable[[Sequence[int]], np.ndarray] | None = None,
) -> Memory:
    """The memory that makes held-out pieces likeliest.

    predictions: the network's distribution (T − 1, V) before each token of a piece but the first,
    one array a piece, as from `likelihood.predictions`; ngrams: as `KneserNey.probabilities`.
    """
    network = np.concatenate(list(predictions)).astype(np.float32)  # (N, V)
    targets = np.concatenate([piece[1:] for piece in pieces])
    remembered, rows, counted = np.zeros_like(network), np.zeros(len(network), dtype=int), []
    i = 0
    for piece in pieces:
        past = Past()
        for token in piece[:-1]:
            past.add(token)
            remembered[i], length = past.predict(network.shape[1])
            rows[i] = range_of(length)
            if ngrams is not None:
                counted.append(ngrams(past.tokens).astype(np.float32))
            i += 1
    hits = np.arange(len(targets)), targets
    shares = fit_shares(remembered[hits].astype(float), network[hits].astype(float), rows)
    share = shares[rows, None].astype(np.float32)
    voices = [share * remembered + (1 - share) * network]
    if ngrams is not None:
        voices.append(np.stack(counted))
    logs = np.log(np.maximum(np.stack(voices, axis=2), FLOOR))  # (N, V, K)
    return Memory(shares, fit_exponents(logs, targets, rows), ngrams)


def fit_shares(remembered: np.ndarray, network: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The memory's shares (R,), found by EM.

    remembered, network: the probability that each gave to every token, (N,); rows: ranges of the
    matches, (N,). Expectation: how likely the memory is to have said each token. Maximisation: a
    range's share is the mean of that over its tokens.
    """
    prior = shares = np.array(SHARES)
    tokens = np.bincount(rows, minlength=len(shares))
    for _ in range(ROUNDS):
        share = shares[rows]
        said = share * remembered / (share * remembered + (1 - share) * network)
        shares = (PRIOR * prior + np.bincount(rows, said, len(shares))) / (PRIOR + tokens)
    return shares


def fit_exponents(logs: np.ndarray, targets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The exponents (R, K) of voices, found by L-BFGS; their likelihood has a single maximum.

    logs: of every voice's distribution, (N, V, K); targets: the tokens that came, (N,).
    """
    K = logs.shape[2]
    logs, targets, rows = map(torch.from_numpy, (logs, targets.astype(np.int64), rows))
    prior = torch.full((len(SHARES), K), 1 / K)
    exponents = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([exponents], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = (logs * exponents[rows][:, None]).sum(dim=2)  # (N, V)
        nats = cross_entropy(scores, targets, reduction="sum")
        nats = nats + PRIOR * (exponents - prior).square().sum()
        nats.backward()
        return nats

    optimizer.step(loss)
    return exponents.detach().numpy().astype(float)
