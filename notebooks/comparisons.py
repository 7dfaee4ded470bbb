"""What notebooks 07, 08 and 10 compare: networks trained alike, and what they predict and write.

    python notebooks/comparisons.py rhythm --out comparisons.jsonl      # 72 minutes of one core
    python notebooks/comparisons.py helpers --out comparisons.jsonl     # some 75 minutes
    python notebooks/comparisons.py endings --out comparisons.jsonl     # a minute
    python notebooks/comparisons.py ensemble --out comparisons.jsonl    # two hours; a GPU is faster

A network is trained with the options that its line names, and exported to `--runs`; one that lies
there already is only measured. A line of the result holds one network, or one way of drawing:

* `valid` and `test`: nats a note of all pieces together, with a 95 % interval over pieces, and
  `valid_nats`, `test_nats` of each piece, so that two networks can be compared piece by piece;
* `beside`: of the test songs' nats a note, what events pay for metre, bar lines and keys;
  `off_beat`, `silences`: of 20 pieces that they wrote;
* of the pieces that it wrote, one number a piece, all with seeds 0 to `PIECES` − 1: see `written`.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pianolstm.__main__ import run
from pianolstm.checkpoint import Checkpoint, load_checkpoint, load_pretrained
from pianolstm.composing import compose, pieces_of
from pianolstm.dataset import Dataset, load_songs
from pianolstm.evaluation import (
    NoteLikelihood,
    agreement,
    bars,
    crossings,
    ends_on_tonic_triad,
    ends_with_cadence,
    fitted_bigram,
    nll,
    note_likelihood,
    off_beat_share,
    parallels,
    part_lines,
    predictions,
    silences,
    written_key,
)
from pianolstm.generation import generate
from pianolstm.piece import Piece
from pianolstm.rules import PartRules, Ranges, part_ranges

SONGS = Path(__file__).resolve().parents[1] / "midi_songs"
PIECES = 100
PART_LENGTH = 1500  # tokens of a piece for four parts, at most
QUARTETS = f"--songs {SONGS / 'ensemble'} --only 'bach_*' 'haydn_*' 'mozart_*' --encoding events"
TUNED = "--noise 0.08 --batch 8 --steps 128 --learning-rate 0.005 --transpose-until 0.45"
RHYTHM = {
    "rhythm": "--encoding rhythm --at-least 2 --hidden 256 --dropout 0.5 --seconds 720",
    "events": "--encoding events --hidden 256 --dropout 0.5 --seconds 720",
}
HELPERS = {
    name: f"--encoding events {helpers} --hidden 384 --dropout 0.5 {TUNED} --epochs 28 --last"
    for name, helpers in {
        "none": "",
        "home": "--helpers home",
        "+ countdown": "--helpers home,countdown",
        "+ approach": "--helpers home,countdown,approach",
    }.items()
}
ENSEMBLE = {
    "plain": f"{QUARTETS} --set tracks=true --hidden 512 --dropout 0.3 --batch 8 --steps 128 "
    "--learning-rate 0.006 --seconds 2200"
} | {
    f"as events, {dropout}": f"{QUARTETS} --helpers home,approach --set tracks=true --hidden 512 "
    f"--dropout {dropout} {TUNED} --epochs 45 --last"
    for dropout in (0.4, 0.5)
}


def trained(name: str, options: str, runs: Path) -> Checkpoint:
    """The network that `pianolstm train` makes with these options, from `runs` if it lies there."""
    path = runs / f"{name.replace(' ', '_')}.safetensors"
    if not path.exists():
        files = ["--out", str(path.with_suffix("")), "--export", str(path)]
        run(["train", *shlex.split(options), *files])
    return load_checkpoint(path)


def described(name: str, options: str, network: Checkpoint) -> dict:
    """What a line says about a network and how it was trained."""
    options = " ".join(options.split()).replace(f"{SONGS.parent}/", "")
    return {
        "network": name,
        "classes": len(network.vocabulary),
        "parameters": network.model.parameter_count(),
        "epochs": len(network.history),
        "minutes": round(network.history[-1]["seconds"] / 60, 1),
        "train": f"python -m pianolstm train {options}",
    }


def of_notes(
    losses: Sequence[np.ndarray], pieces: Sequence[Piece], data: Dataset, part: str
) -> dict:
    """Nats a note, as fields of a line."""
    paid: NoteLikelihood = note_likelihood(losses, pieces, data.encoding, data.vocabulary)
    found = paid.interval()
    return {
        part: [round(float(x), 4) for x in (found.value, found.low, found.high)],
        f"{part}_nats": paid.nats.round(2).tolist(),
    }


def paid_by(network: Checkpoint, data: Dataset, parts: Sequence[str] = ("valid", "test")) -> dict:
    """Nats a note of the held-out parts."""
    fields = {}
    for part in parts:
        losses = nll(network.model, getattr(data, part)).per_piece
        fields |= of_notes(losses, getattr(data.split, part), data, part)
    return fields


def beside_notes(network: Checkpoint, data: Dataset) -> float:
    """What events pay for metre, bar lines and keys, in nats a note of the test songs."""
    kinds = ("metre", "bar", "major", "minor")
    tokens = network.vocabulary.tokens
    paid = sum(
        loss
        for piece, losses in zip(data.test, nll(network.model, data.test).per_piece)
        for token, loss in zip(piece[1:], losses)
        if tokens[token].partition(":")[0] in kinds
    )
    return round(float(paid) / sum(map(len, data.split.test)), 4)


def songs_for(network: Checkpoint, ensemble: bool = False) -> Dataset:
    """Our songs in the network's own words."""
    if not ensemble:
        return load_songs(SONGS, network.encoding, network.vocabulary)
    only = ("bach_*", "haydn_*", "mozart_*")
    return load_songs(SONGS / "ensemble", network.encoding, network.vocabulary, only)


