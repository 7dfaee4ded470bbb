from dataclasses import replace

import numpy as np
import pytest
import torch

from pianolstm.evaluation.judge import (
    NOTES,
    accuracy,
    features,
    long_enough,
    train_judge,
    transposed,
)
from pianolstm.piece import Piece


def walks(seed, count, steps):
    """Pieces of 80 notes that move by such steps, one a quarter."""
    rng = np.random.default_rng(seed)
    return [
        Piece.from_quarters(
            [(i, 1, int(p)) for i, p in enumerate(60 + np.cumsum(rng.choice(steps, 80)) % 24)]
        )
        for _ in range(count)
    ]


def test_transposing_features_is_transposing_the_piece():
    (piece,) = walks(0, 1, [-2, 3])
    excerpt = torch.from_numpy(features(piece))[None]
    for semitones in (-5, 0, 4):
        moved = transposed(excerpt, torch.tensor([semitones]))
        assert torch.allclose(moved[0], torch.from_numpy(features(piece.transpose(semitones))))


def test_it_tells_what_differs_and_cannot_tell_what_does_not():
    human, machine, alike = walks(1, 60, [-2, 1]), walks(2, 60, [-5, 7]), walks(3, 60, [-2, 1])
    judge = train_judge(human[:40], machine[:40], epochs=25)
    assert accuracy(judge, human[40:], machine[40:]).low > 0.95
    blind = train_judge(human[:40], alike[:40], epochs=6)
    found = accuracy(blind, human[40:], alike[40:])
    assert 0.3 < found.value < 0.7
    assert found.low < found.value < found.high


def test_the_same_seed_gives_the_same_judge():
    human, machine = walks(1, 6, [-2, 1]), walks(2, 6, [-5, 7])
    one, two = (train_judge(human, machine, seed=3, epochs=1) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))


def test_short_pieces_are_left_out_and_none_left_is_an_error():
    (piece,) = walks(1, 1, [-2, 1])
    short = replace(piece, notes=piece.notes[: NOTES - 1])
    assert long_enough([piece, short]) == [piece]
    with pytest.raises(ValueError, match="none of 1 pieces has 64 notes"):
        train_judge([piece], [short])
    judge = train_judge([piece], [piece], epochs=1)
    with pytest.raises(ValueError, match="none of 1 pieces has 64 notes"):
        accuracy(judge, [piece], [short])
