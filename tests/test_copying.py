import subprocess
import sys

import numpy as np
import pytest

from pianolstm.dataset import prepare
from pianolstm.encodings import ArticleEncoding
from pianolstm.evaluation import Corpus, longest_copied_runs, repetition
from pianolstm.piece import Piece


def tune(*pitches, length=1, tempo=120.0, after=0):
    rows = [(after + i * length, length, p) for i, p in enumerate(pitches)]
    return Piece.from_quarters(rows, tempi=((0, tempo),))


SONG = tune(60, 62, 64, 65, 67, 65, 64, 62)


def test_longest_copied_runs():
    training = [np.array([1, 2, 3, 4]), np.array([5, 6, 7])]
    pieces = [[9, 2, 3, 4, 5, 6], [4, 5], []]  # the second not across two pieces
    assert longest_copied_runs(pieces, training) == [(3, 1), (1, 0), (0, 0)]
    assert longest_copied_runs([[0, 0, 0]], [np.array([0, 0, 0])]) == [(0, 0)]


def test_tokens_in_another_key_are_found(song_pieces):
    data = prepare(song_pieces[:60], ArticleEncoding())
    moved = data.vocabulary.encode(ArticleEncoding().encode(data.split.train[3].transpose(2)))
    assert longest_copied_runs([moved], data.train_all_keys) == [(len(moved), 0)]


def test_repetition_finds_the_period_of_a_loop():
    assert repetition([5, 1, 2, 3, 1, 2, 3, 1, 2, 3], window=8) == 3
    assert repetition([1, 2, 3, 4, 4, 4], window=3) == 1
    assert repetition([1, 2, 3, 4]) == repetition([]) == 0
    assert repetition(list(range(40)) + list(range(24)), window=64) == 0  # not played twice


def test_notes_in_another_key_and_at_another_place_are_found():
    corpus = Corpus([SONG])
    copied = tune(90, 50, 69, 71, 73, 74, 40, after=3, tempo=60)  # 62 64 65 … would be another step
    (copy,) = corpus.longest_copies([copied])
    assert copy.notes == 4 and copy.seconds == pytest.approx(4)
    whole = corpus.longest_copies([SONG.transpose(5)])[0]
    assert whole.notes == len(SONG) and whole.seconds == pytest.approx(SONG.seconds)


def test_the_same_music_in_other_ticks_is_a_copy():
    rows = [(i / 3, 1 / 3, pitch) for i, pitch in enumerate((60, 64, 67, 72))]
    fine, coarse = (Piece.from_quarters(rows, ticks) for ticks in (480, 12))
    assert Corpus([fine]).longest_copies([coarse])[0].notes == 4


def test_another_rhythm_is_no_copy():
    assert Corpus([SONG]).longest_copies([tune(60, 62, 64, length=0.5)])[0].notes == 1


def test_runs_do_not_cross_from_one_piece_into_the_next():
    corpus = Corpus([tune(60, 62), tune(64, 65)])
    assert corpus.longest_copies([tune(60, 62, 64, 65)])[0].notes == 2


def test_pieces_of_no_or_one_note():
    corpus = Corpus([SONG])
    copies = corpus.longest_copies([Piece.from_quarters([]), tune(60)])
    assert [copy.notes for copy in copies] == [0, 1]


def test_copies_and_statistics_need_no_torch():
    code = (
        "import sys, pianolstm.evaluation.copying, pianolstm.evaluation.statistics\n"
        "from pianolstm.evaluation import Corpus, bootstrap, key_of\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
