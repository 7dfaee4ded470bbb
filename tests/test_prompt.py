import pytest
import torch

from pianolstm.checkpoint import Checkpoint
from pianolstm.composing import USUAL_BARS, read_prompt
from pianolstm.encodings import ArticleEncoding, EventEncoding
from pianolstm.midi import write_midi
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
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
    assert bars == [f"bar:{USUAL_BARS}", f"bar:{USUAL_BARS - 1}"] and "<eos>" not in found
    assert notices[0].startswith("bars 2 to 3 of")
    assert not any(token.startswith("left:") for token in found)  # its end is far
    assert [t for t in tokens(str(path), DOWN, 5)[0] if t.startswith("bar:")] == ["bar:5", "bar:4"]


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
