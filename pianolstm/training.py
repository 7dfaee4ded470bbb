"""The training loop, and checkpoints that can rebuild their own model.

A checkpoint is one safetensors file: the weights, and as JSON in its header the model's
configuration, the vocabulary, the encoding and the history. Nothing is pickled.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from pianolstm.dataset import IGNORE, streams, windows
from pianolstm.encoding import ArticleEncoding, encoding_from_dict
from pianolstm.evaluation import nll
from pianolstm.model import ModelConfig, RecurrentNetwork, State, build_model, pick_device
from pianolstm.vocabulary import Vocabulary, VocabularyMismatchError

Pieces = Sequence[Sequence[np.ndarray]]  # [piece][transposition] → ids (T,)


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults are `NoteLSTM`'s; `article_config` gives the article's."""

    epochs: int = 60  # passes over all pieces, each in one key drawn at random
    batch: int = 16  # B: parallel rows, or windows
    steps: int = 64  # T: steps of a chunk, or the window's length
    learning_rate: float = 4e-3
    warmup: float = 0.02  # share of the run in which the rate rises to its maximum
    final_rate: float = 0.02  # share of the maximum at the end of the cosine
    weight_decay: float = 0.03
    clip: float = 1.0  # largest gradient norm; 0 = off
    transpose: bool = True  # a new random key for each piece in each epoch
    keep_improvements: bool = False  # the article's checkpoint whenever the training loss improves
    seconds: float | None = None  # stop early after so long
    seed: int = 0


def article_config(**changes) -> TrainConfig:
    """The article's training: windows of 100, batches of 64, RMSprop, 200 epochs, nothing else."""
    config = TrainConfig(epochs=200, batch=64, steps=100, learning_rate=1e-3, weight_decay=0.0,
                         clip=0.0, transpose=False, keep_improvements=True)  # fmt: skip
    return replace(config, **changes)


class KerasRMSprop(torch.optim.Optimizer):
    """RMSprop with the update rule and defaults of Keras: x ← x − lr · g / √(v + ε).

    PyTorch's own adds ε outside the root, which for small gradients is another step size.
    Source: keras.optimizers.RMSprop (rho 0.9, epsilon 1e-7), after Hinton's lecture 6e (2012).
    """

    def __init__(self, params, lr: float = 1e-3, rho: float = 0.9, eps: float = 1e-7) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(group["rho"]).addcmul_(p.grad, p.grad, value=1 - group["rho"])
                p.addcdiv_(p.grad, (v + group["eps"]).sqrt(), value=-group["lr"])


@dataclass
class Checkpoint:
    """A network with all that is needed to use it."""

    model: RecurrentNetwork
    vocabulary: Vocabulary
    encoding: ArticleEncoding
    history: list[dict] = field(default_factory=list)  # one row an epoch
    train_config: TrainConfig = field(default_factory=TrainConfig)


class CheckpointError(ValueError):
    """A checkpoint file that cannot be used. Says which, what was found and what to do."""


def save_checkpoint(
    path: str | Path,
    checkpoint: Checkpoint,
    dtype: torch.dtype = torch.float32,
    extra: dict[str, torch.Tensor] | None = None,
) -> Path:
    """Write a checkpoint whole or not at all: into a temporary file, then renamed over the old one.

    `dtype` is the precision of the stored weights; `extra` holds further tensors (for resuming).
    """
    path = Path(path)
    weights = {k: v.detach().to("cpu", dtype) for k, v in checkpoint.model.state_dict().items()}
    header = {
        "format": "pianolstm 1",
        "model": asdict(checkpoint.model.config),
        "encoding": checkpoint.encoding.to_dict(),
        "vocabulary": checkpoint.vocabulary.tokens[1:],
        "train": asdict(checkpoint.train_config),
        "history": checkpoint.history,
    }
    data = save(
        {k: v.contiguous() for k, v in {**weights, **(extra or {})}.items()},
        metadata={key: json.dumps(value, ensure_ascii=False) for key, value in header.items()},
    )
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path.name}: no such checkpoint. Check the path, or train one")
    try:
        with safe_open(path, framework="pt") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path.name}: damaged, or no checkpoint of ours ({error}). Fetch or train it again"
        ) from error
    if header.get("format") != "pianolstm 1":
        raise CheckpointError(
            f"{path.name}: a safetensors file without our header (format "
            f"{header.get('format')!r} instead of 'pianolstm 1'). Use a file that train wrote"
        )
    return header, tensors


