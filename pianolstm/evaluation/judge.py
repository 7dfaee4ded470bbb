"""Can a network tell human pieces from generated ones?

A discriminator as in Goodfellow et al. 2014, "Generative Adversarial Networks", but trained after
the fact and used to measure: 50 % right would mean that it cannot tell. It sees excerpts of the
same number of notes, in random keys, and is tested on pieces that neither it nor the composer was
trained on. (Validation pieces, by which a composer's best epoch was chosen, may be among them.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from pianolstm.evaluation.copying import notes_in_order
from pianolstm.evaluation.statistics import Interval, bootstrap
from pianolstm.piece import Piece

NOTES = 64  # of an excerpt: about four bars of a chorale
TIMES = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)  # quarters; a time counts as the nearest
FEATURES = 12 + 2 + 2 * len(TIMES)


def features(piece: Piece) -> np.ndarray:
    """What the judge sees of every note, shape (notes, 32), float32.

    Pitch class (one of 12), height and interval from the note before (both in octaves), time since
    the note before (one of 9) and duration (one of 9).
    """
    notes = notes_in_order(piece)
    pitch = notes["pitch"].astype(int)
    height = (pitch - 60) / 12
    interval = np.diff(pitch, prepend=pitch[:1]) / 12
    since = np.diff(notes["onset"], prepend=notes["onset"][:1]) / piece.ticks_per_quarter
    duration = notes["duration"] / piece.ticks_per_quarter
    pitch_class = np.eye(12)[pitch % 12]
    columns = [pitch_class, height, interval, _nearest_time(since), _nearest_time(duration)]
    return np.column_stack(columns).astype(np.float32)


def _nearest_time(quarters: np.ndarray) -> np.ndarray:
    """Times (notes,) → one-hot rows (notes, 9)."""
    return np.eye(len(TIMES))[np.abs(quarters[:, None] - np.array(TIMES)).argmin(axis=1)]


class Judge(nn.Module):
    """Two convolutions over notes, then the mean and the maximum over the excerpt, then one unit.

    Excerpts (B, notes, 32) → logits (B,), positive for human.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(FEATURES, channels, 9, padding=4), nn.ReLU(), nn.Dropout(0.3),
            nn.Conv1d(channels, channels, 9, padding=4), nn.ReLU(), nn.Dropout(0.3),
        )  # fmt: skip
        self.output = nn.Linear(2 * channels, 1)

    def forward(self, excerpts: torch.Tensor) -> torch.Tensor:
        x = self.layers(excerpts.transpose(1, 2))  # (B, channels, notes)
        return self.output(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)).squeeze(1)


def transposed(excerpts: torch.Tensor, semitones: torch.Tensor) -> torch.Tensor:
    """Excerpts (B, notes, 32), each moved by its semitones (B,)."""
    rows, places = torch.arange(len(excerpts))[:, None], torch.arange(12) - semitones[:, None]
    moved = excerpts.clone()
    moved[:, :, :12] = excerpts.transpose(1, 2)[rows, places % 12].transpose(1, 2)
    moved[:, :, 12] += semitones[:, None] / 12
    return moved


def long_enough(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces that have an excerpt of `NOTES` notes. Raises ValueError if none has."""
    found = [piece for piece in pieces if len(piece) >= NOTES]
    if not found:
        raise ValueError(f"none of {len(pieces)} pieces has {NOTES} notes. Give longer ones")
    return found


def train_judge(
    human: Sequence[Piece], generated: Sequence[Piece], seed: int = 0, epochs: int = 40
) -> Judge:
    """Train a judge on pieces of both kinds; each epoch draws an excerpt of every piece.

    The kind with fewer pieces is drawn from more often, so that both are equally frequent. Raises
    ValueError as `long_enough` does.
    """
    kinds = [[features(piece) for piece in long_enough(kind)] for kind in (human, generated)]
    number = max(map(len, kinds))
    labels = torch.tensor([1.0] * number + [0.0] * number)
    generator = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge()
        optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in tqdm(range(epochs), "judge", unit="epoch", disable=None):
            excerpts = torch.from_numpy(_draw_excerpts(kinds, number, generator))
            for index in torch.from_numpy(generator.permutation(len(labels))).split(32):
                semitones = torch.from_numpy(generator.integers(-6, 6, size=len(index)))
                logits = judge(transposed(excerpts[index], semitones))
                loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
    return judge.eval()


def _draw_excerpts(
    kinds: list[list[np.ndarray]], number: int, generator: np.random.Generator
) -> np.ndarray:
    """As many excerpts of each kind, shape (kinds · number, notes, 32)."""
    excerpts = []
    for pieces in kinds:
        for i in range(number):
            piece = pieces[i % len(pieces)]
            start = generator.integers(len(piece) - NOTES + 1)
            excerpts.append(piece[start : start + NOTES])
    return np.stack(excerpts)


def accuracy(judge: Judge, human: Sequence[Piece], generated: Sequence[Piece]) -> Interval:
    """Share of excerpts that the judge gets right, with a 95 % confidence interval over pieces.

    A piece counts once, with the mean over its successive excerpts. Both kinds count equally.
    Raises ValueError as `long_enough` does.
    """
    rows = []  # (share right, whether human)
    for is_human, pieces in ((True, human), (False, generated)):
        for piece in long_enough(pieces):
            notes = torch.from_numpy(features(piece))
            excerpts = notes[: len(notes) // NOTES * NOTES].reshape(-1, NOTES, FEATURES)
            with torch.inference_mode():
                right = (judge(excerpts) > 0) == is_human
            rows.append((float(right.double().mean()), is_human))
    return bootstrap(rows, _balanced)


def _balanced(rows: np.ndarray) -> float:
    """The mean of both kinds' means; rows (share right, kind)."""
    kinds = [rows[rows[:, 1] == kind, 0].mean() for kind in np.unique(rows[:, 1])]
    return float(np.mean(kinds))
