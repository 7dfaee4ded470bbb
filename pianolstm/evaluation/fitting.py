"""Fitting what `Memory` mixes with, on held-out pieces that neither network nor n-grams learned.

Shapes as in `memory`: N tokens of several pieces, V vocabulary, R ranges of match lengths, K
voices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from pianolstm.checkpoint import Checkpoint
from pianolstm.dataset import Dataset
from pianolstm.encodings import EOS
from pianolstm.evaluation.baselines import KneserNey
from pianolstm.evaluation.likelihood import predictions
from pianolstm.memory import FLOOR, NGRAMS, OVERLAP, SHARES, SHARPNESS, Memory, Past

PRIOR = 10  # tokens that a range's default weights count for, because some ranges are rare
ORDER = 48  # of the n-grams
SHARPNESSES = (4.0, 6.0)  # that are tried
ROUNDS = 50  # of EM, and of L-BFGS


def fit_memory(
    pieces: Sequence[np.ndarray],
    predictions: Iterable[np.ndarray],
    ngrams: Callable[[Sequence[int]], np.ndarray] | None = None,
    same: np.ndarray | None = None,
    sharpness: float = SHARPNESS,
    overlap: float = OVERLAP,
) -> Memory:
    """The memory that makes held-out pieces likeliest.

    predictions: the network's distribution (T − 1, V) before each token of a piece but the first,
    one array a piece, as from `likelihood.predictions`; ngrams: as `KneserNey.probabilities`; same,
    sharpness and overlap: as in `Memory`.
    """
    memory = Memory(sharpness=sharpness, overlap=overlap, same=same)
    network = np.concatenate(list(predictions)).astype(np.float32)  # (N, V)
    targets = np.concatenate([piece[1:] for piece in pieces])
    remembered, rows, counted = np.zeros_like(network), np.zeros(len(network), dtype=int), []
    i = 0
    for piece in tqdm(pieces, "memory", unit="piece", leave=False, disable=None):
        past = Past(same=same)
        for token in piece[:-1]:
            past.add(int(token))
            remembered[i], rows[i] = memory.recall(network[i], past)
            if ngrams is not None:
                counted.append(ngrams(past.tokens).astype(np.float32))
            i += 1
    hits = np.arange(len(targets)), targets
    shares = fit_shares(remembered[hits].astype(float), network[hits].astype(float), rows)
    share = shares[rows, None].astype(np.float32)
    average = np.log(np.maximum(share * remembered + (1 - share) * network, FLOOR))[:, :, None]
    found = {"shares": shares, "exponents": fit_exponents(average, targets, rows)}
    if ngrams is not None:
        counts = np.log(np.maximum(np.stack(counted), FLOOR))[:, :, None]
        voices = np.concatenate([average, counts], axis=2)  # (N, V, 2)
        found["beside_ngrams"] = fit_exponents(voices, targets, rows)
    return replace(memory, **found, ngrams=ngrams)


def best_memory(trained: Checkpoint, data: Dataset) -> Memory:
    """The memory for a network that is best on validation, of those of each sharpness.

    A network that ends its pieces by itself will write with it: a match that overlaps itself then
    counts for nothing, because what was said twice in a row would be said for ever; and exponents
    below 1, good for likelihood, would make each note a little more random. So all are 1. With the
    weights for n-grams beside it, if `TrainConfig.memory` says "ngrams".
    """
    pieces, found = data.valid, []
    writes = EOS in data.vocabulary
    overlap = 0.0 if writes else OVERLAP
    predicted = list(predictions(trained.model, pieces))
    for sharpness in SHARPNESSES:
        memory = fit_memory(pieces, predicted, None, trained.same, sharpness, overlap)
        nats = sum(memory.losses(*pair).sum() for pair in zip(pieces, predicted))
        found.append((nats, sharpness, memory))
    _, sharpness, memory = min(found)
    if trained.train_config.memory == "ngrams":
        ngrams = KneserNey(data.train_all_keys, len(data.vocabulary), ORDER).probabilities
        memory = fit_memory(pieces, predicted, ngrams, trained.same, sharpness, overlap)
    ones = {"exponents": np.ones_like(memory.exponents)} if writes else {}
    return replace(memory, ngrams=None, **ones)


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
    prior = torch.tensor([NGRAMS if K == 2 else (1.0,)] * len(SHARES))
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
