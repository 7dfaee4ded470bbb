"""The training loop: same for both networks, interruptible at any moment."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pianolstm.checkpoint import (
    Checkpoint,
    CheckpointError,
    TrainConfig,
    load_checkpoint,
    model_config_of,
    read_file,
    save_checkpoint,
    train_config_of,
)
from pianolstm.dataset import IGNORE, Dataset, joined, streams, windows
from pianolstm.distributed import agreed, in_step, rank, summed, world
from pianolstm.encodings import encoding_from_dict
from pianolstm.evaluation import nll
from pianolstm.model import ModelConfig, RecurrentNetwork, State, build_model, pick_device

OPTIMIZERS = ("adamw", "rmsprop")
Pieces = Sequence[Sequence[np.ndarray]]  # [piece][transposition] → ids (T,)


def article_config(**changes) -> TrainConfig:
    """The article's training: windows of 100, batches of 64, RMSprop, 200 epochs, nothing else.

    RMSprop as in Keras 2, with which the article ran in December 2017:
    v ← 0.9 v + 0.1 g², x ← x − 0.001 · g / (√v + 1e-7). ε stands outside the root, as in
    `torch.optim.RMSprop`. Keras 3 moved it under the root, g / √(v + ε), which caps the step where
    √v is below 3e-4; on the plateau this network's gradients are 1e-6 to 1e-9, and its LSTM layers
    would hardly move.
    """
    config = TrainConfig(epochs=200, batch=64, steps=100, learning_rate=1e-3, optimizer="rmsprop",
                         weight_decay=0.0, clip=0.0, transpose=False,
                         keep_improvements=True)  # fmt: skip
    return replace(config, **changes)


def make_optimizer(model: RecurrentNetwork, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or RMSprop as in Keras 2 (see `article_config`).

    Raises ValueError for another name.
    """
    if config.optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer {config.optimizer!r}: use one of {', '.join(OPTIMIZERS)}")
    weights = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(weights, lr=config.learning_rate, alpha=0.9, eps=1e-7)
    return torch.optim.AdamW(
        weights, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )


def rate_factor(progress: float, config: TrainConfig) -> float:
    """Share of the learning rate at `progress` (0 to 1) of a run: linear rise, then a cosine.

    Sources: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.2, for the rise, and
    Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """
    if progress < config.warmup:
        return max(progress, 1e-4) / config.warmup
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return config.final_rate + (1 - config.final_rate) * cosine


def run_share(epochs: float, began: float, config: TrainConfig) -> float:
    """How much of a run is done, 0 to 1, by its epochs or by its seconds, whichever end it."""
    share = epochs / config.epochs
    if config.seconds:  # only the clock ends such a run before its last epoch does
        share = max(min(share, 0.9999), (time.perf_counter() - began) / config.seconds)
    return min(1.0, share)


