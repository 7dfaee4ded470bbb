"""From the article's network to `NoteLSTM`, one change at a time, at equal work.

    python notebooks/ladder.py --out ladder.jsonl     # some 40 runs of ten minutes of one core
    python notebooks/ladder.py --run "4 AdamW" --seeds 0 --out one.jsonl       # one of them
    python notebooks/ladder.py --gates --out gates.jsonl       # hard against soft sigmoid gates

Every run may spend the same number of multiply-adds, counted in the forward pass over training data
(the backward pass costs about twice as much again in all of them). A line of the result holds the
settings of a run and its validation loss against the work done. Nothing looks at the test pieces.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pianolstm.batches import epoch_losses
from pianolstm.checkpoint import TrainConfig, train_config
from pianolstm.dataset import Dataset, prepare, windows
from pianolstm.encodings import ArticleEncoding
from pianolstm.evaluation import nll
from pianolstm.folder import read_folder
from pianolstm.networks import (
    NetworkConfig,
    NoteLSTM,
    RecurrentNetwork,
    build_network,
    network_config,
    pick_device,
)
from pianolstm.networks.article import initialise_as_keras
from pianolstm.training import make_optimizer, rate_factor

EVERY = 100  # batches of a line of --gates
WORK = 8e12  # multiply-adds of a run's forward passes: some 190 epochs of `NoteLSTM`


@dataclass(frozen=True)
class Setup:
    """Which of the changes are made. None: the article's network. All: `NoteLSTM`."""

    embedding: bool = False  # a learned vector for each token in place of one number
    every_step: bool = False  # a prediction at every step, state carried; 16 × 32, was 64 × 100
    adamw: bool = False  # AdamW, rate rising and falling, weight decay, clipping; was RMSprop
    transpose: bool = False  # a random key for each piece in each epoch
    shallow: bool = False  # one LSTM layer, no dense layer
    init: bool = False  # PyTorch's initial weights in place of Keras's
    sized: bool = False  # 384 units and dropout 0.5 around the layer in place of 256 and 0.3
    tied: bool = False  # the output layer compares with the embedding's vectors
    rate: float = 8e-3  # AdamW's largest rate; RMSprop keeps the article's 1e-3


CHANGES = {
    "2 embedding": "embedding",
    "3 every step": "every_step",
    "4 AdamW": "adamw",
    "5 transposition": "transpose",
    "6 one layer": "shallow",
    "7 initial weights": "init",
    "8 width, dropout": "sized",
    "9 tied": "tied",
}


def setups() -> dict[str, Setup]:
    """Name of a run → its setup: the rungs, then `NoteLSTM` without one change at a time."""
    found = {"1 the article's": Setup()}
    done: dict[str, bool] = {}
    for name, change in CHANGES.items():
        done[change] = True
        found[name] = Setup(**done)
    for name, change in CHANGES.items():
        without = {change: False} | ({"tied": False} if change == "embedding" else {})
        found[f"without {name[2:]}"] = replace(Setup(**done), **without)
    # AdamW's rate was chosen for one layer; three layers may also have a smaller one.
    for name, setup in list(found.items()):
        if setup.adamw and not setup.shallow:
            found[f"{name}, rate 2e-3"] = replace(setup, rate=2e-3)
    return found


class Rung(RecurrentNetwork):
    """A network between the article's and `NoteLSTM`."""

    def __init__(self, setup: Setup, vocabulary_size: int) -> None:
        sizes = (384, 384, 384) if setup.sized else (256, 512, 256)
        hidden = sizes[-1:] if setup.shallow else sizes
        E = hidden[-1]
        network = "note" if setup.every_step else "article"
        dropout = 0.5 if setup.sized else 0.3
        config = NetworkConfig(network, vocabulary_size, hidden, dropout)
        super().__init__(config, input_size=E if setup.embedding else 1)
        self.setup = setup
        self.reads = "streams" if setup.every_step else "windows"
        if setup.embedding:
            self.embedding = nn.Embedding(vocabulary_size, E)
        self.dense = None if setup.shallow else nn.Linear(E, E)
        self.output = nn.Linear(E, vocabulary_size)
        if not setup.init:
            initialise_as_keras(self.layers, filter(None, (self.dense, self.output)))
        if setup.embedding:
            nn.init.normal_(self.embedding.weight, std=E**-0.5)
        nn.init.zeros_(self.output.bias)
        if setup.tied:
            self.output.weight = self.embedding.weight

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        if not self.setup.embedding:
            return (ids.float() / self.config.vocabulary_size).unsqueeze(-1)
        vectors = self.embedding(ids)
        return self.dropout(vectors) if self.setup.sized else vectors

    def head(self, x: torch.Tensor) -> torch.Tensor:
        if self.dense is not None:
            x = self.dropout(self.dense(x))
        elif self.setup.sized:
            x = self.dropout(x)
        return self.output(x)

    def multiply_adds(self) -> tuple[int, int]:
        """Of a forward pass: at every step read, and at every prediction."""
        layers = sum(
            layer.weight_ih_l0.numel() + layer.weight_hh_l0.numel() for layer in self.layers
        )
        dense = 0 if self.dense is None else self.dense.weight.numel()
        return layers, dense + self.output.weight.numel()


