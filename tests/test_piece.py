from dataclasses import replace

import numpy as np
import pytest

from pianolstm.piece import NOTE_DTYPE, Piece, listed, pitch_name


def test_pitch_names_are_music21s():
    assert [pitch_name(p) for p in (60, 61, 63, 70, 0, 127)] == [
        "C4", "C#4", "E-4", "B-4", "Cm1", "G9"]  # fmt: skip


def test_counts_in_words():
    assert listed({"percussion": 1234, "zero length": 1}) == "1,234 percussion, 1 zero length"
    assert listed({}) == "none"


def test_notes_are_sorted_by_onset():
    piece = Piece.from_quarters([(2, 1, 60), (0, 1, 64), (1, 1, 62)])
    assert piece.notes["pitch"].tolist() == [64, 62, 60]
    assert piece.onsets.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("row", "message"),
    [((-1, 480, 60), "starts at tick -1"), ((0, 0, 60), "shortest lasts 0 ticks"),
     ((0, 480, 200), "its highest is 200; expected at least 0, at least 1, at most 127")],
)  # fmt: skip
def test_impossible_notes_are_refused(row, message):
    notes = np.zeros(1, dtype=NOTE_DTYPE)
    notes["onset"], notes["duration"], notes["pitch"] = row
    with pytest.raises(ValueError, match=f"piece 'bad': .*{message}"):
        Piece(notes, name="bad")


@pytest.mark.parametrize("notes", [[60, 64, 67], np.array([60, 64, 67]), None])
def test_what_is_no_array_of_notes_is_refused_with_the_way_out(notes):
    with pytest.raises(TypeError, match=r"must be an array of NOTE_DTYPE.*Piece\.from_quarters"):
        Piece(notes)


def test_notes_cannot_be_changed(scale):
    with pytest.raises(ValueError, match="read-only"):
        scale.notes["pitch"] = 0


def test_characters_that_xml_forbids_are_removed_from_names_and_counted():
    names = ("Flute\0", "\x01\x1f", "Fl\ud800öte \U0001f3b5", "\ufffe")
    piece = Piece.from_quarters([(0, 1, 60, 3)], track_names=names, name="so\x0bng")
    assert piece.track_names == ("Flute", "Track 2", "Flöte \U0001f3b5", "Track 4")
    assert (piece.name, piece.repaired) == ("song", {"characters removed from names": 6})
    again = replace(piece, name="other")
    assert again.repaired == piece.repaired  # counted once


def test_seconds_follow_tempo_changes():
    notes = [(0, 8, 60)]
    piece = Piece.from_quarters(notes, tempi=((0, 60.0), (4 * 480, 120.0)))
    assert piece.seconds == pytest.approx(4 * 1.0 + 4 * 0.5)
    late = Piece.from_quarters(notes, tempi=((4 * 480, 60.0),))  # MIDI's 120 holds before it
    assert late.seconds == pytest.approx(4 * 0.5 + 4 * 1.0)


def test_bars_follow_the_metre():
    piece = Piece.from_quarters([(0, 10, 60)], time_signatures=((0, 3, 4), (3 * 480, 4, 4)))
    assert [t / 480 for t in piece.bar_starts()] == [0, 3, 7]


def test_excerpt_starts_at_zero_and_keeps_its_metre(scale):
    second = scale.bars(2, 2)
    assert second.onsets.min() == 0
    assert len(second) == 5
    assert second.time_signatures == ((0, 4, 4),)
    for first, last in ((3, 4), (0, 1), (2, 1)):
        with pytest.raises(ValueError, match=f"bars 1 to 2, not {first}-{last}"):
            scale.bars(first, last)


def test_excerpt_cuts_notes_at_its_last_bar_line():
    piece = Piece.from_quarters([(0, 8, 60)])
    assert piece.bars(1, 1).notes["duration"].tolist() == [4 * 480]


def test_transposing_out_of_range_names_the_piece(scale):
    with pytest.raises(ValueError, match=r"'scale'.*outside 0 to 127"):
        scale.transpose(90)


def test_seconds_of_many_ticks_at_once():
    notes = np.array([(0, 480, 60, 80, 0, 0)], dtype=NOTE_DTYPE)
    piece = Piece(notes, 480, tempi=((480, 60.0), (960, 240.0)))
    expected = [0.0, 0.25, 0.5, 1.5, 1.75]  # before the first mark 120 quarters a minute hold
    assert piece.seconds_at(np.array([0, 240, 480, 960, 1440])).tolist() == expected
    assert [piece.seconds_at(tick) for tick in (0, 240, 480, 960, 1440)] == expected
