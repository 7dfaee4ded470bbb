from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianolstm.encodings import (
    ArticleEncoding,
    TokenError,
    encoding_from_dict,
    normal_order,
    pitch_number,
)
from pianolstm.piece import Piece, pitch_name


def test_normal_order_of_known_chords():
    assert normal_order(frozenset({0, 4, 7})) == (0, 4, 7)  # C major
    assert normal_order(frozenset({7, 11, 2, 5})) == (11, 2, 5, 7)  # G7
    assert normal_order(frozenset({9, 4})) == (4, 9)


def test_normal_order_is_music21s_for_every_set_of_up_to_four():
    from music21 import chord

    for size in (1, 2, 3, 4):
        for pitch_classes in combinations(range(12), size):
            expected = tuple(chord.Chord(pitch_classes).normalOrder)
            assert normal_order(frozenset(pitch_classes)) == expected


def test_tokens_of_the_article():
    piece = Piece.from_quarters([(0, 1, 76), (1, 1, 52), (1, 1, 57), (2, 1, 48), (2, 1, 60)])
    assert ArticleEncoding().encode(piece) == ["E5", "4.9", "0"]
    assert ArticleEncoding(voicing=True).encode(piece) == ["E5", "E3.A3", "C3.C4"]


def test_notes_of_all_tracks_that_start_together_are_one_token(scale):
    tokens = ArticleEncoding(voicing=True).encode(scale)
    assert tokens[0] == "C3.C4"
    assert len(tokens) == 8


def test_a_pitch_struck_twice_at_once_is_a_note():
    piece = Piece.from_quarters([(0, 1, 60, 0), (0, 2, 60, 1)])
    assert ArticleEncoding().encode(piece) == ["C4"]


def test_chords_decode_to_the_octave_of_middle_c():
    encoding = ArticleEncoding()
    assert encoding.pitches("4.9") == [64, 69]
    assert encoding.pitches("0") == [60]
    assert encoding.pitches("C3.E4.G5") == [48, 64, 79]


def test_one_token_every_half_quarter():
    piece = ArticleEncoding().decode(["C4", "0.4.7", "E5"])
    assert sorted(set(piece.onsets.tolist())) == [0.0, 0.5, 1.0]


def test_a_hand_holds_until_it_plays_again():
    piece = ArticleEncoding(voicing=True).decode(["C3.C5", "D5", "E5", "F5", "G5", "A5"])
    lengths = {int(n["pitch"]): n["duration"] / 480 for n in piece.notes}
    assert lengths[48] == 2.0  # the left hand's only note: two quarters at most
    assert lengths[72] == lengths[74] == 0.5


def test_fixed_note_length_is_the_articles():
    piece = ArticleEncoding(note_length=1.0).decode(["C4", "D4"])
    assert set(piece.notes["duration"]) == {480}


@pytest.mark.parametrize("token", ["H4", "c4", "C", "", "0.12", "C4.5", "<unk>", "C44"])
def test_strings_that_are_no_tokens(token):
    with pytest.raises(TokenError, match="no note name"):
        ArticleEncoding().decode([token])


@given(st.integers(0, 127))
def test_note_names_are_reversible(pitch):
    assert pitch_number(pitch_name(pitch)) == pitch


def test_other_spellings_are_understood():
    assert [pitch_number(n) for n in ("A-4", "D#4", "F##4", "B--4")] == [68, 63, 67, 69]


chords = st.lists(st.integers(0, 127), min_size=1, max_size=6)


@given(st.lists(chords, min_size=1, max_size=30), st.booleans())
def test_decode_then_encode_gives_the_tokens_back(groups, voicing):
    encoding = ArticleEncoding(voicing=voicing)
    tokens = [encoding.token(group) for group in groups]
    # octaves of one pitch class, "0", decode to a single note, as in the article
    expected = [pitch_name(60 + int(t)) if t.isdigit() else t for t in tokens]
    assert encoding.encode(encoding.decode(tokens)) == expected


def test_settings_travel_as_a_dictionary():
    encoding = ArticleEncoding(voicing=True, step=0.25)
    assert encoding_from_dict(encoding.to_dict()) == encoding
    with pytest.raises(ValueError, match="unknown encoding 'Morse'"):
        encoding_from_dict({"encoding": "Morse"})


def test_features_are_the_pitches_of_a_token():
    features = ArticleEncoding(voicing=True).features(["<unk>", "C4", "C3.E4"])
    assert [np.flatnonzero(row).tolist() for row in features] == [[], [60], [48, 64]]


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(11, 115)), min_size=1, max_size=20),
    st.integers(-11, 12),
    st.booleans(),
)
def test_transposing_tokens_is_encoding_the_transposed_piece(notes, semitones, voicing):
    encoding = ArticleEncoding(voicing=voicing)
    piece = Piece.from_quarters([(onset, 1, pitch) for onset, pitch in notes])
    moved = [encoding.transpose(token, semitones) for token in encoding.encode(piece)]
    assert moved == encoding.encode(piece.transpose(semitones))


def test_what_would_leave_the_keyboard_moves_by_an_octave():
    encoding = ArticleEncoding(voicing=True)
    assert encoding.transpose("G9", 3) == pitch_name(127 + 3 - 12)
    assert encoding.transpose("Cm1.G9", -2) == f"{pitch_name(10)}.{pitch_name(125)}"
    assert encoding.transpose("<unk>", 5) == "<unk>"
