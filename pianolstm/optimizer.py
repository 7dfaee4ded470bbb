"""The optimiser of a training, and how its rate rises and falls."""

from __future__ import annotations

import math

import torch
from torch import nn

from pianolstm.checkpoint import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or RMSprop as in Keras 2, with which the article ran.

    RMSprop: v ← 0.9 v + 0.1 g², x ← x − rate · g / (√v + 1e-7). ε stands outside the root, as in
    `torch.optim.RMSprop`. Keras 3 moved it under the root, g / √(v + ε), which caps the step where
    √v is below 3e-4; on the plateau the gradients of the article's network are 1e-6 to 1e-9, and
    its LSTM layers would hardly move. Raises ValueError for another name.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(weights, lr=config.learning_rate, alpha=0.9, eps=1e-7)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            weights, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
    raise ValueError(f"optimizer {config.optimizer!r}: use adamw or rmsprop")


def rate_factor(progress: float, config: TrainConfig) -> float:
    """Share of the learning rate at `progress` (0 to 1) of a run: linear rise, then a cosine.

    Sources: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2, for the rise, and
    Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """
    if config.constant_rate:
        return 1.0
    if progress < config.warmup:
        return max(progress, 1e-4) / config.warmup
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return config.final_rate + (1 - config.final_rate) * cosine