class Objective(nn.Module):
    """The loss of a batch, as a module: what several processes keep in step is its gradient."""

    def __init__(self, model: RecurrentNetwork) -> None:
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
    model: RecurrentNetwork,
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
    objective = objective or Objective(model)
    mine = slice(rank(), None, world())
    draw = np.random.default_rng([config.seed, epoch])
    device = next(model.parameters()).device
    transpose = config.transpose and progress < config.transpose_until
    keys = [draw.integers(len(p)) if transpose else len(p) // 2 for p in pieces]
    if model.config.network == "article":
        inputs, targets = windows(joined(pieces, keys), config.steps)
        for index in torch.from_numpy(draw.permutation(len(inputs))).split(config.batch):
            rows = index[mine]
            if len(index) >= world():  # else some process would have nothing to do
                target = targets[rows].to(device).long()
                seen = noisy(inputs[rows], config.noise).to(device)
                yield objective(seen, target, None, len(index))[0], len(index)
        return
    order = draw.permutation(len(pieces))
    state = model.zero_state(len(range(config.batch)[mine]))
    for chunk in streams((pieces[i][keys[i]] for i in order), config.batch, config.steps):
        state = carry(state, chunk.fresh[mine].to(device))
        tokens = int((chunk.targets != IGNORE).sum())
        inputs, targets = noisy(chunk.inputs[mine], config.noise), chunk.targets[mine]
        loss, state = objective(inputs.to(device), targets.to(device), state, tokens)
        yield loss, tokens


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
    keep = (~fresh).unsqueeze(1)
    return [tuple(part.detach() * keep for part in layer) for layer in state]


def train(
    data: Dataset,
    model_config: ModelConfig,
    config: TrainConfig,
    folder: str | Path,
    progress: bool | None = None,
    stop_after: int | None = None,
) -> Checkpoint:
    """Train until `config.epochs` (or `config.seconds`) and return the best by validation loss.

    Writes best.safetensors and last.safetensors into `folder`. Where last.safetensors is there
    already, the run goes on from it, and ends in exactly the weights of an uninterrupted run (of
    one process; others draw new dropout).
    `progress` shows a bar; None means only on a terminal. `stop_after` ends this call after so
    many epochs, for the next one to go on. In a process group (`distributed.process_group`) all
    processes call this, and the first one writes. Raises CheckpointError if the folder holds a run
    of another configuration, and ValueError for a batch of fewer rows than processes, or for noise
    where a grammar says what may follow.
    """
    if config.batch < world():
        raise ValueError(f"a batch of {config.batch} rows is too small for {world()} processes")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    device = pick_device()
    tokens, encoding = data.vocabulary.tokens, data.encoding
    if config.noise and model_config.grammar and encoding.grammar(tokens) is not None:
        raise ValueError(
            f"noise {config.noise}: after a wrong token the grammar of {type(encoding).__name__} "
            "forbids what really follows. Leave noise out, or the grammar"
        )
    model = build_model(model_config, encoding.features(tokens), encoding.grammar(tokens))
    model = model.to(device)
    optimizer = make_optimizer(model, config)
    run = Checkpoint(model, data.vocabulary, data.encoding, [], config)
    if (folder / "last.safetensors").exists():
        _resume(folder / "last.safetensors", run, optimizer, digest(data.train))
    if rank():  # its own dropout
        torch.manual_seed(config.seed + rank() + world() * len(run.history))
    objective, first = in_step(Objective(model)), rank() == 0
    began = time.perf_counter() - (run.history[-1]["seconds"] if run.history else 0.0)
    hidden = True if not first else None if progress is None else not progress
    done_before = len(run.history)
    last = min(config.epochs, done_before + (stop_after or config.epochs))
    for epoch in range(done_before + 1, last + 1):
        spent = run.history[-1]["seconds"] if run.history else 0.0
        if config.seconds and agreed(spent, device) >= config.seconds:
            break  # over by what is written down, and so for whoever goes on with this run
        done = agreed(run_share(epoch - 1, began, config), device)
        model.train()
        loss_sum, tokens, batches = 0.0, 0, 0
        total = _epoch_batches(data.train, model_config, config)
        started = time.perf_counter()
        bar = tqdm(desc=f"epoch {epoch}", total=total, leave=False, disable=hidden, unit="batch")
        for loss, n in epoch_losses(model, data.train, config, epoch, done, objective):
            done = agreed(run_share(epoch - 1 + batches / total, began, config), device)
            if model_config.network != "article":
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * rate_factor(done, config)
            optimizer.zero_grad(set_to_none=True)
            (loss * world()).backward()  # the processes' gradients are averaged
            if config.clip:  # Pascanu, Mikolov and Bengio 2013, algorithm 1
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            loss_sum, tokens, batches = loss_sum + float(loss.detach()) * n, tokens + n, batches + 1
            bar.set_postfix_str(
                f"loss {loss_sum / tokens:.3f}, "
                f"{tokens / (time.perf_counter() - started):,.0f} tokens/s"
            )
            bar.update()
            if config.seconds and done >= 1:
                break
        bar.close()
        loss_sum = summed(loss_sum, device)
        rate = tokens / (time.perf_counter() - started)
        valid_loss = nll(model, data.valid, window=config.steps).mean
        run.history.append(
            {"epoch": epoch, "batches": batches, "train_loss": round(loss_sum / tokens, 6),
             "valid_loss": round(valid_loss, 6), "tokens_per_second": round(rate),
             "seconds": round(time.perf_counter() - began, 3)}
        )  # fmt: skip
        if first:
            _save_epoch(folder, run, optimizer, digest(data.train))
        if config.seconds and done >= 1:
            break
    if not first:
        return run
    best = load_checkpoint(folder / "best.safetensors")
    best.history = run.history  # the whole run, also what came after the best epoch
    save_checkpoint(folder / "best.safetensors", best)
    return best


def _epoch_batches(pieces: Pieces, model_config: ModelConfig, config: TrainConfig) -> int:
    """Batches in an epoch: exact for windows, an estimate for streams (rows end unevenly)."""
    lengths = np.array([len(versions[0]) for versions in pieces])
    if model_config.network == "article":
        return max(1, math.ceil((lengths.sum() - config.steps) / config.batch))
    return max(1, math.ceil(np.ceil((lengths - 1) / config.steps).sum() / config.batch))


def digest(pieces: Pieces) -> torch.Tensor:
    """A fingerprint of training data: the lengths of all pieces and the tokens of the first 100."""
    lengths = [len(versions[0]) for versions in pieces]
    first = [np.asarray(versions[0]).tolist() for versions in itertools.islice(pieces, 100)]
    text = repr((lengths, first)).encode()
    return torch.tensor(list(hashlib.sha256(text).digest()), dtype=torch.uint8)


def _save_epoch(
    folder: Path,
    run: Checkpoint,
    optimizer: torch.optim.Optimizer,
    data: torch.Tensor,
) -> None:
    """Best and last checkpoint, and the article's own whenever the training loss improves."""
    row = run.history[-1]
    if row["valid_loss"] <= min(h["valid_loss"] for h in run.history):
        save_checkpoint(folder / "best.safetensors", run)
    if run.train_config.keep_improvements and row["train_loss"] <= min(
        h["train_loss"] for h in run.history
    ):
        name = f"weights-improvement-{row['epoch']:02d}-{row['train_loss']:.4f}-bigger"
        save_checkpoint(folder / f"{name}.safetensors", run)
    extra = {"resume.rng": torch.get_rng_state(), "resume.data": data}
    if torch.cuda.is_available():
        extra["resume.rng_cuda"] = torch.cuda.get_rng_state()
    for index, state in optimizer.state_dict()["state"].items():
        extra |= {f"resume.optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    save_checkpoint(folder / "last.safetensors", run, extra=extra)


def _resume(
    path: Path,
    run: Checkpoint,
    optimizer: torch.optim.Optimizer,
    data: torch.Tensor,
) -> None:
    """Put weights, optimizer, random state and history of `path` into a fresh run."""
    header, tensors = read_file(path)
    same = (
        model_config_of(header) == run.model.config
        and header["vocabulary"] == run.vocabulary.tokens[1:]
        and encoding_from_dict(header["encoding"]) == run.encoding
        and torch.equal(tensors.get("resume.data", data[:0]), data)
    )
    if not same or train_config_of(header) != run.train_config:
        raise CheckpointError(
            f"{path}: holds a run with other settings, music or vocabulary. Use another folder, "
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
    if "resume.rng_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["resume.rng_cuda"])
    run.history.extend(header["history"])
