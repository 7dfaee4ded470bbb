"""The registry, an encoding of one's own, and the encodings article and rhythm."""

import inspect
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pianolstm.checkpoint import load_checkpoint
from pianolstm.composing import compose
from pianolstm.dataset import prepare
from pianolstm.encodings import (
    BOS,
    ENCODINGS,
    EOS,
    ArticleEncoding,
    Encoding,
    EventEncoding,
    PianoRollEncoding,
    RhythmEncoding,
    article_tokens,
    encoding_named,
    register,
)
from pianolstm.encodings.article import normal_order
from pianolstm.encodings.spelling import pitch_numbers, quarters_text, shifted, ticks_of
from pianolstm.midi import read_midi, write_midi
from pianolstm.networks import NetworkConfig
from pianolstm.piece import Piece, pitch_name
from pianolstm.training import TrainConfig, train

# ---- the registry


@pytest.fixture
def registry():
    """The registry, which is as before when the test is over."""
    before = dict(ENCODINGS)
    yield ENCODINGS
    ENCODINGS.clear()
    ENCODINGS.update(before)


def test_a_new_encoding_is_one_class_that_trains_saves_loads_and_writes(
    registry, song_pieces, tmp_path
):
    @register
    @dataclass(frozen=True)
    class TuneEncoding(Encoding):
        """The highest note of each moment, all equally long."""

        name = "tune"
        step: float = 1.0  # quarters

        def encode(self, piece):
            highest = {}
            for note in piece.notes:
                onset = int(note["onset"])
                highest[onset] = max(highest.get(onset, 0), int(note["pitch"]))
            return [BOS, *(f"note{pitch}" for pitch in highest.values()), EOS]

        def decode(self, tokens, name="decoded"):
            pitches = [self.notes_of(token)[0] for token in tokens]
            rows = [(i * self.step, self.step, p[0]) for i, p in enumerate(filter(None, pitches))]
            return Piece.from_quarters(rows, name=name)

        def transpose(self, token, semitones):
            pitches, _ = self.notes_of(token)
            return f"note{shifted(pitches[0], semitones)}" if pitches else token

        def notes_of(self, token):
            return ([int(token[4:])] if token.startswith("note") else []), 0

    assert len(inspect.getsource(TuneEncoding).splitlines()) < 40
    encoding = TuneEncoding(step=0.5)
    data = prepare(song_pieces[:20], encoding)
    model = NetworkConfig("note", len(data.vocabulary), (4,), 0.0)
    train(data, model, TrainConfig(epochs=1, batch=4, steps=32), tmp_path)
    network = load_checkpoint(tmp_path / "best.safetensors")
    assert network.encoding == encoding
    assert network.history[0]["valid_loss"] < 1.1 * np.log(len(data.vocabulary))
    pieces = compose(network, seeds=[1, 2], length=12)
    assert all(set(np.diff(piece.onsets)) <= {0.5} for piece in pieces)
    assert sum(map(len, pieces)) > 0
    features = encoding.features(["<unk>", BOS, "note60"])
    assert features.shape == (3, 128) and features.sum(axis=1).tolist() == [0, 0, 1]


def test_what_cannot_be_registered_is_refused(registry):
    def named(name):
        return type("Own", (Encoding,), {"name": name})

    with pytest.raises(ValueError, match="the name 'rhythm' is taken by RhythmEncoding"):
        register(named("rhythm"))
    first, again = named("own"), named("own")  # a cell that is run again
    assert register(first) is first
    assert register(again) is registry["own"] is again


@pytest.mark.parametrize(
    "encoding",
    [
        ArticleEncoding(True),
        RhythmEncoding(),
        PianoRollEncoding(4),
        EventEncoding(True, approach=8),
    ],
)
def test_settings_travel_as_a_dictionary(encoding):
    assert encoding_named(**encoding.to_dict()) == encoding
    assert ENCODINGS[encoding.name] is type(encoding)
    with pytest.raises(
        ValueError, match=r"unknown encoding 'Morse'; known are article,.* Register"
    ):
        encoding_named("Morse")
    with pytest.raises(TypeError, match="'speed'"):
        encoding_named(encoding.name, speed=3)


# ---- names of notes and times


@given(st.integers(0, 127))
def test_note_names_are_reversible(pitch):
    assert pitch_numbers([pitch_name(pitch)]) == [pitch]


def test_other_spellings_are_understood():
    assert pitch_numbers(["A-4", "D#4", "F##4", "B--4", "Bb4"]) == [68, 63, 67, 69, 70]


def test_every_time_can_be_written_and_read():
    for ticks in range(1, 600):
        assert ticks_of(quarters_text(ticks)) == ticks
    assert [quarters_text(t) for t in (3, 4, 6, 12, 20)] == ["0.25", "1/3", "0.5", "1", "5/3"]
    for text in ("", "1/7", "0.51", "1/0", "²", "-1", "1e3", "1" * 5000):
        assert ticks_of(text) == 0


