"""The training loop: one for all networks, interruptible at any moment.

`train` sets a run up, then takes one epoch after the other: train, evaluate, save.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pianolstm.batches import Objective, Pieces, batches_in_epoch, epoch_losses
from pianolstm.checkpoint import (
    Checkpoint,
    CheckpointError,
    TrainConfig,
    load_checkpoint,
    load_pretrained,
    read_file,
    save_checkpoint,
)
from pianolstm.dataset import Dataset
from pianolstm.distributed import all_reduce, broadcast, rank, world, wrap_ddp
from pianolstm.evaluation import nll
from pianolstm.networks import NetworkConfig, build_network, check_interface, pick_device

# ---- a run


@dataclass
class Run:
    """A training in progress: what a checkpoint holds, and what only the loop needs."""

    checkpoint: Checkpoint
    optimizer: torch.optim.Optimizer
    objective: nn.Module
    data: Dataset
    folder: Path
    began: float  # on `time.perf_counter`, the time of earlier calls counted in

    @property
    def seconds(self) -> float:
        """Seconds of training so far, also before a stop; the same in all processes."""
        device = next(self.checkpoint.model.parameters()).device
        return broadcast(time.perf_counter() - self.began, device)

    def progress(self, epochs: float, reserve: float = 0.0) -> float:
        """How much of the run is done, 0 to 1; `reserve` are seconds needed for something else."""
        config = self.checkpoint.train_config
        share = epochs / config.epochs
        if config.seconds:  # only the clock ends such a run before its last epoch does
            share = max(min(share, 0.9999), (self.seconds + reserve) / config.seconds)
        return min(1.0, share)


def train(
    data: Dataset,
    network: NetworkConfig,
    config: TrainConfig,
    folder: str | Path,
    progress: bool | None = None,
    on_epoch: Callable[[dict], None] = lambda row: None,
    command: str = "",
) -> Checkpoint:
    """Train until `config.epochs` (or `config.seconds`) and return the best by validation loss.

    Writes best.safetensors and last.safetensors into `folder`, and goes on from the latter where it
    is there already, to exactly the weights of an uninterrupted run (of one process; others draw
    new dropout). `progress` shows a bar; None means only on a terminal. `on_epoch` gets the
    history's row after each epoch. `command` is noted in the file. In a process group all processes
    call this, and the first one writes.

    Raises what `check_interface` does, CheckpointError if the folder holds another run, ValueError
    for impossible settings and for a loss that is no number.
    """
    run = set_up(data, network, config, Path(folder), command)
    history = run.checkpoint.history
    hidden = None if progress is None else not progress
    for epoch in range(len(history) + 1, config.epochs + 1):
        if history and _is_over(history[-1], config.seconds):
            break
        row = train_epoch(run, epoch, hidden if rank() == 0 else True)
        valid = nll(run.checkpoint.model, data.valid, window=config.steps).mean
        history.append(row | {"valid_loss": round(valid, 6), "seconds": round(run.seconds, 3)})
        if rank() == 0:
            save_epoch(run)
            on_epoch(history[-1])
    if rank():
        return run.checkpoint
    best = load_checkpoint(run.folder / "best.safetensors")
    best.history = history  # also what came after the best epoch
    save_checkpoint(run.folder / "best.safetensors", best)
    return best


def _is_over(row: dict, budget: float | None) -> bool:
    """Whether the epoch of this row was ended by the same time budget, or took more than it."""
    return budget is not None and (row.get("stopped_after") == budget or row["seconds"] >= budget)


def set_up(
    data: Dataset, network: NetworkConfig, config: TrainConfig, folder: Path, command: str = ""
) -> Run:
    """A fresh run, or the one that `folder` holds; see `train` for what it raises."""
    tokens, encoding = data.vocabulary.tokens, data.encoding
    grammar = encoding.grammar(tokens)
    for name in ("epochs", "batch", "steps"):
        if getattr(config, name) < 1:
            raise ValueError(f"--{name} {getattr(config, name)}: give at least 1")
    if config.batch < world():
        raise ValueError(f"a batch of {config.batch} rows is too small for {world()} processes")
    if config.noise and network.grammar and grammar is not None:
        raise ValueError(
            f"noise {config.noise}: after a wrong token the grammar of {type(encoding).__name__} "
            "forbids what really follows. Leave noise out, or the grammar"
        )
    torch.manual_seed(config.seed)
    model = build_network(network, encoding.features(tokens), grammar).to(pick_device())
    check_interface(model, len(tokens))
    if config.start:
        go_on_from(config.start, model, data)
    checkpoint = Checkpoint(model, data.vocabulary, encoding, [], config, command)
    run = Run(checkpoint, make_optimizer(model, config), Objective(model), data, folder, 0.0)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "last.safetensors").exists():
        resume(run)
    if rank():  # its own dropout
        torch.manual_seed(config.seed + rank() + world() * len(checkpoint.history))
    run.objective = wrap_ddp(run.objective)
    spent = checkpoint.history[-1]["seconds"] if checkpoint.history else 0.0
    run.began = time.perf_counter() - spent
    return run


def go_on_from(start: str, model: nn.Module, data: Dataset) -> None:
    """Give a network the weights of another. Raises ValueError if they are not of one make."""
    old = load_pretrained(start)
    sizes = [[weight.shape for weight in made.parameters()] for made in (old.model, model)]
    alike = (old.vocabulary, old.encoding) == (data.vocabulary, data.encoding)
    if not alike or sizes[0] != sizes[1]:
        raise ValueError(
            f"start {start}: another encoding, vocabulary or size. Give the encoding of its own "
            f"command, {old.command!r}, and leave sizes out"
        )
    model.load_state_dict(old.model.state_dict())


def train_epoch(run: Run, epoch: int, hidden: bool | None) -> dict:
    """One pass over the training pieces, or as much as there is time for: a row of the history."""
    model, config = run.checkpoint.model, run.checkpoint.train_config
    total = batches_in_epoch(model, run.data.train, config)
    # Validation must fit into the time budget, too: a forward pass is a quarter of a step.
    looks = batches_in_epoch(model, [[ids] for ids in run.data.valid], config) / 4
    loss_sum, tokens, fastest, done = 0.0, 0, math.inf, run.progress(epoch - 1)
    model.train()
    began = last = time.perf_counter()
    losses = epoch_losses(model, run.data.train, config, epoch, done, run.objective)
    bar = tqdm(losses, f"epoch {epoch}", total, leave=False, disable=hidden, unit="batch")
    for batches, (loss, n) in enumerate(bar, 1):
        loss_sum, tokens = loss_sum + float(loss.detach()) * n, tokens + n
        if not math.isfinite(loss_sum):
            last = f"{run.folder}/last.safetensors holds epoch {epoch - 1}. " if epoch > 1 else ""
            raise ValueError(
                f"the loss is {float(loss)} at batch {batches} of epoch {epoch}; training stops. "
                f"{last}Use a lower learning_rate, or clip large gradients"
            )
        for group in run.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_factor(done, config)
        run.optimizer.zero_grad()
        (loss * world()).backward()  # the processes' gradients are averaged
        if config.clip:  # Pascanu, Mikolov and Bengio 2013, algorithm 1
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        run.optimizer.step()
        bar.set_postfix_str(f"loss {loss_sum / tokens:.3f}")
        now = time.perf_counter()
        fastest, last = min(fastest, now - last), now
        reserve = fastest * looks if batches > 2 else 0.0  # the first batches are slow
        done = run.progress(epoch - 1 + min(1.0, batches / total), reserve)
        if config.seconds and done >= 1:
            break
    train_loss = all_reduce(loss_sum, next(model.parameters()).device) / tokens
    row = {"epoch": epoch, "batches": batches, "train_loss": round(train_loss, 6),
           "tokens_per_second": round(tokens / (time.perf_counter() - began))}  # fmt: skip
    return row | ({"stopped_after": config.seconds} if config.seconds and done >= 1 else {})


# ---- the optimiser and its rate


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


# ---- saving and going on


def data_digest(pieces: Pieces) -> torch.Tensor:
    """A fingerprint of training data: the lengths of all pieces and the tokens of the first 100."""
    lengths = [len(versions[0]) for versions in pieces]
    first = [np.asarray(versions[0]).tolist() for versions in pieces[:100]]
    digest = hashlib.sha256(repr((lengths, first)).encode()).digest()
    return torch.tensor(list(digest), dtype=torch.uint8)


def save_epoch(run: Run) -> None:
    """Best and last checkpoint, and the article's own whenever the training loss improves."""
    checkpoint, folder = run.checkpoint, run.folder
    row, history = checkpoint.history[-1], checkpoint.history
    if row["valid_loss"] <= min(h["valid_loss"] for h in history):
        save_checkpoint(folder / "best.safetensors", checkpoint)
    lowest = row["train_loss"] <= min(h["train_loss"] for h in history)
    if checkpoint.train_config.keep_improvements and lowest:
        name = f"weights-improvement-{row['epoch']:02d}-{row['train_loss']:.4f}-bigger"
        save_checkpoint(folder / f"{name}.safetensors", checkpoint)
    extra = {"resume.rng": torch.get_rng_state(), "resume.data": data_digest(run.data.train)}
    if torch.cuda.is_available():
        extra["resume.rng_cuda"] = torch.cuda.get_rng_state()
    for index, state in run.optimizer.state_dict()["state"].items():
        extra |= {f"resume.optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    save_checkpoint(folder / "last.safetensors", checkpoint, extra=extra)


def resume(run: Run) -> None:
    """Put weights, optimizer, random state and history of last.safetensors into a fresh run.

    Raises CheckpointError, naming the first setting that differs and both its values, for a run
    with other settings, music or vocabulary; only the time budget may change.
    """
    path = run.folder / "last.safetensors"
    last, tensors = load_checkpoint(path), read_file(path)[1]
    music = data_digest(run.data.train), tensors["resume.data"]
    mine, theirs = map(_settings, (run.checkpoint, last), music)
    for name, had in theirs.items():
        if had != (has := mine.get(name)):
            raise CheckpointError(
                f"{path}: holds a run with {name} = {str(had)[:60]}, not {str(has)[:60]}. Use "
                "another folder, or delete this one to start again"
            )
    run.checkpoint.model.load_state_dict(last.model.state_dict())
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("resume.optimizer."):
            index, name = key.removeprefix("resume.optimizer.").split(".")
            state.setdefault(int(index), {})[name] = value
    groups = run.optimizer.state_dict()["param_groups"]
    run.optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["resume.rng"])
    if "resume.rng_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["resume.rng_cuda"])
    run.checkpoint.history.extend(last.history)


def _settings(checkpoint: Checkpoint, music: torch.Tensor) -> dict:
    """What must be equal for a run to go on, by name."""
    parts = checkpoint.encoding.to_dict() | asdict(checkpoint.model.config)
    parts |= asdict(replace(checkpoint.train_config, seconds=None))
    return parts | {"vocabulary": checkpoint.vocabulary.tokens, "music": music.tolist()}
