import pytest
import torch

from pianolstm.checkpoint import Checkpoint
from pianolstm.composing import compose, pieces_of
from pianolstm.encodings import ArticleEncoding, EventEncoding
from pianolstm.generation import generate
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.vocabulary import Vocabulary


def network(encoding, tokens):
    torch.manual_seed(0)
    vocabulary = Vocabulary(tokens)
    model = build_network(NetworkConfig("note", len(vocabulary), (8,), 0.0))
    return Checkpoint(model.eval(), vocabulary, encoding)


def test_a_piece_for_each_seed_the_same_alone_and_in_company():
    events = network(EventEncoding(), EventEncoding().all_tokens())
    pieces = compose(events, seeds=range(4), length=300)
    (alone,) = compose(events, seeds=[2], length=300)
    assert alone.notes.tolist() == pieces[2].notes.tolist()
    ids = events.vocabulary.ids
    new = generate(events.model, [[ids["<bos>"]]] * 4, 300, range(4), stop=ids["<eos>"],
                   counts=events.counts)  # fmt: skip
    unfinished = [len(one) == 300 for one in new]
    assert [piece.repaired.get("no end", 0) for piece in pieces] == unfinished


def test_a_prompt_is_part_of_the_piece():
    chords = network(ArticleEncoding(voicing=True), ["C4.E4.G4", "D4"])
    prompt = chords.vocabulary.encode(["C4.E4.G4"])
    (piece,) = compose(chords, [1], [prompt], length=5)
    assert piece.notes["pitch"][:3].tolist() == [60, 64, 67]
    assert len(piece.bar_starts()) and "no end" not in piece.repaired
    (short,) = pieces_of(chords, [prompt], [[]])
    assert len(short) == 3


def test_a_network_without_a_beginning_needs_a_prompt():
    chords = network(ArticleEncoding(), ["4.7"])
    with pytest.raises(ValueError, match=r"knows no <bos>. Give each piece a prompt"):
        compose(chords, [1])
