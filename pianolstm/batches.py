"""Batches of one epoch and their losses: windows with one prediction each, or carried streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from pianolstm.checkpoint import TrainConfig
from pianolstm.dataset import IGNORE, streams, windows
from pianolstm.distributed import rank, world
from pianolstm.networks import State

Pieces = Sequence[Sequence[np.ndarray]]  # [piece][key] → ids (T,)


class Objective(nn.Module):
    """The loss of a batch, as a module: what several processes keep in step is its gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, inputs: torch.Tensor, targets: torch.Tensor, state: State | None, tokens: int
    ) -> tuple[torch.Tensor, State | None]:
        """Ids (B, T) and their targets → the sum of their losses over `tokens`, and the state.

        Targets (B,) without a state are what follows whole windows, as the article trains.
        """
        if state is None:
            logits = self.model.predict_next(inputs)
        else:
            logits, state = self.model(inputs, state)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORE, reduction="sum"
        )
        return loss / tokens, state


def epoch_losses(
    model: nn.Module,
    pieces: Pieces,
    config: TrainConfig,
    epoch: int,
    progress: float = 0.0,
    objective: nn.Module | None = None,
) -> Iterator[tuple[torch.Tensor, int]]:
    """The batches of one epoch as (mean loss over its tokens, number of tokens).

    Order and keys depend on the seed and the epoch alone, so that a resumed run repeats them.
    Each piece is in a random key (after Walder 2016, "Modelling Symbolic Music: Beyond the Piano
    Roll") until `progress`, the share of the run done, says otherwise. Of several processes each
    takes its rows of every batch; their losses add up to the batch's.
    """
    objective, draw = objective or Objective(model), np.random.default_rng([config.seed, epoch])
    device, mine = next(model.parameters()).device, slice(rank(), None, world())
    transpose = config.transpose and progress < config.transpose_until
    keys = [draw.integers(len(p)) if transpose else len(p) // 2 for p in pieces]
    if model.reads == "windows":
        ids = np.concatenate([versions[key] for versions, key in zip(pieces, keys)])
        every, next_ids = windows(ids, config.steps)
        order = torch.from_numpy(draw.permutation(len(every))).split(config.batch)
        # Fewer windows than processes would leave one of them without work
        batches = ((every[i], next_ids[i], None) for i in order if len(i) >= world())
        state = None
    else:
        state = model.zero_state(len(range(config.batch)[mine]))
        order = draw.permutation(len(pieces))
        batches = streams((pieces[i][keys[i]] for i in order), config.batch, config.steps)
    for inputs, targets, fresh in batches:
        if state is not None:
            state = carry(state, fresh[mine].to(device))
        tokens = int((targets != IGNORE).sum())
        seen = noisy(inputs[mine], config.noise).to(device)
        loss, state = objective(seen, targets[mine].to(device), state, tokens)
        yield loss, tokens


def batches_in_epoch(model: nn.Module, pieces: Pieces, config: TrainConfig) -> int:
    """Batches in an epoch: exact for windows; for streams as many as in the order given."""
    lengths = np.array([len(versions[0]) for versions in pieces])
    if model.reads == "windows":
        return max(1, -(-(lengths.sum() - config.steps) // config.batch))
    rows = np.zeros(config.batch, dtype=int)  # chunks of the pieces that each row reads
    for chunks in np.maximum(lengths - 2, -1) // config.steps + 1:
        rows[rows.argmin()] += chunks
    return max(1, rows.max())


def noisy(ids: torch.Tensor, share: float) -> torch.Tensor:
    """Ids (B, T) of which about `share` are replaced by others, drawn from the same batch.

    A network that writes reads its own mistakes; so it has to learn to go on after wrong tokens.
    Source: Xie et al. 2017, "Data Noising as Smoothing in Neural Network Language Models", unigram
    noising. Raises ValueError for a share that is none.
    """
    if not 0 <= share < 1:
        raise ValueError(f"noise {share}: a share from 0 to less than 1")
    if not share:
        return ids
    others = ids.flatten()[torch.randint(ids.numel(), ids.shape)]
    return torch.where(torch.rand(ids.shape) < share, others, ids)


def carry(state: State, fresh: torch.Tensor) -> State:
    """The state for the next chunk: cut off from the past's gradient, zero for rows that start."""
    keep = ~fresh[:, None]
    return [tuple(part.detach() * keep for part in layer) for layer in state]
