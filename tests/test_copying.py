import subprocess
import sys

import numpy as np
import pytest

from pianolstm.dataset import prepare
from pianolstm.encodings import ArticleEncoding
from pianolstm.evaluation import (
    bar_contents,
    longest_copied_runs,
    longest_copies,
    repetition,
    returning_bars,
    self_similarity,
)
from pianolstm.piece import Piece


def tune(*pitches, length=1, after=0):
    rows = [(after + i * length, length, p) for i, p in enumerate(pitches)]
    return Piece.from_quarters(rows)


SONG = tune(60, 62, 64, 65, 67, 65, 64, 62)


def test_longest_copied_runs():
    training = [np.array([1, 2, 3, 4]), np.array([5, 6, 7])]
    pieces = [[9, 2, 3, 4, 5, 6], [4, 5], []]  # the second not across two pieces
    assert longest_copied_runs(pieces, training) == [3, 1, 0]
    assert longest_copied_runs([[0, 0, 0]], [np.array([0, 0, 0])]) == [0]


def test_tokens_in_another_key_are_found(song_pieces):
    data = prepare(song_pieces[:60], ArticleEncoding())
    moved = data.vocabulary.encode(ArticleEncoding().encode(data.split.train[3].transpose(2)))
    assert longest_copied_runs([moved], data.train_all_keys) == [len(moved)]


def test_repetition_finds_the_period_of_a_loop():
    assert repetition([5, 1, 2, 3, 1, 2, 3, 1, 2, 3], window=8) == 3
    assert repetition([1, 2, 3, 4, 4, 4], window=3) == 1
    assert repetition([1, 2, 3, 4]) == repetition([]) == 0
    assert repetition(list(range(40)) + list(range(24)), window=64) == 0  # not played twice


def test_notes_in_another_key_and_at_another_place_are_found():
    copied = tune(90, 50, 69, 71, 73, 74, 40, after=3)  # 62 64 65 … would be another step
    assert longest_copies([copied, SONG.transpose(5)], [SONG]) == [4, len(SONG)]


def test_the_same_music_in_other_ticks_is_a_copy():
    rows = [(i / 3, 1 / 3, pitch) for i, pitch in enumerate((60, 64, 67, 72))]
    fine, coarse = (Piece.from_quarters(rows, ticks) for ticks in (480, 12))
    assert longest_copies([coarse], [fine]) == [4]


def test_another_rhythm_is_no_copy():
    assert longest_copies([tune(60, 62, 64, length=0.5)], [SONG]) == [1]


def test_runs_do_not_cross_from_one_piece_into_the_next():
    assert longest_copies([tune(60, 62, 64, 65)], [tune(60, 62), tune(64, 65)]) == [2]


def test_pieces_of_no_or_one_note():
    assert longest_copies([Piece.from_quarters([]), tune(60)], [SONG]) == [0, 1]


def test_copies_and_statistics_need_no_torch():
    code = (
        "import sys, pianolstm.evaluation.copying, pianolstm.evaluation.statistics\n"
        "from pianolstm.evaluation import bootstrap, key_of, longest_copies\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- bars

BAR = [(0, 1, 60), (1, 1, 64), (2, 2, 67)]  # onset, length, pitch


def in_bars(*shifts):
    """A bar of 4/4 for each shift in semitones; None for an empty one."""
    notes = [(4 * i + onset, length, pitch + shift, 0) for i, shift in enumerate(shifts)
             if shift is not None for onset, length, pitch in BAR]  # fmt: skip
    return Piece.from_quarters(notes, name="test")


def test_a_bar_returns_exactly_or_transposed():
    assert returning_bars(in_bars(0)) == 0
    assert returning_bars(in_bars(0, 0, 5, 0)) == 0.75
    other = Piece.from_quarters([(0, 1, 60, 0), (4, 1, 60, 0), (9, 1, 60, 0)])
    assert returning_bars(other) == pytest.approx(1 / 3)  # a bar is also the places of its notes
    assert returning_bars(in_bars(0, None, 0)) == 0.5  # silence does not return
    assert np.isnan(returning_bars(Piece.from_quarters([])))


def test_self_similarity_is_the_share_of_common_notes():
    found = self_similarity(in_bars(0, 4, None, 0))
    assert found.diagonal() == pytest.approx(1) and np.array_equal(found, found.T)
    assert found[0].tolist() == [1, 0, 0, 1]
    assert len(bar_contents(in_bars(0, None, 0))) == 3
