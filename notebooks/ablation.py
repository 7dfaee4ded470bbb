"""What each choice in a recipe is worth, and an LSTM, a GRU and a Transformer trained alike.

    python notebooks/ablation.py JSB_Chorales.mat                     # 53 runs of up to 6 minutes
    python notebooks/ablation.py JSB_Chorales.mat --row "no dropout"  # one row, all of its seeds

Every run is one `python -m pianolstm benchmark`, and one line of the result: the command, its row
and seed, and the loss on the validation pieces in nats a frame. `benchmark` also measures the test
pieces; that number is left out, because rows are chosen and ranked here. A run that has its line
already is passed over, and one that was interrupted goes on after its last epoch.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pianolstm.__main__ import run as pianolstm

STORED = Path(__file__).resolve().parents[1] / "pianolstm" / "checkpoints" / "ablation.jsonl"

RECIPE = (
    "--hidden 256 --dropout 0.4 --batch 8 --steps 128 --learning-rate 0.004 --final-rate 0 "
    "--epochs 45 --transpose-until 0.6"
)
CHANGES = {  # each adds one change to `RECIPE`; of two equal options the last one counts
    "all of it": "",
    "never transposed": "--set transpose=false",
    "transposed to the end": "--transpose-until 1",
    "RMSprop, rate 0.0005": "--set optimizer=rmsprop --learning-rate 0.0005",
    "RMSprop, rate 0.001": "--set optimizer=rmsprop --learning-rate 0.001",
    "RMSprop, rate 0.002": "--set optimizer=rmsprop --learning-rate 0.002",
    "RMSprop, rate 0.004": "--set optimizer=rmsprop",
    "whole pieces, padded": "--steps 1000",
    "constant rate": "--final-rate 1",
    "no shared note vectors": "--set shared=false",
    "no dropout": "--dropout 0",
}
ONE_SEED = [f"RMSprop, rate {rate}" for rate in (0.0005, 0.001)]  # tries, to choose a rate
SEEDS = (0, 1, 2)
ROUNDS = 5  # of measuring speed

SCHEDULE = "--final-rate 0 --transpose-until 0.6"  # of the following
NETWORKS = {  # about 1.2 million weights each, and the rates that are tried, the likeliest first
    "LSTM": ("--hidden 384 --dropout 0.5 --batch 8 --steps 128", (0.004, 0.002, 0.008)),
    "GRU": ("--network gru --hidden 440 --dropout 0.5 --batch 8 --steps 128",
            (0.004, 0.002, 0.008)),
    "Transformer": ("--network transformer --hidden 160 160 160 160 --dropout 0.1 --set clip=0 "
                    "--batch 2 --steps 1000", (0.002, 0.001, 0.0005)),
}  # fmt: skip


class Run(NamedTuple):
    """One training."""

    row: str
    options: str  # of `benchmark`
    seed: int

    @property
    def command(self) -> str:
        """As a reader would type it."""
        return f"python -m pianolstm benchmark JSB_Chorales.mat {self.options} --seed {self.seed}"


def runs() -> Iterator[Run]:
    """All trainings: the ablation, the networks for 20 epochs, and for one to see their speed."""
    for row, change in CHANGES.items():
        for seed in SEEDS[:1] if row in ONE_SEED else SEEDS:
            yield Run(row, f"{RECIPE} {change}".strip(), seed)
    for network, (options, rates) in NETWORKS.items():
        for rate in rates:
            options_of_try = f"{options} {SCHEDULE} --learning-rate {rate} --epochs 20"
            yield Run(f"{network}, rate {rate}", options_of_try, 0)
    for seed in range(ROUNDS):  # in turn, so that other programs slow them alike
        for network, (options, rates) in NETWORKS.items():
            one_epoch = f"{options} {SCHEDULE} --learning-rate {rates[0]} --epochs 1"
            yield Run(f"{network}, speed", one_epoch, seed)


def line(run: Run, entry: dict) -> dict:
    """What is stored of a run, from what `commands.benchmark` returns."""
    return {"row": run.row, "seed": run.seed, "valid": round(entry["valid"], 6),
            "parameters": entry["parameters"], "minutes": entry["minutes"],
            "tokens_per_second": entry["tokens_per_second"], "command": run.command}  # fmt: skip


def train(run: Run, rolls: Path, folder: Path) -> dict:
    """Run it, or what is left of it, and return its line."""
    command = ["benchmark", str(rolls), "--no-baselines", "--seed", str(run.seed)]
    out = ["--out", str(folder / f"{run.row} {run.seed}")]
    return line(run, pianolstm([*command, *out, *shlex.split(run.options)]))


def main() -> None:
    """Make what is missing, and append a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rolls", type=Path, help="JSB_Chorales.mat, see the README")
    parser.add_argument("--row", nargs="+", choices=sorted({run.row for run in runs()}))
    parser.add_argument("--out", type=Path, default=STORED, help="JSON lines, appended to")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="a folder")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    text = args.out.read_text(encoding="utf-8") if args.out.exists() else ""
    done = {json.loads(each)["command"] for each in text.splitlines()}
    for run in runs():
        if run.command in done or run.row not in (args.row or [run.row]):
            continue
        result = train(run, args.rolls, args.runs)
        with open(args.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(result, flush=True)


if __name__ == "__main__":
    main()
