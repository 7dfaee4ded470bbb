import itertools

import numpy as np
import pytest
import torch

from pianolstm.encodings import BOS, EOS, ArticleEncoding, RhythmEncoding
from pianolstm.evaluation.likelihood import (
    DURATIONS,
    NoteLikelihood,
    nll,
    note_likelihood,
)
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary


def test_nll_is_the_mean_cross_entropy_whatever_the_batch():
    torch.manual_seed(0)
    model = build_network(NetworkConfig("note", 9, (8,), 0.5)).train()
    pieces = [np.array([1, 2, 3, 4]), np.array([5, 6]), np.array([7, 8, 1, 2, 3, 4, 5])]
    result = nll(model, pieces)
    assert model.training  # left as it was found
    model.eval()
    for piece, losses in zip(pieces, result.per_piece):
        logits, _ = model(torch.tensor(piece[None, :-1]))
        expected = torch.nn.functional.cross_entropy(
            logits[0], torch.tensor(piece[1:]), reduction="none"
        )
        assert losses == pytest.approx(expected.detach().numpy(), abs=1e-5)
    assert result.mean == pytest.approx(np.concatenate(result.per_piece).mean())


def test_article_network_is_measured_on_full_windows():
    torch.manual_seed(0)
    model = build_network(NetworkConfig("article", 9, (4, 4, 4), 0.3)).eval()
    pieces, before = [np.array([1, 2, 3]), np.array([4, 5, 6, 7])], np.arange(9)
    result = nll(model, pieces, window=3, before=before)
    assert [len(losses) for losses in result.per_piece] == [2, 3]
    logits = model.predict_next(torch.tensor([[7, 8, 1], [3, 4, 5]]))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 6]), reduction="none")
    found = [result.per_piece[0][0], result.per_piece[1][1]]
    assert found == pytest.approx(expected.detach().numpy(), abs=1e-6)
    some = nll(model, pieces, window=3, before=before, every=2)
    both = (np.concatenate(r.per_piece) for r in (some, result))
    assert next(both) == pytest.approx(next(both)[::2], abs=1e-6)


def test_nothing_to_measure_is_an_error(tiny):
    with pytest.raises(ValueError, match="nothing to predict"):
        nll(tiny[0], [np.array([1])])


def test_likelihoods_of_all_pieces_of_a_small_universe_sum_to_one():
    """What is known, what hides behind `<unk>`, and ends: nothing is counted twice or for free.

    The universe: sequences of single notes (128 pitches, 48 durations). The network knows two of
    the 6,144 notes; the others are `<unk>` and a uniform guess. A piece of at most two tokens ends
    with `<eos>`; the longer ones together have the probability that it goes on.
    """
    torch.manual_seed(0)
    encoding = RhythmEncoding()
    every = itertools.product(range(128), range(1, DURATIONS + 1))
    notes = [encoding.token([pitch], ticks) for pitch, ticks in every]
    vocabulary = Vocabulary([BOS, EOS, "C4:1", "D4:0.5"])
    model = build_network(NetworkConfig("note", len(vocabulary), (8,), 0.0)).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(20)  # far from uniform
    start, end = vocabulary.ids[BOS], vocabulary.ids[EOS]
    words = [i for i in range(len(vocabulary)) if i not in (start, end)]
    # Notes that share an id share a probability: count them, measure one of each
    sample = {vocabulary.ids.get(token, 0): token for token in notes}
    many = {0: len(notes) - 2, vocabulary.ids["C4:1"]: 1, vocabulary.ids["D4:0.5"]: 1}
    total = 0.0
    for length in (0, 1, 2):
        for ids in itertools.product(words, repeat=length):
            tokens = [BOS, *(sample[i] for i in ids), EOS]
            piece = encoding.decode(tokens)
            assert encoding.encode(piece) == tokens
            losses = nll(model, [vocabulary.encode(tokens)]).per_piece
            found = note_likelihood(losses, [piece], encoding, vocabulary)
            total += np.exp(-found.nats[0]) * np.prod([many[i] for i in ids])
    hidden_share = (len(notes) - 2) / len(notes)  # `<unk>` wastes a guess on the two that it knows
    longer = 0.0
    for ids in itertools.product(range(len(vocabulary)), repeat=3):
        p = np.exp(-nll(model, [np.array([start, *ids])]).per_piece[0].sum())
        cut = [i for i, token in enumerate(ids) if token in (start, end)]
        if not cut or ids[cut[0]] == start:  # it goes on, or is no piece (a second <bos>)
            longer += p
    wasted = 0.0
    for length in (1, 2):
        for ids in itertools.product(words, repeat=length):
            p = np.exp(-nll(model, [np.array([start, *ids, end])]).per_piece[0].sum())
            wasted += p * (1 - hidden_share ** ids.count(0))
    assert total + longer + wasted == pytest.approx(1, abs=1e-5)


def test_likelihood_of_a_note_by_hand():
    encoding = RhythmEncoding()
    piece = Piece.from_quarters([(0, 1, 60), (1, 1, 62), (1, 1, 65)])
    vocabulary = Vocabulary([BOS, EOS, "C4:1"])
    losses = [np.array([1.0, 2.0, 0.5])]  # C4:1, <unk>, <eos>
    found = note_likelihood(losses, [piece], encoding, vocabulary)
    expected = 3.5 + 2 * np.log(128) + np.log(48)
    assert found.nats[0] == pytest.approx(expected)
    assert found.mean == pytest.approx(expected / 3)
    assert (found - found).interval().high == 0
    with pytest.raises(ValueError, match="different pieces"):
        found - NoteLikelihood(found.nats, found.notes + 1)


def test_likelihood_of_a_note_refuses_what_would_not_be_paid_for():
    piece = Piece.from_quarters([(0, 1, 60)])
    with pytest.raises(ValueError, match="1 losses for 1 tokens that begin with C4; give"):
        note_likelihood([np.zeros(1)], [piece], ArticleEncoding(), Vocabulary([]))
    with pytest.raises(
        ValueError, match="1 losses for 3 tokens that begin with <bos>; give one for each"
    ):
        note_likelihood([np.zeros(1)], [piece], RhythmEncoding(), Vocabulary([]))
