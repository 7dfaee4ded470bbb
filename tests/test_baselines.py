import itertools

import numpy as np
import pytest

from pianolstm.baselines import Bigram, KneserNey, fitted_bigram
from pianolstm.encodings import BOS, EOS, ArticleEncoding, RhythmEncoding
from pianolstm.evaluation import DURATIONS, NoteLikelihood, nll, note_likelihood
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

TRAIN = [np.array([1, 2, 3, 1, 2]), np.array([2, 2, 4])]


def test_bigram_probabilities_by_hand():
    bigram = Bigram(TRAIN, 6)
    unigram = np.array([1, 3, 5, 2, 2, 1]) / 14
    assert bigram.unigram.tolist() == pytest.approx(unigram.tolist())
    counts = np.array([0, 0, 1, 1, 1, 0])  # after 2: 3, 2 and 4
    assert bigram.probabilities(2) == pytest.approx((counts + 3 * unigram) / 6)
    assert bigram.probabilities(5) == pytest.approx(unigram)  # never seen
    for context in range(6):
        assert bigram.probabilities(context).sum() == pytest.approx(1)


def test_bigram_losses_are_its_probabilities():
    bigram = Bigram(TRAIN, 6)
    piece = np.array([2, 4, 5, 1, 0])
    expected = [-np.log(bigram.probabilities(a)[b]) for a, b in itertools.pairwise(piece)]
    assert bigram.losses([piece])[0] == pytest.approx(expected)


def test_bigram_writes_until_it_stops():
    bigram = Bigram([np.array([1, 2, 2, 2, 3])] * 50, 4)
    one, two = bigram.generate(1, 40, seeds=[0, 0], stop=3)
    assert one.tolist() == two.tolist()
    pieces = bigram.generate(1, 200, seeds=range(50), stop=3)
    assert all(3 not in piece and 0 not in piece for piece in pieces)
    assert np.mean([len(piece) for piece in pieces]) == pytest.approx(3, abs=1)
    assert len(bigram.generate(1, 7, seeds=[0])[0]) == 7


def test_likelihoods_of_all_pieces_of_a_small_universe_sum_to_one():
    """What is known, what hides behind `<unk>`, and ends: nothing is counted twice or for free.

    The universe: sequences of single notes (128 pitches, 48 durations). The network knows two of
    the 6,144 notes; the others are `<unk>` and a uniform guess. A piece of at most two tokens ends
    with `<eos>`; the longer ones together have the probability that it goes on.
    """
    import torch

    torch.manual_seed(0)
    encoding = RhythmEncoding()
    notes = {
        f"{encoding.token([pitch], ticks)}": (pitch, ticks)
        for pitch in range(128)
        for ticks in range(1, DURATIONS + 1)
    }
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
    expected = 3.5 + 2 * np.log(128) + 2 * np.log(48)
    assert found.nats[0] == pytest.approx(expected)
    assert found.mean == pytest.approx(expected / 3)
    assert (found - found).interval().high == 0
    with pytest.raises(ValueError, match="different pieces"):
        found - NoteLikelihood(found.nats, found.notes + 1)


def test_likelihood_of_a_note_refuses_what_would_not_be_paid_for():
    piece = Piece.from_quarters([(0, 1, 60)])
    with pytest.raises(ValueError, match="has no <bos>: the first token would be free"):
        note_likelihood([np.zeros(1)], [piece], ArticleEncoding(), Vocabulary([]))
    with pytest.raises(ValueError, match="1 losses for 3 tokens; give one for each"):
        note_likelihood([np.zeros(1)], [piece], RhythmEncoding(), Vocabulary([]))


def test_large_vocabularies_do_not_overflow():
    """Ids of a token store have 32 bits; a pair of two large ones needs more."""
    small, large = (np.array([1, top, 2, top + 1, 3], np.int32) for top in (6, 69_000))
    one = Bigram([small] * 3, 70_000).losses([small])[0]
    other = Bigram([large] * 3, 70_000).losses([large])[0]
    assert other == pytest.approx(one)


def test_kneser_ney_by_hand():
    """Bigrams of 1 2 1 2 3: with one discount an order, and types in place of counts below."""
    model = KneserNey([np.array([1, 2, 1, 2, 3])], 5, order=2)
    # bigrams: 12 twice, 21 and 23 once (the first token is never predicted): D = 2 / (2 + 2) = 0.5
    # unigrams by distinct left neighbours: 1, 2 and 3 one each, no n2: D = 0.5, total 3
    unigram = np.array([0, 0.5, 0.5, 0.5, 0]) / 3 + 0.5 * 3 / 3 / 5
    assert model.probabilities([1, 2]) == pytest.approx(
        np.array([0, 0.5, 0, 0.5, 0]) / 2 + 0.5 * 2 / 2 * unigram
    )
    assert model.probabilities([4]) == pytest.approx(unigram)  # a context never seen


@pytest.mark.parametrize("order", [1, 2, 4, 9])
def test_kneser_ney_sums_to_one_and_its_losses_are_its_probabilities(order):
    rng = np.random.default_rng(1)
    train = [rng.integers(1, 6, size=n) for n in (30, 50, 8)]
    model = KneserNey(train, 7, order)
    piece = np.array([2, 4, 5, 1, 0, 6, 2, 4])
    expected = []
    for i in range(1, len(piece)):
        p = model.probabilities(piece[:i])
        assert p.sum() == pytest.approx(1) and (p > 0).all()
        expected.append(-np.log(p[piece[i]]))
    assert model.losses([piece])[0] == pytest.approx(expected)


def test_kneser_ney_reads_more_context_than_the_bigram():
    cycle = np.array([1, 1, 2, 2] * 30)  # what follows a 1 depends on the token before it
    assert KneserNey([cycle], 3, 3).losses([cycle])[0].mean() < 0.1
    assert KneserNey([cycle], 3, 2).losses([cycle])[0].mean() > 0.5
    with pytest.raises(ValueError, match="order is 0"):
        KneserNey([cycle], 3, 0)


def test_a_bigram_is_fitted_to_validation():
    from pianolstm.dataset import Dataset

    own, others = np.array([1, 2] * 9), np.array([3, 4] * 9)
    train = [[others] * 6 + [own] + [others] * 5]
    for valid, best in ((own, [own]), (others, train[0])):
        data = Dataset(None, None, Vocabulary(list("abcd")), train, [valid], [])
        expected = Bigram(best, 5).losses([valid])[0]
        assert fitted_bigram(data).losses([valid])[0] == pytest.approx(expected)
