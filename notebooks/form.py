"""Does it sound like form? Pieces of networks beside held-out songs with their repeats.

    python notebooks/form.py songs bigram events "form without memory" form --out form.jsonl
    python notebooks/form.py form --judge 6000 7000 8000 --out form.jsonl
    python notebooks/form.py form --cost --out form.jsonl

Each set has a line of the result, with a number for every piece: 100 pieces drawn as `compose`
draws, or the held-out songs of `midi_songs/repeats`.

* `returning`: share of the bars that occurred before, exactly or transposed;
* `likest`: mean over bars of their likeness to the likest earlier bar (self-similarity);
* `loop`: whether the last 64 moments repeat themselves;
* `ended`, `tonic`: whether it ended by itself, and on the tonic triad of its key;
* `bars`, `copied`: its length; the longest run of notes copied from the training songs.

`--judge` trains a network to tell the network's pieces from human ones, once for each seed.
`--cost` measures what the held-out songs cost the network, without and with its memory.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pianolstm import commands
from pianolstm import evaluation as ev
from pianolstm.checkpoint import Checkpoint, load_pretrained, save_checkpoint
from pianolstm.composing import LONGEST, compose, pieces_of
from pianolstm.dataset import Dataset, load_songs
from pianolstm.encodings import BOS, EOS
from pianolstm.evaluation.copying import notes_in_order
from pianolstm.generation import generate
from pianolstm.piece import Piece

SONGS = Path(__file__).resolve().parents[1] / "midi_songs" / "repeats"
WITHOUT = " without memory"


def network_named(name: str) -> Checkpoint:
    """A shipped network or a file; with `WITHOUT` behind its name it does not remember."""
    own = "events" if name in ("songs", "bigram") else name.removesuffix(WITHOUT)
    network = load_pretrained(own)
    return replace(network, memory=None) if name.endswith(WITHOUT) else network


def pieces_named(name: str, data: Dataset, number: int) -> list[Piece]:
    """The pieces of a set: the held-out songs, or as many new ones."""
    network, seeds = network_named(name), range(number)
    if name == "songs":
        return [data.encoding.decode(data.encoding.encode(piece)) for piece in data.split.test]
    if name == "bigram":
        begin, end = (network.vocabulary.ids[token] for token in (BOS, EOS))
        prompts = [[begin]] * number
        new = generate(ev.fitted_bigram(data), prompts, LONGEST, seeds, stop=end)
        return pieces_of(network, prompts, new)
    return compose(network, seeds, top_p=0.95)


def moments(piece: Piece) -> list[tuple]:
    """What starts at each onset: ticks since the onset before, then pitches and lengths."""
    notes = notes_in_order(piece)
    onsets, first = np.unique(notes["onset"], return_index=True)
    gaps = np.diff(onsets, prepend=onsets[:1]).tolist()
    groups = np.split(notes[["pitch", "duration"]], first[1:])
    return [(gap, *group.tolist()) for gap, group in zip(gaps, groups)]


def measures(pieces: Sequence[Piece], songs: Sequence[Piece]) -> dict[str, list[float]]:
    """A number for every piece, see above."""
    alike = [np.tril(ev.self_similarity(piece), -1)[1:] for piece in pieces]
    found = {
        "returning": [ev.returning_bars(piece) for piece in pieces],
        "likest": [float(rows.max(axis=1).mean()) if len(rows) else 0.0 for rows in alike],
        "loop": [float(ev.repetition(moments(piece), 64) > 0) for piece in pieces],
        "ended": [float("no end" not in piece.repaired) for piece in pieces],
        "tonic": [float(ev.ends_on_tonic_triad(piece)) for piece in pieces],
        "bars": [float(len(piece.bar_starts())) for piece in pieces],
        "copied": [float(notes) for notes in ev.longest_copies(pieces, songs)],
    }
    return {key: [round(value, 4) for value in values] for key, values in found.items()}


def cost(network: Checkpoint, pieces: Sequence[Piece]) -> dict[str, list]:
    """The notes of every piece, and what it costs without and with memory.

    That is three numbers a piece: nats of all of it, and of the bars that return at the same pitch,
    the first time and again.
    """
    ids = [network.vocabulary.encode(network.encoding.encode(piece)) for piece in pieces]
    found: dict[str, list] = {"notes": [len(piece) for piece in pieces]}
    for name, memory in (("without memory", None), ("with memory", network.memory)):
        found[name] = []
        losses = ev.nll(network.model, ids, memory=memory).per_piece
        for piece, own, loss in zip(pieces, ids, losses):
            lines = [token.startswith("bar:") for token in network.vocabulary.decode(own)]
            nats, bars = np.bincount(np.cumsum(lines)[1:], loss)[1:], ev.bar_contents(piece)
            again = [i for i, bar in enumerate(bars) if bar and bar in bars[:i]]
            first = [bars.index(bars[i]) for i in again]
            found[name].append([loss.sum(), nats[first].sum(), nats[again].sum()])
        found[name] = np.round(found[name], 2).tolist()
    return found


def main() -> None:
    """Measure each set, or judge it, and append a line for each result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+", help="songs, bigram, or a network")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--pieces", type=int, default=100)
    parser.add_argument("--judge", type=int, nargs="*", default=[], help="seeds of judges")
    parser.add_argument("--cost", action="store_true", help="of held-out songs, with memory or not")
    args = parser.parse_args()
    first = network_named("events")
    data = load_songs(SONGS, first.encoding, first.vocabulary)
    command = shlex.join(["python", "notebooks/form.py", *sys.argv[1:]])
    for name in args.sets:
        lines = []
        for seed in args.judge:
            with TemporaryDirectory() as folder:
                path = save_checkpoint(Path(folder) / f"{name}.safetensors", network_named(name))
                found = commands.judge([str(path)], songs=SONGS, seed=seed)
                lines += [line | {"seed": seed} for line in found]
        if args.cost:
            lines.append({"network": name, **cost(network_named(name), data.split.test)})
        elif not args.judge:
            found = measures(pieces_named(name, data, args.pieces), data.split.train)
            means = {key: round(float(np.nanmean(values)), 3) for key, values in found.items()}
            print(name, means, flush=True)
            lines.append({"set": name, **found})
        with open(args.out, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line | {"command": command}) + "\n" for line in lines)


if __name__ == "__main__":
    main()