def load_checkpoint(path: str | Path, vocabulary: Vocabulary | None = None) -> Checkpoint:
    """Rebuild a network from its file, in evaluation mode and full precision.

    Give `vocabulary` to make sure that it is the one the network was trained with: raises
    `VocabularyMismatchError` if not. Raises `CheckpointError` for a missing or damaged file.
    """
    header, tensors = _read(Path(path))
    own = Vocabulary(header["vocabulary"])
    if vocabulary is not None and vocabulary != own:
        raise VocabularyMismatchError(
            f"{Path(path).name} was trained with {len(own)} tokens, the vocabulary given has "
            f"{len(vocabulary)} ({len(set(own.tokens) & set(vocabulary.tokens))} in common). Use "
            "load_checkpoint(path).vocabulary, or train anew with yours"
        )
    model = build_model(_model_config(header))
    weights = {k: v.float() for k, v in tensors.items() if not k.startswith("resume.")}
    model.load_state_dict(weights)
    train_config = TrainConfig(**header["train"])
    encoding = encoding_from_dict(header["encoding"])
    return Checkpoint(model.eval(), own, encoding, header["history"], train_config)


def shipped(name: str) -> Checkpoint:
    """A checkpoint that comes with the package: "article", "note" or "voicing".

    Raises CheckpointError for another name.
    """
    path = Path(str(resources.files("pianolstm") / "checkpoints" / f"{name}.safetensors"))
    return load_checkpoint(path)


def _model_config(header: dict) -> ModelConfig:
    return ModelConfig(**{**header["model"], "hidden": tuple(header["model"]["hidden"])})


