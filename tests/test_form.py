"""What comes back in a piece."""

import numpy as np
import pytest

from pianolstm.evaluation.form import bar_contents, moments, returning_bars, self_similarity
from pianolstm.piece import Piece

BAR = [(0, 1, 60), (1, 1, 64), (2, 2, 67)]  # onset, length, pitch


def piece(*shifts):
    """A bar of 4/4 for each shift in semitones; None for an empty one."""
    notes = [(4 * i + onset, length, pitch + shift, 0) for i, shift in enumerate(shifts)
             if shift is not None for onset, length, pitch in BAR]  # fmt: skip
    return Piece.from_quarters(notes, name="test")


def test_a_bar_returns_exactly_or_transposed():
    assert returning_bars(piece(0)) == 0
    assert returning_bars(piece(0, 0, 5, 0)) == 0.75
    other = Piece.from_quarters([(0, 1, 60, 0), (4, 1, 60, 0), (9, 1, 60, 0)])
    assert returning_bars(other) == pytest.approx(1 / 3)  # a bar is also the places of its notes
    assert returning_bars(piece(0, None, 0)) == 0.5  # silence does not return
    assert np.isnan(returning_bars(Piece.from_quarters([])))


def test_self_similarity_is_the_share_of_common_notes():
    found = self_similarity(piece(0, 4, None, 0))
    assert found.diagonal() == pytest.approx(1) and np.array_equal(found, found.T)
    assert found[0].tolist() == [1, 0, 0, 1]
    assert len(bar_contents(piece(0, None, 0))) == 3


def test_moments_of_a_repeated_bar_repeat_themselves():
    found = moments(piece(0, 0, 0))
    assert len(found) == 9 and found[3:6] == found[6:9] and found[0] != found[3]
