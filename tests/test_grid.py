from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianolstm.grid import GRID, quantise
from pianolstm.midi import read_midi
from pianolstm.piece import Piece

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi" / "piano"


def rows(piece):
    q = piece.ticks_per_quarter
    return [(int(n["onset"]) / q, int(n["duration"]) / q, int(n["pitch"])) for n in piece.notes]


def test_notes_move_to_sixteenths_and_triplets():
    played = [(0.02, 0.96, 60), (1.26, 0.2, 62), (1.65, 0.3, 64), (2.34, 0.3, 65), (3.01, 1, 67)]
    result = quantise(Piece.from_quarters(played))
    expected = [(0, 1, 60), (5 / 4, 1 / 4, 62), (5 / 3, 1 / 3, 64), (7 / 3, 1 / 3, 65), (3, 1, 67)]
    assert np.allclose(rows(result.piece), expected)
    assert result.moved.max() == pytest.approx(0.02, abs=0.002)
    assert "the furthest moved by 0.021" in str(result)


def test_a_short_note_keeps_one_step_of_the_grid():
    result = quantise(Piece.from_quarters([(0, 0.01, 60), (1, 0.01, 62)]), grid=(4,))
    assert rows(result.piece) == [(0, 0.25, 60), (1, 0.25, 62)]


def test_notes_that_fall_together_are_merged_and_counted():
    piece = Piece.from_quarters([(0, 0.5, 60), (0.05, 1, 60), (0, 1, 60, 1), (1, 1, 62)])
    result = quantise(piece)
    assert rows(result.piece) == [(0, 1, 60), (0, 1, 60), (1, 1, 62)]  # on two tracks: two
    assert result.merged == result.piece.dropped["merged on the grid"] == 1


def test_moments_that_fall_together_are_counted():
    piece = Piece.from_quarters([(0, 1, 60), (0.02, 1, 64), (1, 0.1, 62), (1.125, 1, 65)])
    result = quantise(piece, grid=(4,))
    assert result.joined == 2
    assert "2 moments joined" in str(result)
    assert quantise(result.piece).joined == 0


def test_marks_move_with_the_notes():
    piece = Piece.from_quarters([(0, 1, 60), (4, 1, 62)], tempi=((0, 90.0), (1919, 60.0)),
                                time_signatures=((0, 4, 4), (1920, 3, 4)))  # fmt: skip
    moved = quantise(piece).piece
    assert moved.ticks_per_quarter == 12
    assert moved.tempi == ((0, 90.0), (48, 60.0))
    assert moved.time_signatures == ((0, 4, 4), (48, 3, 4))


def test_a_piece_beside_its_beats_is_moved_as_a_whole():
    """Every note a thirty-second note late: without the shift, half would go either way."""
    rng = np.random.default_rng(0)
    late = [(i / 4 + 0.125 + rng.normal() / 200, 0.2, 60 + i % 12) for i in range(64)]
    result = quantise(Piece.from_quarters(late))
    assert result.shift == pytest.approx(-0.125, abs=0.02)
    assert np.array_equal(result.piece.onsets, np.arange(64) / 4)
    early = [(i / 4 + 0.9 + rng.normal() / 200, 0.2, 60 + i % 12) for i in range(64)]
    assert np.array_equal(np.diff(quantise(Piece.from_quarters(early)).piece.onsets), [0.25] * 63)


def test_what_would_start_before_zero_waits_for_a_whole_quarter():
    late = [(0.125 + i / 4, 0.25, 60) for i in range(16)]
    shifted = quantise(Piece.from_quarters([(t - 0.12, d, p) for t, d, p in late]))
    assert shifted.piece.onsets.min() >= 0


def test_random_onsets_have_no_beat_and_are_left_alone():
    rng = np.random.default_rng(1)
    piece = Piece.from_quarters([(t, 0.3, 60) for t in rng.random(300) * 200])
    result = quantise(piece)
    assert not result.has_beat
    assert result.piece is piece
    assert "no beat" in str(result)
    assert "left as it was played" in str(result)
    forced = quantise(piece, bend=True)
    assert not forced.has_beat
    assert forced.grid
    assert "no beat" in str(forced)
    assert "the furthest moved by" in str(forced)
    assert set((forced.piece.notes["onset"] % 12).tolist()) <= {0, 3, 4, 6, 8, 9}


@pytest.mark.parametrize("spread", [0.01, 0.03, 0.05])
def test_human_timing_keeps_its_beat(spread):
    rng = np.random.default_rng(2)
    times = np.sort(rng.integers(0, 200, 150) / 4 + rng.normal(size=150) * spread) + 1
    result = quantise(Piece.from_quarters([(t, 0.2, 60) for t in times]))
    assert result.has_beat


@pytest.mark.skipif(not LENT.is_dir(), reason="the lent MIDI files are not here")
def test_lent_performances_are_told_from_pieces_with_a_beat():
    for path in sorted(LENT.glob("*.mid")):
        assert quantise(read_midi(path)).has_beat == (not path.name.startswith("Maestro"))


note = st.tuples(st.integers(0, 4000), st.integers(1, 900), st.integers(0, 127),
                 st.integers(0, 1))  # fmt: skip


@given(st.lists(note, min_size=1, max_size=40), st.sampled_from([(4, 3), (4,), (8, 6), (1,)]))
def test_the_grid_holds_and_a_second_time_changes_nothing(notes, grid):
    piece = Piece.from_quarters([(o / 480, d / 480, p, t) for o, d, p, t in notes])
    once = quantise(piece, grid, bend=True)
    on_grid = {k * (once.piece.ticks_per_quarter // d) for d in grid for k in range(d)}
    unit = once.piece.ticks_per_quarter
    assert set((once.piece.notes["onset"] % unit).tolist()) <= on_grid
    ends = once.piece.notes["onset"] + once.piece.notes["duration"]
    assert set((ends % unit).tolist()) <= on_grid
    assert len(once.piece) + once.merged == len(piece)
    assert once.moved.max() <= 0.5 / max(grid) + 1e-9
    twice = quantise(once.piece, grid)
    assert twice.piece == once.piece
    assert not twice.moved.any()
    assert twice.merged == 0


def test_a_piece_without_notes_and_a_grid_without_divisions(scale):
    assert len(quantise(Piece(scale.notes[:0])).piece) == 0
    for grid in ((), (0,), (4, -3)):
        with pytest.raises(ValueError, match="give divisions of a quarter note, such as"):
            quantise(scale, grid)
    assert GRID == (4, 3)
