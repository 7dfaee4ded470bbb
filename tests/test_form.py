"""The script beside notebook 13: what returning bars cost."""

import numpy as np
import pytest
import torch

from pianolstm.checkpoint import Checkpoint
from pianolstm.encodings import EventEncoding
from pianolstm.evaluation import nll
from pianolstm.memory import Memory
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

BAR = [(0, 1, 60), (1, 1, 64), (2, 2, 67)]  # onset, length, pitch


def piece(*shifts):
    """A bar of 4/4 for each shift in semitones; None for an empty one."""
    notes = [(4 * i + onset, length, pitch + shift, 0) for i, shift in enumerate(shifts)
             if shift is not None for onset, length, pitch in BAR]  # fmt: skip
    return Piece.from_quarters(notes, name="test")


def test_what_the_bars_cost_that_return_at_the_same_pitch(form):
    encoding, pieces = EventEncoding(), [piece(0, 4, None, 0), piece(0, 4)]
    vocabulary = Vocabulary.for_training(encoding, {})
    torch.manual_seed(0)
    model = build_network(NetworkConfig("note", len(vocabulary), (8,), 0.0)).eval()
    network = Checkpoint(model, vocabulary, encoding, memory=Memory(np.full(14, 0.5)))
    found = form.cost(network, pieces)
    ids = [vocabulary.encode(encoding.encode(p)) for p in pieces]
    assert found["notes"] == [9, 6]
    for way, memory in (("without memory", None), ("with memory", network.memory)):
        totals = [losses.sum() for losses in nll(model, ids, memory=memory).per_piece]
        assert [row[0] for row in found[way]] == pytest.approx(totals, abs=0.01)
        assert found[way][1][1:] == [0, 0]  # no bar returns
    (_, once, again), (_, _, recalled) = found["without memory"][0], found["with memory"][0]
    assert 0 < recalled < again and 0 < once < found["without memory"][0][0] - again
