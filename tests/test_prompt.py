from dataclasses import replace

import pytest
import torch

from pianolstm.checkpoint import Checkpoint
from pianolstm.composing import (
    USUAL_BARS,
    contradicts_its_key,
    like_its_prompt,
    read_prompt,
)
from pianolstm.encodings import ArticleEncoding, EventEncoding
from pianolstm.midi import write_midi
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece, key_sharps
from pianolstm.vocabulary import Vocabulary


def network(encoding, vocabulary=None):
    torch.manual_seed(0)
    vocabulary = vocabulary or Vocabulary(encoding.all_tokens())
    return Checkpoint(
        build_network(NetworkConfig("note", len(vocabulary), (8,), 0.0)), vocabulary, encoding
    )


DOWN = network(EventEncoding(home=True, countdown=True, approach=8))


def tokens(*arguments):
    ids, notices = read_prompt(*arguments)
    return arguments[1].vocabulary.decode(ids), notices


def test_a_network_begins_by_itself_or_is_told_how_long():
    assert tokens(None, DOWN) == (["<bos>"], [])
    assert tokens(None, DOWN, 8) == (["<bos>", "metre:4/4", "bar:8"], [])
    chords = network(ArticleEncoding(), Vocabulary(["C4", "7.11.2"]))
    assert tokens(None, chords) == (["7.11.2"], [])


def test_where_no_key_is_given_the_likeliest_shows_the_way_home():
    found, notices = tokens("D4.F#4.A4:2 G4.B4.D5:1 A3.C#4.E4:1 D4.F#4.A4:4", DOWN)
    assert {"home:2", "major:C"} <= set(found) and "pitch:60" in found
    assert notices == ["no key given, taken to be D major"]
    away = network(EventEncoding(countdown=True))  # writes every key as it is
    assert tokens("D4.F#4.A4:2", away)[1] == []


def test_the_first_bars_of_a_file_begin_a_piece_of_some_length(tmp_path):
    piece = Piece.from_quarters([(i, 1, 60 + i) for i in range(4, 20)], ticks_per_quarter=480)
    path = write_midi(piece, tmp_path / "song.mid")
    found, notices = tokens(str(path), DOWN)
    bars = [token for token in found if token.startswith("bar:")]
    assert bars == [f"bar:{USUAL_BARS - n}" for n in range(3)] and "<eos>" not in found
    assert found[-2:] == [bars[-1], "minor:A"]  # what follows begins a new bar
    assert notices[0].startswith("bars 2 to 3 of")
    assert not any(token.startswith("left:") for token in found)  # its end is far
    for asked, counted in ((5, ["bar:5", "bar:4", "bar:3"]), (2, ["bar:2", "bar:1"])):
        begun, _ = tokens(str(path), DOWN, asked)
        assert [token for token in begun if token.startswith("bar:")] == counted


def test_lengths_that_cannot_be_told():
    for bars in (0, 64):
        with pytest.raises(ValueError, match=f"--bars {bars}: give 1 to 63"):
            read_prompt(None, DOWN, bars)
    with pytest.raises(ValueError, match="--bars 9: this network does not count bars; leave"):
        read_prompt(None, network(EventEncoding()), 9)
    with pytest.raises(ValueError, match="--bars 1: the prompt alone has 2"):
        read_prompt("C4:4 D4:4", DOWN, 1)
    with pytest.raises(ValueError, match="there is no note in it"):
        read_prompt("rest:1", DOWN, 8)
    long = " ".join(["C4:4"] * 20)
    assert next(t for t in tokens(long, DOWN)[0] if t.startswith("bar:")) == "bar:20"


def flat_major_piece(key):
    """Six bars in A flat major, all of whose notes are white keys and four flats."""
    steps = (0, 4, 7, 12, 5, 9, 12, 5, 2, 7, 11, 5, 4, 7, 0, 4, 5, 9, 2, 7, 11, 7, 4, 0)
    rows = [(i, 1, 56 + step, 0) for i, step in enumerate(steps)]
    rows += [(4 * bar, 4, 44 + step, 1) for bar, step in enumerate((0, 5, 7, 0, 5, 0))]
    return Piece.from_quarters(rows, key=key)


@pytest.mark.parametrize(
    ("key", "notice"),
    [("C major", "the notes contradict the key signature, C major, taken to be A-flat major"),
     (None, "no key given, taken to be A-flat major"), ("A- major", None), ("F minor", None)],
)  # fmt: skip
def test_a_key_signature_is_believed_unless_the_notes_contradict_it(tmp_path, key, notice):
    path = write_midi(flat_major_piece(key), tmp_path / "flats.mid")
    found, notices = tokens(str(path), DOWN)
    assert ("home:-4" in found) and notices[1:] == [notice] * bool(notice)
    away = network(EventEncoding(countdown=True))  # writes every key as it is
    assert tokens(str(path), away)[1][1:] == [notice] * (key == "C major")
    chords = network(ArticleEncoding(), Vocabulary(["C4", "7.11.2"]))  # writes no key
    assert not any("key" in notice for notice in tokens(str(path), chords)[1])


def test_our_songs_do_not_contradict_their_signatures(song_pieces):
    signed = [piece for piece in song_pieces if piece.key]
    assert sum(map(contradicts_its_key, signed)) <= 0.025 * len(signed)
    others = [replace(p, key="C major") for p in signed if key_sharps(p.key)[0]]
    assert sum(map(contradicts_its_key, others)) >= 0.8 * len(others)


def test_a_piece_keeps_the_tempo_and_the_loudness_of_its_prompt(tmp_path):
    rows = [(0, 1, 60, 0, 30), (1, 1, 62, 0, 40), (2, 1, 64, 0, 100)]
    prompt = Piece.from_quarters(rows, tempi=((0, 180.0), (960, 150.0)))
    path = str(write_midi(prompt, tmp_path / "fast.mid"))
    rows = [(0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 17, 60)]
    composed = Piece.from_quarters(rows, ticks_per_quarter=24)
    assert composed.tempi == ((0, 90.0),)
    (fast,) = like_its_prompt([composed], path, DOWN.encoding)
    assert fast.tempi == ((0, 180.0), (48, 150.0))
    assert fast.notes["velocity"].tolist() == [30, 40, 100, 40]
    for text in (None, "C4:4"):
        assert like_its_prompt([composed], text, DOWN.encoding) == [composed]
