"""Sampling: from logits to the next token, and from a prompt to a piece.

Knows ids only. Every piece has its own seed and its own random generator, and a draw is made by
inverse transform sampling in float64, so that the same checkpoint and seed give the same tokens on
any machine (a token could differ only where the draw falls within rounding of a boundary).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pianolstm.memory import Memory, Past
from pianolstm.networks import State
from pianolstm.vocabulary import UNK_ID

Rule = Callable[[int], Sequence[int]]  # told a piece's ids one by one; ids that must not come next

FEW = 8  # pieces side by side, up to which one thread is faster than several


def probabilities(
    logits: np.ndarray,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    forbid: Sequence[int] = (UNK_ID,),
) -> np.ndarray:
    """Logits (V,) → the distribution that is sampled from, shape (V,), float64.

    `temperature` divides the logits: below 1 the likely becomes likelier. `top_k` keeps the k
    likeliest ids, `top_p` the smallest set that holds a share p of the probability (Holtzman et
    al. 2020, "The Curious Case of Neural Text Degeneration"). `forbid` never occurs.
    Raises ValueError for settings that make no sense.
    """
    check_sampling(temperature, top_k, top_p)
    scaled = logits.astype(np.float64) / temperature
    scaled[list(forbid)] = -np.inf
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    if top_k is not None or top_p is not None:
        order = np.argsort(-p, kind="stable")
        keep = len(p) if top_k is None else min(top_k, len(p))
        if top_p is not None:
            before = np.cumsum(p[order]) - p[order]  # what stands before each id in the ranking
            keep = min(keep, int((before < top_p).sum()))
        p[order[keep:]] = 0.0
        p /= p.sum()
    return p


def check_sampling(
    temperature: float, top_k: int | None = None, top_p: float | None = None
) -> None:
    """Raise ValueError, with the way out, for settings that cannot be sampled with."""
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0, such as 0.1")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it must be above 0 and at most 1")


def sample_next(p: np.ndarray, generator: np.random.Generator) -> int:
    """Draw an id from a distribution (V,): the first whose cumulative share exceeds the draw."""
    cumulative = np.cumsum(p)
    draw = generator.random() * cumulative[-1]
    return int(np.searchsorted(cumulative, draw, side="right"))


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    length: int,
    seeds: Sequence[int] = (0,),
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    progress: bool = False,
    stop: int | None = None,
    counts: Mapping[int, int] | None = None,
    memory: Memory | None = None,
    rules: Sequence[Rule] = (),
) -> list[np.ndarray]:
    """Continue each prompt by `length` ids, all pieces side by side, the state carried.

    prompts: ids, none empty; seeds: one a piece. `greedy` takes the likeliest id every time. At
    `stop`, the id of `<eos>`, a piece ends before it. `counts` are ids that number something, see
    `numbered`. With a `memory`, each piece recalls its own past. `rules`, one a piece, forbid ids.
    `progress` shows a bar on a terminal. Returns the new ids, one array a piece. Raises ValueError
    for impossible prompts, seeds or settings.
    """
    check_sampling(temperature, top_k, top_p)
    if not all(map(len, prompts)):
        raise ValueError("an empty prompt; give at least one token to start from")
    settings = temperature, 1 if greedy else top_k, top_p
    rules = rules or [None] * len(prompts)
    pieces = [_Piece(*each, memory) for each in zip(prompts, seeds, rules, strict=True)]
    with torch.inference_mode(), threads_for(len(pieces)):
        logits, state = _read_prompts(model.eval(), prompts)
        total = length if stop is None else math.inf  # nobody knows when a piece will end
        hidden = None if progress else True  # None: unless there is a terminal
        for _ in tqdm(range(length), "compose", total, unit="token", disable=hidden):
            for piece, row in zip(pieces, logits.cpu().numpy()):
                if not piece.ended:
                    drawn = sample_next(piece.probabilities(row, settings), piece.generator)
                    piece.add(numbered(drawn, piece.ids, counts or {}), stop)
            if all(piece.ended for piece in pieces):
                break
            last = torch.tensor([piece.ids[-1] for piece in pieces], device=logits.device)
            logits, state = model.step(last, state)
    new = [piece.ids[len(prompt) :] for piece, prompt in zip(pieces, prompts)]
    return [np.array(ids, dtype=np.int64) for ids in new]


class _Piece:
    """A piece that is being written, and what only it knows."""

    def __init__(
        self, prompt: Sequence[int], seed: int, rule: Rule | None, memory: Memory | None
    ) -> None:
        self.generator, self.rule, self.memory = np.random.default_rng(seed), rule, memory
        self.past = memory and Past(same=memory.same)
        self.ids: list[int] = []
        self.forbidden, self.ended = [UNK_ID], False
        for token in prompt:
            self.add(int(token))

    def add(self, token: int, stop: int | None = None) -> None:
        """Go on by one id, or end before `stop`."""
        self.ended = token == stop
        if self.ended:
            return
        self.ids.append(token)
        if self.past:
            self.past.add(token)
        if self.rule:
            self.forbidden = [UNK_ID, *self.rule(token)]

    def probabilities(self, logits: np.ndarray, settings: tuple) -> np.ndarray:
        """The distribution of the next id (V,), with what the memory and the rule say of it."""
        if self.memory:
            with np.errstate(divide="ignore"):  # the logarithm of nought is minus infinity
                logits = np.log(self.memory.mix(probabilities(logits, forbid=()), self.past))
        return probabilities(logits, *settings, forbid=self.forbidden)


def numbered(drawn: int, ids: Sequence[int], counts: Mapping[int, int]) -> int:
    """The id that comes after `ids` where `drawn` was drawn.

    `counts` are ids that number something, such as bars, each with the one that must follow it: the
    network says *when* one comes, and arithmetic which.
    """
    if drawn not in counts:
        return drawn
    last = next((token for token in reversed(ids) if token in counts), None)
    return counts.get(last, drawn)


@contextmanager
def threads_for(pieces: int) -> Iterator[None]:
    """One thread while few pieces are written: a step is then too short to be worth sharing.

    The step of a single piece takes a quarter of a millisecond; handing it to a second core costs
    as much, and far more where that core is busy.
    """
    before = torch.get_num_threads()
    if pieces <= FEW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read_prompts(model: nn.Module, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, State]:
    """Logits and state after each prompt, one prompt at a time (their lengths differ)."""
    device = next(model.parameters()).device
    states, rows = [], []
    for prompt in prompts:
        state = model.zero_state(1)
        for token in prompt:
            logits, state = model.step(torch.tensor([int(token)], device=device), state)
        states.append(state)
        rows.append(logits)
    layers = zip(*states)  # each of every piece
    return torch.cat(rows), [tuple(map(torch.cat, zip(*layer))) for layer in layers]


def generate_by_window(model: nn.Module, start: Sequence[int], length: int = 500) -> np.ndarray:
    """The article's loop: the whole window through the network for every single token, argmax.

    `start` is the first window, of the length the network was trained with. Returns ids (length,).
    """
    ids, device = [int(i) for i in start], next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        for i in range(length):
            window = torch.tensor([ids[i:]], device=device)
            ids.append(int(model.predict_next(window)[0].argmax()))
    return np.array(ids[len(start) :])


def random_window(ids: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    """A window at a random place, the article's starting point.

    The article draws with `randint(0, n - 1)`, which never picks the last window; neither do we.
    """
    start = int(generator.integers(0, max(1, len(ids) - length - 1)))
    return ids[start : start + length]