# ---- article


def test_normal_order_is_music21s_for_every_third_set_of_up_to_four():
    from music21 import chord

    sets = [s for size in (1, 2, 3, 4) for s in combinations(range(12), size)]
    for pitch_classes in sets[::3]:
        assert normal_order(frozenset(pitch_classes)) == tuple(
            chord.Chord(pitch_classes).normalOrder
        )


def test_tokens_of_the_article():
    piece = Piece.from_quarters([(0, 1, 76), (1, 1, 52), (1, 1, 57), (2, 1, 48), (2, 1, 60)])
    assert ArticleEncoding().encode(piece) == ["E5", "4.9", "0"]
    assert ArticleEncoding(voicing=True).encode(piece) == ["E5", "E3.A3", "C3.C4"]
    assert ArticleEncoding().encode(Piece.from_quarters([])) == []


def test_a_hand_holds_until_it_plays_again():
    piece = ArticleEncoding(voicing=True).decode(["C3.C5", "D5", "E5", "F5", "G5", "A5"])
    lengths = {int(n["pitch"]): n["duration"] / 480 for n in piece.notes}
    assert lengths[48] == 2.0  # the left hand's only note: two quarters at most
    assert lengths[72] == lengths[74] == 0.5


@pytest.mark.parametrize("token", ["H4", "c4", "C", "", "0.12", "C4.5", "<unk>", "C44"])
def test_strings_that_are_no_tokens(token):
    with pytest.raises(ValueError, match="is no token such as"):
        ArticleEncoding().decode([token])


chords = st.lists(st.integers(0, 127), min_size=1, max_size=6)


@given(st.lists(chords, min_size=1, max_size=30), st.booleans())
def test_decode_then_encode_gives_the_tokens_back(groups, voicing):
    encoding = ArticleEncoding(voicing=voicing)
    rows = [(time, 1, pitch) for time, group in enumerate(groups) for pitch in group]
    tokens = encoding.encode(Piece.from_quarters(rows))
    # octaves of one pitch class, "0", decode to a single note, as in the article
    expected = [pitch_name(60 + int(t)) if t.isdigit() else t for t in tokens]
    assert len(tokens) == len(groups)
    assert encoding.encode(encoding.decode(tokens)) == expected


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


def test_the_articles_own_loop_finds_notes_that_ours_finds(tmp_path, scale):
    """Two tracks without a program change: the article's loop sees one instrument of two."""
    path = write_midi(scale, tmp_path / "two_hands.mid")
    ours = ArticleEncoding(voicing=True).encode(read_midi(path))
    notes = {note for token in ours for note in token.split(".")}
    assert "C3" in notes and len(ours) == 8
    assert {"C4", "D4"} <= set(article_tokens(path)) <= notes


# ---- rhythm


def test_rhythm_writes_chords_with_durations_and_rests():
    encoding = RhythmEncoding()
    piece = Piece.from_quarters([(1, 0.5, 64), (1, 0.5, 67), (2, 3, 60), (3, 1 / 3, 62)])
    tokens = encoding.encode(piece)
    assert tokens == [BOS, "rest:1", "E4.G4:0.5", "rest:0.5", "C4:1", "D4:1/3", EOS]
    back = encoding.decode(tokens)
    rows = [(n["onset"] / 12, n["duration"] / 12, n["pitch"]) for n in back.notes]
    assert sorted(rows) == [(1, 0.5, 64), (1, 0.5, 67), (2, 1, 60), (3, 4 / 12, 62)]  # C4 is cut
    assert encoding.encode(back) == tokens and not back.repaired


def test_rhythm_transposes_hides_and_describes():
    encoding = RhythmEncoding()
    assert encoding.transpose("E4.G4:0.5", 1) == "F4.G#4:0.5"
    assert [encoding.transpose(token, 1) for token in ("rest:1", EOS)] == ["rest:1", EOS]
    assert encoding.hidden_counts("E4.G4:0.5") == (2, 1)
    assert encoding.hidden_counts("rest:1") == (0, 1) and encoding.hidden_counts(EOS) == (0, 0)
    features = encoding.features(["<unk>", "C4:1", "E4.G4:0.5", "rest:1"])
    assert features.sum(axis=1).tolist() == [0, 2, 3, 1]


def test_what_rhythm_cannot_read_is_counted():
    encoding = RhythmEncoding()
    assert encoding.decode(["<unk>", "C4:1", BOS, EOS, "C4:1"]).repaired == {
        "unreadable tokens": 2, "tokens after the end": 1
    }  # fmt: skip
    assert encoding.decode([BOS, "C4:1"]).repaired == {"no end": 1}