def compare_rhythm(runs: Path) -> Iterator[dict]:
    """Two encodings, trained alike three times each, and a bigram of each."""
    for name, options in RHYTHM.items():
        for seed in range(3):
            chosen = f"{options} --seed {seed}"
            network = trained(f"pair_{name}_{seed}", chosen, runs)
            data = songs_for(network)
            if not seed:
                bigram = fitted_bigram(data)
                line = {"network": f"bigram of {name}", "classes": len(data.vocabulary)}
                for part in ("valid", "test"):
                    losses = bigram.losses(getattr(data, part))
                    line |= of_notes(losses, getattr(data.split, part), data, part)
                yield line
            line = described(name, chosen, network) | {"seed": seed} | paid_by(network, data)
            if name == "events":
                drawn = compose(network, range(20))
                line["beside"] = beside_notes(network, data)
                line["off_beat"] = each(off_beat_share, drawn)
                line["silences"] = [len(silences(piece)) for piece in drawn]
            yield line
    network = load_pretrained("events")
    options = network.command.removeprefix("python -m pianolstm train ")
    yield described("events, tuned", options, network) | paid_by(network, songs_for(network))


def written(pieces: Sequence[Piece]) -> dict:
    """Of whole pieces: did each end by itself; bars; and, in the key that is heard, its ending."""
    return {
        "ended": sum("no end" not in piece.repaired for piece in pieces),
        "bars": [bars(piece) for piece in pieces],
        "tonic": each(ends_on_tonic_triad, pieces),
        "cadence": each(ends_with_cadence, pieces),
    }


def each(statistic: Callable[[Piece], float], pieces: Sequence[Piece]) -> list[float | None]:
    """A statistic of each piece; None where it has none."""
    values = [statistic(piece) for piece in pieces]
    return [None if np.isnan(value) else value for value in values]


def compare_helpers(runs: Path) -> Iterator[dict]:
    """The helpers of `EventEncoding` added one by one, and a bigram that counts bars as they do."""
    for name, options in HELPERS.items():
        for seed in range(2):
            chosen = f"{options} --seed {seed}"
            network = trained(f"helpers {name} {seed}", chosen, runs)
            line = described(name, chosen, network) | {"seed": seed}
            line |= paid_by(network, songs_for(network), ["valid"])
            yield line | written(compose(network, range(PIECES)))
    data, ids = songs_for(network), network.vocabulary.ids
    bigram, prompts = fitted_bigram(data), [[ids["<bos>"]]] * PIECES
    new = generate(bigram, prompts, PART_LENGTH * 4, range(PIECES), stop=ids["<eos>"],
                   counts=network.counts)  # fmt: skip
    yield {"network": "bigram"} | written(pieces_of(network, prompts, new))
    yield {"network": "held-out songs"} | written([*data.split.valid, *data.split.test])