def make_optimizer(model: RecurrentNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """RMSprop as in Keras for the article's network, AdamW for ours."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if model.config.network == "article":
        return KerasRMSprop(weights, lr=config.learning_rate)
    return torch.optim.AdamW(
        weights, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )


def rate_factor(progress: float, config: TrainConfig) -> float:
    """Share of the learning rate at `progress` (0 to 1) of a run: linear rise, then a cosine.

    Source: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """
    if progress < config.warmup:
        return max(progress, 1e-4) / config.warmup
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return config.final_rate + (1 - config.final_rate) * cosine


def epoch_losses(
    model: RecurrentNetwork, pieces: Pieces, config: TrainConfig, epoch: int
) -> Iterator[tuple[torch.Tensor, int]]:
    """The batches of one epoch as (mean loss over its tokens, number of tokens).

    Order and keys depend on the seed and the epoch alone, so that a resumed run repeats them.
    """
    draw = np.random.default_rng([config.seed, epoch])
    device = next(model.parameters()).device
    keys = [draw.integers(len(p)) if config.transpose else len(p) // 2 for p in pieces]
    chosen = [versions[key] for versions, key in zip(pieces, keys)]
    if model.config.network == "article":
        inputs, targets = windows(np.concatenate(chosen), config.steps)
        for index in torch.from_numpy(draw.permutation(len(inputs))).split(config.batch):
            logits = model.predict_next(inputs[index].to(device))
            yield nn.functional.cross_entropy(logits, targets[index].to(device)), len(index)
        return
    order = draw.permutation(len(chosen))
    state = model.zero_state(config.batch)
    for chunk in streams([chosen[i] for i in order], config.batch, config.steps):
        state = carry(state, chunk.fresh.to(device))
        logits, state = model(chunk.inputs.to(device), state)
        tokens = int((chunk.targets != IGNORE).sum())
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), chunk.targets.to(device).flatten(), ignore_index=IGNORE
        )
        yield loss, tokens


def carry(state: State, fresh: torch.Tensor) -> State:
    """The state for the next chunk: cut off from the past's gradient, zero for rows that start."""
    keep = (~fresh).float().unsqueeze(1)
    return [(h.detach() * keep, c.detach() * keep) for h, c in state]


def train(
    train_pieces: Pieces,
    valid_pieces: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    encoding: ArticleEncoding,
    model_config: ModelConfig,
    config: TrainConfig,
    folder: str | Path,
    progress: bool | None = None,
) -> Checkpoint:
    """Train until `config.epochs` (or `config.seconds`) and return the best by validation loss.

    Writes best.safetensors and last.safetensors into `folder`. Where last.safetensors is there
    already, the run goes on from it, and ends in exactly the weights of an uninterrupted run.
    `progress` shows a bar; None means only on a terminal. Raises CheckpointError if the folder
    holds a run of another configuration.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    device = pick_device()
    model = build_model(model_config).to(device)
    optimizer = make_optimizer(model, config)
    run = Checkpoint(model, vocabulary, encoding, [], config)
    if (folder / "last.safetensors").exists():
        _resume(folder / "last.safetensors", run, optimizer)
    began = time.perf_counter() - (run.history[-1]["seconds"] if run.history else 0.0)
    hidden = None if progress is None else not progress
    for epoch in range(len(run.history) + 1, config.epochs + 1):
        model.train()
        loss_sum, tokens, batches = 0.0, 0, 0
        total = _epoch_batches(train_pieces, model_config, config)
        started = time.perf_counter()
        bar = tqdm(desc=f"epoch {epoch}", total=total, leave=False, disable=hidden, unit="batch")
        for loss, n in epoch_losses(model, train_pieces, config, epoch):
            elapsed = time.perf_counter() - began
            done = min(1.0, (epoch - 1 + batches / total) / config.epochs)
            if config.seconds:
                done = max(done, elapsed / config.seconds)
            if model_config.network != "article":
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * rate_factor(done, config)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if config.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            loss_sum, tokens, batches = loss_sum + float(loss.detach()) * n, tokens + n, batches + 1
            bar.set_postfix_str(f"loss {loss_sum / tokens:.3f}, "
                                f"{tokens / (time.perf_counter() - started):,.0f} tokens/s")  # fmt: skip
            bar.update()
            if config.seconds and elapsed > config.seconds:
                break
        bar.close()
        rate = tokens / (time.perf_counter() - started)
        valid_loss = nll(model, valid_pieces, window=config.steps).mean
        run.history.append(
            {"epoch": epoch, "batches": batches, "train_loss": round(loss_sum / tokens, 6),
             "valid_loss": round(valid_loss, 6), "tokens_per_second": round(rate),
             "seconds": round(time.perf_counter() - began, 3)}
        )  # fmt: skip
        _save_epoch(folder, run, optimizer)
        if config.seconds and run.history[-1]["seconds"] > config.seconds:
            break
    return load_checkpoint(folder / "best.safetensors")


def _epoch_batches(pieces: Pieces, model_config: ModelConfig, config: TrainConfig) -> int:
    """Batches in an epoch: exact for windows, an estimate for streams (rows end unevenly)."""
    lengths = np.array([len(versions[0]) for versions in pieces])
    if model_config.network == "article":
        return max(1, math.ceil((lengths.sum() - config.steps) / config.batch))
    return max(1, math.ceil(np.ceil((lengths - 1) / config.steps).sum() / config.batch))


def _save_epoch(folder: Path, run: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Best and last checkpoint, and the article's own whenever the training loss improves."""
    row = run.history[-1]
    if row["valid_loss"] <= min(h["valid_loss"] for h in run.history):
        save_checkpoint(folder / "best.safetensors", run)
    if run.train_config.keep_improvements and row["train_loss"] <= min(
        h["train_loss"] for h in run.history
    ):
        name = f"weights-improvement-{row['epoch']:02d}-{row['train_loss']:.4f}-bigger"
        save_checkpoint(folder / f"{name}.safetensors", run)
    extra = {"resume.rng": torch.get_rng_state()}
    for index, state in optimizer.state_dict()["state"].items():
        extra |= {f"resume.optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    save_checkpoint(folder / "last.safetensors", run, extra=extra)


def _resume(path: Path, run: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Put weights, optimizer, random state and history of `path` into a fresh run."""
    header, tensors = _read(path)
    same = _model_config(header) == run.model.config and header["vocabulary"] == run.vocabulary.tokens[1:]
    if not same or TrainConfig(**header["train"]) != run.train_config:
        raise CheckpointError(
            f"{path}: holds a run with other settings or another vocabulary. Use another folder, "
            "or delete this one to start again"
        )
    run.model.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("resume.")})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("resume.optimizer."):
            index, name = key.removeprefix("resume.optimizer.").split(".")
            state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["resume.rng"])
    run.history.extend(header["history"])