def assert_ends_at_note_lstm(vocabulary_size: int) -> None:
    """The last rung is `NoteLSTM`: the same weights give the same logits."""
    torch.manual_seed(0)
    rung = Rung(setups()["9 tied"], vocabulary_size).eval()
    note = NoteLSTM(rung.config).eval()
    weights = rung.state_dict()
    weights["bias"] = weights.pop("output.bias")
    del weights["output.weight"]
    note.load_state_dict(weights)
    ids = torch.arange(40).reshape(2, 20) % vocabulary_size
    assert torch.equal(rung(ids)[0], note(ids)[0])
    assert rung.parameter_count() == note.parameter_count()


def climb(name: str, setup: Setup, seed: int, data: Dataset, work: float) -> dict:
    """Train one rung until its work is spent. Returns a line of the result."""
    torch.manual_seed(seed)
    model = Rung(setup, len(data.vocabulary)).to(pick_device())
    config = TrainConfig(seed=seed) if setup.every_step else train_config("article", seed=seed)
    config = replace(config, transpose=setup.transpose, constant_rate=not setup.adamw)
    if setup.adamw:
        config = replace(
            config, optimizer="adamw", learning_rate=setup.rate, weight_decay=0.03, clip=1.0
        )
    else:
        config = replace(
            config, optimizer="rmsprop", learning_rate=1e-3, weight_decay=0.0, clip=0.0
        )
    optimizer = make_optimizer(model, config)
    every_step, every_prediction = model.multiply_adds()
    predictions = config.steps if setup.every_step else 1
    cost = config.batch * (config.steps * every_step + predictions * every_prediction)  # a batch
    looks = iter(np.linspace(0, 1, 41 if setup.every_step else 9)[1:])
    look, spent, curve, losses = next(looks), 0.0, [], []
    began = time.perf_counter()
    batches = itertools.chain.from_iterable(
        epoch_losses(model, data.train, config, epoch) for epoch in itertools.count(1)
    )
    model.train()
    for loss, _ in batches:
        if setup.adamw:
            for group in optimizer.param_groups:
                group["lr"] = setup.rate * rate_factor(spent / work, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        losses.append(float(loss.detach()))
        spent += cost
        if spent >= look * work:
            valid = nll(model, data.valid, config.steps, np.concatenate(data.train_own_key)).mean
            curve.append(
                [round(spent / 1e12, 3), round(float(np.mean(losses)), 4), round(valid, 4)]
            )
            losses, look = [], next(looks, None)
            if look is None:
                break
    best = min(valid for _, _, valid in curve)
    return {"run": name, "seed": seed, **asdict(setup), "parameters": model.parameter_count(),
            "batches": round(spent / cost), "minutes": round((time.perf_counter() - began) / 60, 2),
            "valid": best, "last_valid": curve[-1][2], "curve": curve}  # fmt: skip


def compare_gates(hard: bool, data: Dataset, batches: int, seed: int = 0) -> Iterator[dict]:
    """Train the article's network on the two longest songs; a line each `EVERY` batches."""
    longest = sorted(data.train_own_key, key=len)[-2:]
    known, ids = np.unique(np.concatenate(longest), return_inverse=True)
    _, counts = np.unique(ids[100:], return_counts=True)  # of the windows' targets
    p = counts / counts.sum()
    torch.manual_seed(seed)
    device = pick_device()
    model = build_network(network_config("article", len(known), hard_gates=hard)).to(device)
    optimizer = make_optimizer(model, train_config("article"))
    inputs, targets = (part.to(device) for part in windows(ids))
    draw = np.random.default_rng(seed)
    order: list[int] = []
    losses = []
    for number in range(1, batches + 1):
        while len(order) < 64:  # epochs follow one another without a short batch between them
            order.extend(draw.permutation(len(inputs)))
        rows, order = torch.tensor(order[:64], device=device), order[64:]
        optimizer.zero_grad(set_to_none=True)
        logits = model.predict_next(inputs[rows])
        loss = nn.functional.cross_entropy(logits, targets[rows].long())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if number % EVERY == 0:
            entropy = float(-(p * np.log(p)).sum())
            yield {"gates": "hard" if hard else "soft", "seed": seed, "windows": len(inputs),
                   "classes": len(known), "unigram_entropy": round(entropy, 4), "batches": number,
                   "train_loss": round(float(np.mean(losses)), 4)}  # fmt: skip
            losses = []


def main() -> None:
    """Run the ladder, or the gates, and append a line for each result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument(
        "--run", nargs="+", choices=list(setups()), help="only these; all unless given"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--work", type=float, default=WORK, help="multiply-adds of a run")
    parser.add_argument("--gates", action="store_true", help="compare gates, no ladder")
    parser.add_argument("--batches", type=int, default=4000, help="of --gates")
    args = parser.parse_args()
    songs = Path(__file__).resolve().parents[1] / "midi_songs"
    data = prepare(read_folder(songs).pieces, ArticleEncoding())
    assert_ends_at_note_lstm(len(data.vocabulary))
    if args.gates:
        results = (line for hard in (False, True) for seed in args.seeds
                   for line in compare_gates(hard, data, args.batches, seed))  # fmt: skip
    else:
        chosen = {name: setups()[name] for name in args.run or setups()}
        results = (climb(name, setup, seed, data, args.work)
                   for name, setup in chosen.items() for seed in args.seeds)  # fmt: skip
    for result in results:
        with open(args.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print({key: value for key, value in result.items() if key != "curve"}, flush=True)


if __name__ == "__main__":
    main()
