import itertools

import numpy as np
import pytest

from pianolstm.dataset import Dataset
from pianolstm.encodings import ArticleEncoding
from pianolstm.evaluation import Bigram, KneserNey, fitted_bigram, unigram_nll
from pianolstm.generation import generate
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


def test_unigram_by_hand():
    train, held_out = [np.array([1, 2, 1, 2, 1])], [np.array([1, 2, 2])]
    p = np.array([1, 4, 3, 1]) / 9  # counts 0, 3, 2, 0, one added to each
    assert unigram_nll(train, held_out, 4) == pytest.approx(-np.log(p[[2, 2]]).mean())


def test_bigram_losses_are_its_probabilities():
    bigram = Bigram(TRAIN, 6)
    piece = np.array([2, 4, 5, 1, 0])
    expected = [-np.log(bigram.probabilities(a)[b]) for a, b in itertools.pairwise(piece)]
    assert bigram.losses([piece])[0] == pytest.approx(expected)


def test_bigram_writes_until_it_stops():
    bigram = Bigram([np.array([1, 2, 2, 2, 3])] * 50, 4)
    one, two = generate(bigram, [[1], [1]], 40, seeds=[0, 0], stop=3)
    assert one.tolist() == two.tolist()
    pieces = generate(bigram, [[1]] * 50, 200, seeds=range(50), stop=3)
    assert all(3 not in piece and 0 not in piece for piece in pieces)
    assert np.mean([len(piece) for piece in pieces]) == pytest.approx(3, abs=1)


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


def test_a_bigram_is_fitted_to_validation():
    encoding = ArticleEncoding()
    vocabulary = Vocabulary.for_training(encoding, {"C4": 1, "E4": 1})
    home, elsewhere = (vocabulary.encode(pair * 9) for pair in (["C4", "E4"], ["D4", "F#4"]))
    for valid in (home, elsewhere):
        data = Dataset.from_ids(encoding, vocabulary, [home], [valid])
        best = data.train_own_key if valid is home else data.train_all_keys
        expected = Bigram(best, len(vocabulary)).losses([valid])[0]
        assert fitted_bigram(data).losses([valid])[0] == pytest.approx(expected)
