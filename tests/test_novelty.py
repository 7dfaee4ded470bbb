import numpy as np
import pytest

from pianolstm.novelty import Corpus, words
from pianolstm.piece import Piece


def tune(*pitches, length=1, tempo=120.0, after=0):
    rows = [(after + i * length, length, p) for i, p in enumerate(pitches)]
    return Piece.from_quarters(rows, tempi=((0, tempo),))


SONG = tune(60, 62, 64, 65, 67, 65, 64, 62)


def test_a_word_is_a_step_in_pitch_and_time_and_a_length():
    piece = Piece.from_quarters([(0, 2, 60), (0, 2, 48), (1.5, 0.5, 62)])
    assert [tuple(map(float, word)) for word in words(piece)] == [(-12, 0, 2), (14, 1.5, 0.5)]


def test_a_copy_is_found_in_another_key_and_at_another_place():
    corpus = Corpus([SONG])
    copied = tune(90, 50, 69, 71, 73, 74, 40, after=3, tempo=60)  # 62 64 65 … would be another step
    (copy,) = corpus.longest_copies([copied])
    assert (copy.notes, copy.start) == (4, 2)
    assert copy.seconds == pytest.approx(4)
    whole = corpus.longest_copies([SONG.transpose(5)])[0]
    assert whole.notes == len(SONG) and whole.seconds == pytest.approx(SONG.seconds)


def test_another_rhythm_is_no_copy():
    assert Corpus([SONG]).longest_copies([tune(60, 62, 64, length=0.5)])[0].notes == 1


def test_runs_do_not_cross_from_one_piece_into_the_next():
    corpus = Corpus([tune(60, 62), tune(64, 65)])
    assert corpus.longest_copies([tune(60, 62, 64, 65)])[0].notes == 2


def test_share_of_grams_by_hand():
    corpus = Corpus([SONG])
    half = tune(60, 62, 64, 90, 92)  # runs of 2 notes: +2 +2 known, +26 not, +2 known
    assert corpus.share_of_grams(half, 2) == pytest.approx(3 / 4)
    assert corpus.share_of_grams(half, 3) == pytest.approx(1 / 3)
    assert corpus.share_of_grams(SONG.transpose(-7), 8) == 1
    assert np.isnan(corpus.share_of_grams(half, 6))
    with pytest.raises(ValueError, match="n is 1; a run has at least 2"):
        corpus.share_of_grams(half, 1)


def test_pieces_of_no_or_one_note():
    corpus = Corpus([SONG])
    copies = corpus.longest_copies([Piece.from_quarters([]), tune(60)])
    assert [copy.notes for copy in copies] == [0, 1]