def compare_endings(runs: Path) -> Iterator[dict]:
    """What the network that ships writes with top-p; its endings in the written key, too."""
    pieces = compose(load_pretrained("events"), range(PIECES), top_p=0.95)
    fields = written(pieces)
    for name, test in {"tonic": ends_on_tonic_triad, "cadence": ends_with_cadence}.items():
        fields[f"{name}_written"] = each(partial(test, key=written_key), pieces)
    yield {"network": "events", "top_p": 0.95} | fields


def by_parts(pieces: Sequence[Piece], ranges: Ranges) -> dict:
    """How the parts of each piece fit: [parallels, moves], [crossings, chances], agreement, and
    [notes out of range, notes]; and whether it is for a choir of four."""
    lines = [part_lines(piece) for piece in pieces]
    return {
        "choir": [set(p.notes["program"]) == {52} and len(p.track_names) == 4 for p in pieces],
        "parallels": [parallels(line) for line in lines],
        "crossings": [crossings(line) for line in lines],
        "agreement": [None if np.isnan(a := agreement(line)) else round(a, 4) for line in lines],
        "outside": [outside(piece, ranges) for piece in pieces],
    }


def outside(piece: Piece, ranges: Ranges) -> tuple[int, int]:
    """(notes outside the range of their part, notes)."""
    parts = zip(piece.notes["program"].tolist(), piece.notes["track"].tolist())
    limits = np.array([ranges.get(part, (0, 127)) for part in parts]).reshape(-1, 2)
    pitch = piece.notes["pitch"].astype(int)
    return int(((pitch < limits[:, 0]) | (pitch > limits[:, 1])).sum()), len(piece)


def price(
    network: Checkpoint, new: Sequence[np.ndarray], rules: Sequence[PartRules]
) -> list[float]:
    """Nats of each piece by which its rules changed the network's distribution.

    A rule that forbids the mass m leaves p / (1 − m), so that the price of a token is −ln(1 − m).
    The mean over pieces that were drawn so is the Kullback-Leibler divergence from the network.
    """
    start = network.vocabulary.ids["<bos>"]
    pieces = [np.concatenate([[start], ids]) for ids in new]
    costs = []
    for piece, rule, rows in zip(pieces, rules, predictions(network.model, pieces)):
        mass = [p[rule(int(token))].sum() for token, p in zip(piece, rows)]
        costs.append(round(float(-np.log1p(-np.array(mass)).sum()), 3))
    return costs


def compare_ensemble(runs: Path) -> Iterator[dict]:
    """Networks for four parts; the one that validation finds best also under rules."""
    found = {}
    for name, options in ENSEMBLE.items():
        network = trained(f"ensemble {name}", options, runs)
        data = songs_for(network, ensemble=True)
        found[name] = network, described(name, options, network) | paid_by(network, data)
    chorales = [piece.name.startswith("bach_") for piece in data.split.valid]
    best = min(found, key=lambda name: np.dot(found[name][1]["valid_nats"], chorales))
    ranges = part_ranges(data.split.train)
    yield {"network": "held-out chorales"} | by_parts(
        [piece for piece in data.split.test if piece.name.startswith("bach_")], ranges
    )
    for name, (network, line) in found.items():
        ways = {"none": None, "ranges": (ranges, False), "ranges, parallels": (ranges, True)}
        for way, limits in ways.items() if name == best else [("none", None)]:
            ids, code = network.vocabulary.ids, network.encoding
            kinds = [[PartRules(code, network.vocabulary, *limits) for _ in range(PIECES)]
                     if limits else [] for _ in range(2)]  # fmt: skip
            new = generate(network.model, [[ids["<bos>"]]] * PIECES, PART_LENGTH, range(PIECES),
                           stop=ids["<eos>"], rules=kinds[0])  # fmt: skip
            pieces = pieces_of(network, [[ids["<bos>"]]] * PIECES, new, PART_LENGTH)
            cost = price(network, new, kinds[1]) if limits else [0.0] * PIECES
            yield (
                line
                | {"rules": way, "best": name == best, "price": cost}
                | by_parts(pieces, ranges)
            )


def main() -> None:
    """Make one comparison, and append a line for each result."""
    parts = {
        "rhythm": compare_rhythm, "helpers": compare_helpers, "endings": compare_endings,
        "ensemble": compare_ensemble,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=list(parts))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="networks lie here")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    command = f"python notebooks/comparisons.py {args.part} --out comparisons.jsonl"
    for line in parts[args.part](args.runs):
        line = {"part": args.part} | line | {"command": command}
        with open(args.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print({k: v for k, v in line.items() if not isinstance(v, list)}, flush=True)


if __name__ == "__main__":
    main()
