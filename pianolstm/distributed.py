"""Several processes that train as one: what torchrun starts, PyTorch's DDP keeps in step.

Each process holds the whole network and takes every n-th row of every batch, and
DistributedDataParallel averages the gradients. So N processes take the same steps as one, up to the
order in which numbers are added and to dropout, which each draws for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun has started; without torchrun, do nothing."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def world() -> int:
    """Number of processes; 1 without torchrun."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def wrap_ddp(module: nn.Module) -> nn.Module:
    """The module with its gradients averaged over all processes."""
    if world() == 1:
        return module
    return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def all_reduce(value: float, device: torch.device) -> float:
    """The sum over all processes."""
    if world() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float32, device=device)
    distributed.all_reduce(total)
    return float(total)


def broadcast(value: float, device: torch.device) -> float:
    """What the first process holds: clocks differ, and all must stop at the same batch."""
    return all_reduce(0.0 if rank() else value, device)
