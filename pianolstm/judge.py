"""Can a network tell human pieces from generated ones? The number that a composer pushes down.

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

from pianolstm.novelty import line
from pianolstm.piece import Piece
from pianolstm.statistics import Interval, bootstrap

NOTES = 64  # of an excerpt: some four bars of a chorale
TIMES = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)  # quarters; a time counts as the nearest
FEATURES = 12 + 2 + 2 * len(TIMES)


def features(piece: Piece) -> np.ndarray:
    """What the judge sees of every note, shape (notes, 32), float32.

    Pitch class (one of 12), height, semitones from the note before, time since it began (one of
    9) and own length (one of 9).
    """
    notes = line(piece)
    result = np.zeros((len(notes), FEATURES), dtype=np.float32)
    if not len(notes):
        return result
    pitch = notes["pitch"].astype(int)
    rows = np.arange(len(notes))
    result[rows, pitch % 12] = 1.0
    result[:, 12] = (pitch - 60) / 12
    result[1:, 13] = np.diff(pitch) / 12
    since = np.diff(notes["onset"], prepend=notes["onset"][0]) / piece.ticks_per_quarter
    length = notes["duration"] / piece.ticks_per_quarter
    for begin, quarters in ((14, since), (14 + len(TIMES), length)):
        nearest = np.abs(quarters[:, None] - np.array(TIMES)).argmin(axis=1)
        result[rows, begin + nearest] = 1.0
    return result


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
        x = self.layers(excerpts.transpose(1, 2))
        return self.output(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)).squeeze(1)


def transposed(excerpts: torch.Tensor, semitones: torch.Tensor) -> torch.Tensor:
    """Excerpts (B, notes, 32), each moved by its semitones (B,)."""
    places = (torch.arange(12)[None, :] - semitones[:, None]) % 12
    moved = excerpts.clone()
    moved[:, :, :12] = torch.gather(
        excerpts[:, :, :12], 2, places[:, None, :].expand(-1, excerpts.shape[1], -1)
    )
    moved[:, :, 12] += semitones[:, None] / 12
    return moved


def long_enough(pieces: Sequence[Piece], notes: int = NOTES) -> list[Piece]:
    """The pieces that have an excerpt of so many notes."""
    return [piece for piece in pieces if len(piece) >= notes]


def train_judge(
    human: Sequence[Piece], generated: Sequence[Piece], seed: int = 0, epochs: int = 40
) -> Judge:
    """Train a judge on pieces of both kinds; each epoch draws an excerpt of every piece.

    The kind with fewer pieces is drawn from more often, so that both are as common. Raises
    ValueError if a kind has no piece of `NOTES` notes.
    """
    kinds = [[features(p) for p in long_enough(pieces)] for pieces in (human, generated)]
    if not all(kinds):
        raise ValueError(f"no piece of {NOTES} notes or more among the human or the generated ones")
    number = max(map(len, kinds))
    generator = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge()
        optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        for _ in range(epochs):
            rows, labels = [], []
            for label, pieces in ((1.0, kinds[0]), (0.0, kinds[1])):
                for i in range(number):
                    piece = pieces[i % len(pieces)]
                    start = generator.integers(len(piece) - NOTES + 1)
                    rows.append(piece[start : start + NOTES])
                    labels.append(label)
            everything, target = torch.from_numpy(np.stack(rows)), torch.tensor(labels)
            for index in torch.from_numpy(generator.permutation(len(rows))).split(32):
                semitones = torch.from_numpy(generator.integers(-6, 6, size=len(index)))
                logits = judge(transposed(everything[index], semitones))
                loss = nn.functional.binary_cross_entropy_with_logits(logits, target[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
    return judge.eval()


def accuracy(judge: Judge, human: Sequence[Piece], generated: Sequence[Piece]) -> Interval:
    """Share of excerpts that the judge gets right, with a 95 % interval over pieces.

    A piece counts once: the mean over its excerpts, side by side from its beginning. Both kinds
    count alike; raises ValueError if one has no piece of `NOTES` notes.
    """
    means = []
    for is_human, pieces in ((True, human), (False, generated)):
        right = [_right(judge, features(p), is_human) for p in long_enough(pieces)]
        if not right:
            raise ValueError(f"no {'human' if is_human else 'generated'} piece of {NOTES} notes")
        means.append(right)
    rows = [(value, kind) for kind, right in enumerate(means) for value in right]
    return bootstrap(rows, _balanced)


def _right(judge: Judge, piece: np.ndarray, is_human: bool) -> float:
    starts = range(0, len(piece) - NOTES + 1, NOTES)
    excerpts = torch.from_numpy(np.stack([piece[start : start + NOTES] for start in starts]))
    with torch.inference_mode():
        return float(((judge(excerpts) > 0) == is_human).float().mean())


def _balanced(rows: np.ndarray) -> float:
    """The mean of both kinds' means; rows (share right, kind)."""
    kinds = [rows[rows[:, 1] == kind, 0] for kind in (0, 1)]
    return float(np.mean([values.mean() for values in kinds if len(values)]))
