"""Fitting what `Memory` mixes with, on held-out pieces that neither network nor n-grams learned.

Shapes as in `memory`: N tokens of several pieces, V vocabulary, R ranges of match lengths, K
voices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from pianolstm.checkpoint import OWN_KEY, Checkpoint
from pianolstm.dataset import Dataset
from pianolstm.encodings import EOS
from pianolstm.evaluation.baselines import KneserNey
from pianolstm.evaluation.likelihood import nll, predictions
from pianolstm.memory import FLOOR, NGRAMS, OVERLAP, SHARES, Memory, Past
from pianolstm.vocabulary import ALL_KEYS

PRIOR = 10  # tokens that a range's default weights count for, because some ranges are rare
ORDER = 48  # of the n-grams
SHARPNESSES = (4.0, 6.0)  # that are tried
TRUST = 2.0  # factor of the memory's odds in writing; bars then return about as often as in songs
ROUNDS = 50  # of EM, and of L-BFGS


def ngrams_of(data: Dataset) -> Callable[[Sequence[int]], np.ndarray]:
    """What n-grams of the training pieces, in all keys, say after a past; for `Memory.ngrams`."""
    return KneserNey(data.train_all_keys, len(data.vocabulary), ORDER).probabilities


def fit_memory(
    pieces: Sequence[np.ndarray], predicted: Sequence[np.ndarray], memory: Memory
) -> Memory:
    """The memory that makes held-out pieces likeliest, of those that differ in what is fitted.

    predicted: the network's distribution (T − 1, V) before each token of a piece but the first, one
    array a piece, as from `likelihood.predictions`.
    """
    network = np.concatenate(predicted).astype(np.float32)  # (N, V)
    targets = np.concatenate([piece[1:] for piece in pieces])
    recalled, rows, counted, places = [], [], [], iter(network)
    for piece in tqdm(pieces, "memory", unit="piece", leave=False, disable=None):
        past = Past(same=memory.same)
        for token in piece[:-1]:
            past.add(int(token))
            p, row = memory.recall(next(places), past)
            recalled.append(p.astype(np.float32))
            rows.append(row)
            if memory.ngrams is not None:
                counted.append(memory.ngrams(past.tokens).astype(np.float32))
    remembered, rows = np.stack(recalled), np.array(rows)
    hits = np.arange(len(rows)), targets
    shares = fit_shares(remembered[hits].astype(float), network[hits].astype(float), rows)
    share = shares[rows, None].astype(np.float32)
    voices = [share * remembered + (1 - share) * network]
    found = {"shares": shares, "exponents": fit_exponents(voices, targets, rows)}
    if memory.ngrams is not None:
        found["beside_ngrams"] = fit_exponents([*voices, np.stack(counted)], targets, rows)
    return replace(memory, **found)


def best_memory(trained: Checkpoint, data: Dataset) -> Memory:
    """The memory for a network that is best on validation, of those of each sharpness.

    A network that ends its pieces by itself will write with it: a match that overlaps itself then
    counts for nothing, because what was said twice in a row would return too often; and exponents
    below 1, good for likelihood, would make each note a little more random. So all are 1. And the
    odds of the memory are doubled, because a return ends with the first note that is drawn
    otherwise. With the weights for n-grams beside it, if `TrainConfig.memory` says "ngrams".
    """
    writes, pieces = EOS in data.vocabulary, data.valid
    predicted = predictions(trained.predictor, pieces)
    plain = Memory(same=trained.same, overlap=0.0 if writes else OVERLAP)

    def nats(memory: Memory) -> float:
        return sum(memory.losses(*pair).sum() for pair in zip(pieces, predicted))

    tried = [fit_memory(pieces, predicted, replace(plain, sharpness=s)) for s in SHARPNESSES]
    best = min(tried, key=nats)
    if trained.train_config.memory == "ngrams":
        best = fit_memory(pieces, predicted, replace(best, ngrams=ngrams_of(data)))
    if writes:
        odds = TRUST * best.shares / (1 - best.shares)
        best = replace(best, shares=odds / (1 + odds), exponents=np.ones_like(best.exponents))
    return replace(best, ngrams=None)


def best_keys(trained: Checkpoint, data: Dataset) -> tuple[int, ...]:
    """The keys in which a network should read a piece: all, or its own, as validation says.

    A network that never learned other keys reads each piece in its own.
    """
    if not trained.train_config.transpose:
        return OWN_KEY
    in_all_keys = replace(trained, keys=ALL_KEYS).predictor
    worse = nll(trained.model, data.valid).mean <= nll(in_all_keys, data.valid).mean
    return OWN_KEY if worse else ALL_KEYS


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


def fit_exponents(
    voices: Sequence[np.ndarray], targets: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The exponents (R, K) of voices, found by L-BFGS; their likelihood has a single maximum.

    voices: K distributions for every token, each (N, V); targets: the tokens that came, (N,).
    """
    logs = torch.from_numpy(np.log(np.maximum(np.stack(voices, axis=2), FLOOR)))  # (N, V, K)
    came, rows = torch.from_numpy(targets.astype(np.int64)), torch.from_numpy(rows)
    prior = torch.tensor([NGRAMS if len(voices) == 2 else (1.0,)] * len(SHARES))
    exponents = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([exponents], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = (logs * exponents[rows][:, None]).sum(dim=2)  # (N, V)
        nats = cross_entropy(scores, came, reduction="sum")
        nats = nats + PRIOR * (exponents - prior).square().sum()
        nats.backward()
        return nats

    optimizer.step(loss)
    return exponents.detach().numpy().astype(float)
