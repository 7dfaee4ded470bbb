"""Sequential Monte Carlo: what a network would have written, had it been told some of the tokens.

Some tokens are known in advance: those of a melody. A particle is one way to fill in the others. In
each frame all particles read the known tokens, and each is weighted by the probability that it gave
to them; then each draws its own tokens. Where few particles carry nearly all of the weight, they
are drawn anew in proportion to it: the good ones multiply and the bad ones end (Doucet and Johansen
2011, "A Tutorial on Particle Filtering and Smoothing", sections 3.3 to 3.5). Knows ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pianolstm.generation import check_sampling, sample_next, threads_for
from pianolstm.networks import State
from pianolstm.vocabulary import UNK_ID


@dataclass(frozen=True)
class Frame:
    """What is known of a frame in advance."""

    known: Sequence[int]  # ids that come first
    allowed: np.ndarray  # bool (V,): which ids may be drawn after them


@dataclass(frozen=True)
class Particles:
    """P particles over F frames, with their genealogy."""

    drawn: list[np.ndarray]  # for each frame the ids drawn, (P, ·), −1 where a particle is ready
    parents: list[np.ndarray]  # for each frame where a particle was in the frame before, (P,)
    weights: np.ndarray  # in the end, (P,), their sum is 1
    chosen: int  # one of them, drawn by its weight
    log_evidence: float  # estimated log-probability of all that was known, at temperature 1

    def lineage(self, particle: int) -> np.ndarray:
        """The place of a particle's ancestor in each frame, shape (F,)."""
        places = []
        for parents in reversed(self.parents):
            places.append(particle)
            particle = parents[particle]
        return np.array(places[::-1], dtype=int)

    def path(self, particle: int) -> list[np.ndarray]:
        """The ids that a particle and its ancestors drew, one array a frame."""
        rows = [ids[place] for ids, place in zip(self.drawn, self.lineage(particle))]
        return [row[row >= 0] for row in rows]


def run_particles(
    model: nn.Module,
    frames: Sequence[Frame],
    start: int,
    end: int,
    particles: int = 64,
    seed: int = 0,
    temperature: float = 1.0,
) -> Particles:
    """Fill in the frames after the id `start`; `end` is the last id of every frame.

    Particles approximate p(drawn | known) at temperature 1. Below 1 they approximate the same
    distribution raised to the power 1 / temperature, in which likely *sequences* are likelier still
    (not only likely tokens: the weights see to that). Raises ValueError for less than one particle,
    or an impossible temperature.
    """
    check_sampling(temperature)
    if particles < 1:
        raise ValueError(f"particles is {particles}; give at least 1")
    generator, weights, evidence = np.random.default_rng(seed), np.zeros(particles), 0.0
    drawn, parents = [], []
    with torch.inference_mode(), threads_for(1):  # a step is too short to share
        logits, state = _read(model.eval(), start, model.zero_state(particles))
        for frame in tqdm(frames, desc="harmonise", unit="frame", disable=None):
            for token in frame.known:
                weights += torch.log_softmax(logits.double(), 1)[:, token].numpy() / temperature
                logits, state = _read(model, token, state)
            parent = np.arange(particles)
            if effective_number(weights) < particles / 2:
                evidence += np.logaddexp.reduce(weights) - np.log(particles)
                parent = resample(weights, generator)
                weights = np.zeros(particles)
                logits, state = _pick(logits, state, torch.from_numpy(parent))
            parents.append(parent)
            ids, logits, state, inside = draw_frame(
                model, frame.allowed, end, logits, state, generator, temperature
            )
            drawn.append(ids)
            weights += inside
    total = np.logaddexp.reduce(weights)
    shares, evidence = np.exp(weights - total), evidence + total - np.log(particles)
    return Particles(drawn, parents, shares, sample_next(shares, generator), float(evidence))


def effective_number(log_weights: np.ndarray) -> float:
    """How many equal particles weigh as much: (Σ w)² / Σ w², from 1 to P (section 3.5)."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum())


def resample(log_weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Which particle each new one continues, (P,), in proportion to the weights.

    Systematic resampling: one draw places P equal steps on the cumulative weights (section 3.4).
    """
    cumulative = np.cumsum(np.exp(log_weights - log_weights.max()))
    steps = (generator.random() + np.arange(len(log_weights))) / len(log_weights)
    return np.searchsorted(cumulative, steps * cumulative[-1], side="right")


def _read(model: nn.Module, token: int, state: State) -> tuple[torch.Tensor, State]:
    """One step in which all particles read the same id."""
    return model.step(torch.full((len(state[0][0]),), token), state)


def _pick(logits: torch.Tensor, state: State, rows: torch.Tensor) -> tuple[torch.Tensor, State]:
    """Logits and state of some particles; a particle may come several times."""
    return logits[rows], [tuple(part[rows] for part in layer) for layer in state]


def draw_frame(
    model: nn.Module, allowed: np.ndarray, end: int, logits: torch.Tensor, state: State,
    generator: np.random.Generator, temperature: float,
) -> tuple[np.ndarray, torch.Tensor, State, np.ndarray]:  # fmt: skip
    """Let every particle draw until the end of its frame, which the grammar lets come.

    Returns ids (P, ·), logits and state after them, and for each particle the logarithm of what it
    gave to all that is allowed: the weight that corrects for drawing from that alone.
    """
    particles = len(logits)
    forbidden = torch.from_numpy(~allowed)
    forbidden[UNK_ID] = True
    columns, inside, active = [], np.zeros(particles), np.arange(particles)
    while len(active):
        rows = torch.from_numpy(active)
        before = logits[rows].double()
        masked = before.masked_fill(forbidden, -torch.inf)
        tempered = (masked - before.logsumexp(1, keepdim=True)) / temperature
        inside[active] += tempered.logsumexp(1).numpy()
        cumulative = torch.softmax(tempered, 1).cumsum(1).numpy()
        draws = generator.random(particles)[active] * cumulative[:, -1]
        column = np.full(particles, -1)
        column[active] = (cumulative > draws[:, None]).argmax(1)
        columns.append(column)
        new = torch.from_numpy(column[active])
        after, after_state = model.step(new, _pick(logits, state, rows)[1])
        logits = logits.index_copy(0, rows, after)
        state = [tuple(old.index_copy(0, rows, part) for old, part in zip(*layers))
                 for layers in zip(state, after_state)]  # fmt: skip
        active = active[column[active] != end]
    return np.column_stack(columns), logits, state, inside
