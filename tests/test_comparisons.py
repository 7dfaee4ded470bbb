"""The script beside notebooks 07, 08 and 10: its commands exist, and what it counts."""

import shlex

import numpy as np
import pytest
import torch

from pianolstm import commands
from pianolstm.__main__ import arguments, parser
from pianolstm.checkpoint import Checkpoint, configure
from pianolstm.encodings import EventEncoding
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary


def test_every_training_is_one_that_the_command_line_knows(comparisons):
    recipes = {**comparisons.RHYTHM, **comparisons.HELPERS, **comparisons.ENSEMBLE}
    for options in recipes.values():
        args = vars(parser("train").parse_args(["train", *shlex.split(options), "--seed", "1"]))
        found = arguments(getattr(commands, args.pop("command")), args)
        settings = {k: v for k, v in found.items() if k in ("hidden", "dropout", "noise", "seed")}
        network, training = configure("note", found["encoding"], 9, settings)
        assert network.hidden[0] in (256, 384, 512) and training.seed == 1


def test_each_helper_is_one_more(comparisons):
    number = [options.partition("--helpers ")[2] for options in comparisons.HELPERS.values()]
    assert [text.split(" ")[0].count(",") + bool(text) for text in number] == [0, 1, 2, 3]


def test_endings_in_the_heard_and_in_the_written_key(comparisons, monkeypatch, tmp_path):
    notes = [(i, 1, pitch) for i, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]
    notes += [(8, 4, pitch) for pitch in (48, 64, 67)]
    ends_in_c = Piece.from_quarters(notes, key="G major")
    monkeypatch.setattr(comparisons, "load_pretrained", lambda name: name)
    monkeypatch.setattr(comparisons, "compose", lambda network, seeds, top_p: [ends_in_c])
    (line,) = comparisons.compare_endings(tmp_path)
    assert (line["tonic"], line["tonic_written"], line["cadence_written"]) == ([1], [0], [0])


def test_the_price_of_a_rule_is_what_it_takes_away(comparisons):
    torch.manual_seed(0)
    vocabulary = Vocabulary(["<bos>", "a", "b", "c"])
    model = build_network(NetworkConfig("note", len(vocabulary), (8,), 0.0)).eval()
    new = [np.array([2, 3, 4]), np.array([4])]
    network = Checkpoint(model, vocabulary, EventEncoding())
    free = comparisons.price(network, new, [lambda token: []] * 2)
    assert free == [0, 0]
    costs = comparisons.price(network, new, [lambda token: [0]] * 2)
    with torch.no_grad():
        logits, _ = model(torch.tensor([[1, 2, 3]]))
    left = 1 - logits[0].softmax(dim=1)[:, 0]
    assert costs[0] == pytest.approx(float(-left.log().sum()), abs=2e-3)


def test_notes_outside_the_range_of_their_part(comparisons, scale):
    assert comparisons.outside(scale, {(0, 0): (62, 71), (0, 1): (0, 127)}) == (2, len(scale))
