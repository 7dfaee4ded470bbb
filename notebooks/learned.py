"""What the article's networks have learned: do they loop, and do they know songs by heart?

    python notebooks/learned.py article article_2019 --out learned.jsonl   # 15 minutes of one core
    python notebooks/learned.py --reestimate runs/article_2019/FILE --out article_2019.safetensors

Each network goes on for 500 tokens from 20 windows of training songs and 20 of test songs, in three
ways: the likeliest token every time with the sliding window, as the article does; a draw at
temperature 1 with the window; a draw at temperature 1 with the state carried. A line of the result
holds, for one network, one way and one kind of start:

* `loop_8`, `loop_32`: share of the pieces that end in a loop of at most so many tokens;
* `longest_run`: median of the longest run of tokens that also stands in a training song, in the
  song's own key, since the article transposes nothing; `bach_run` is the same for the test songs;
* `in_one_song`: median share of the tokens that lie in runs of `RUN` or more which all stand in one
  training song, the one with the largest share; `song` is the one of the piece with the most.

`--reestimate` gives a network with batch normalisation the statistics of its final weights. Those
that it gathered while it learned lag behind (momentum 0.99): on the plateau its activations hardly
differ from window to window, so the mean of the last hundred batches, for weights that have moved
since, is many standard deviations off, and the held-out loss is in the thousands of nats.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pianolstm.checkpoint import Checkpoint, load_checkpoint, load_pretrained, save_checkpoint
from pianolstm.dataset import Dataset, prepare, windows
from pianolstm.evaluation import longest_copied_runs, repetition
from pianolstm.folder import read_folder
from pianolstm.generation import generate, probabilities, sample_next

LENGTH = 500  # tokens, as in the article
STARTS = 20
RUN = 8  # tokens; shorter runs are common property
WAYS = ("argmax, window", "temperature 1, window", "temperature 1, state carried")


def start_windows(pieces: Sequence[np.ndarray], steps: int, seed: int) -> np.ndarray:
    """Windows at random places of pieces laid one after another, shape (STARTS, steps)."""
    ids = np.concatenate(pieces)
    places = np.random.default_rng(seed).integers(0, len(ids) - steps, size=STARTS)
    return np.stack([ids[place : place + steps] for place in places])


def continue_by_window(model: torch.nn.Module, starts: np.ndarray, greedy: bool) -> np.ndarray:
    """The article's loop for all starts side by side: new ids, shape (STARTS, LENGTH)."""
    generators = [np.random.default_rng(seed) for seed in range(len(starts))]
    pattern = torch.from_numpy(starts)
    new = np.zeros((len(starts), LENGTH), dtype=np.int64)
    with torch.inference_mode():
        for i in tqdm(range(LENGTH), "window", unit="token", disable=None):
            logits = model.predict_next(pattern).numpy()
            if greedy:
                new[:, i] = logits.argmax(axis=1)
            else:
                draws = [sample_next(probabilities(row), g) for row, g in zip(logits, generators)]
                new[:, i] = draws
            pattern = torch.cat([pattern[:, 1:], torch.from_numpy(new[:, i : i + 1])], dim=1)
    return new


def write(checkpoint: Checkpoint, starts: np.ndarray, way: str) -> np.ndarray:
    """Continue each start in one of `WAYS`."""
    if way == WAYS[2]:
        return np.stack(generate(checkpoint.model, starts, LENGTH, range(len(starts))))
    return continue_by_window(checkpoint.model, starts, greedy=way == WAYS[0])


def share_in_one_song(piece: np.ndarray, songs: Sequence[np.ndarray]) -> tuple[float, int]:
    """Share of a piece's tokens in runs of `RUN` or more of one song, and which song that is."""
    shares = []
    runs = [piece[i : i + RUN].tobytes() for i in range(len(piece) - RUN + 1)]
    for song in songs:
        known = {song[i : i + RUN].tobytes() for i in range(len(song) - RUN + 1)}
        covered = np.zeros(len(piece), dtype=bool)
        for i, run in enumerate(runs):
            if run in known:
                covered[i : i + RUN] = True
        shares.append(covered.mean())
    best = int(np.argmax(shares))
    return float(shares[best]), best


def measure(name: str, checkpoint: Checkpoint, data: Dataset) -> list[dict]:
    """A line of the result for each kind of start and each way."""
    songs = data.train_own_key
    bach = longest_copied_runs(data.test, songs)
    lines = []
    for kind, pieces in (("training songs", songs), ("test songs", data.test)):
        starts = start_windows(pieces, checkpoint.train_config.steps, seed=0)
        for way in WAYS:
            new = write(checkpoint, starts, way)
            periods = np.array([repetition(piece.tolist()) for piece in new])
            runs = longest_copied_runs(new, songs)
            shares = [share_in_one_song(piece, songs) for piece in new]
            share, song = max(shares)
            lines.append({
                "network": name, "starts": kind, "way": way,
                "loop_8": float(((periods > 0) & (periods <= 8)).mean()),
                "loop_32": float(((periods > 0) & (periods <= 32)).mean()),
                "distinct": float(np.median([len(set(piece.tolist())) for piece in new])),
                "longest_run": float(np.median(runs)), "bach_run": float(np.median(bach)),
                "in_one_song": float(np.median([share for share, _ in shares])),
                "most_in_one_song": share, "song": data.split.train[song].name,
            })  # fmt: skip
    return lines


def reestimate(checkpoint: Checkpoint, data: Dataset) -> None:
    """Batch statistics as the mean over one pass through all training windows, in place.

    Source: Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3 (PreciseBN).
    """
    inputs, _ = windows(np.concatenate(data.train_own_key), checkpoint.train_config.steps)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(inputs)))
    for norm in checkpoint.model.norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    checkpoint.model.train()
    with torch.no_grad():
        for rows in tqdm(order.split(64), "statistics", unit="batch", disable=None):
            checkpoint.model.predict_next(inputs[rows])
    checkpoint.model.eval()


def main() -> None:
    """Measure the networks that are named, and append a line for each result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", help="files, or names of shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--reestimate", type=Path, metavar="FILE", help="write --out from FILE")
    args = parser.parse_args()
    pieces = read_folder(Path(__file__).resolve().parents[1] / "midi_songs").pieces
    if args.reestimate:
        checkpoint = load_checkpoint(args.reestimate)
        reestimate(checkpoint, prepare(pieces, checkpoint.encoding, checkpoint.vocabulary))
        print(save_checkpoint(args.out, checkpoint, dtype=torch.float16))
        return
    for name in args.networks:
        checkpoint = load_checkpoint(name) if Path(name).suffix else load_pretrained(name)
        data = prepare(pieces, checkpoint.encoding, checkpoint.vocabulary)
        for line in measure(Path(name).stem, checkpoint, data):
            print(line, flush=True)
            with open(args.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
