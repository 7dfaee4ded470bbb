import numpy as np
import pytest
import torch

from pianolstm.dataset import prepare
from pianolstm.encodings import ArticleEncoding
from pianolstm.evaluation import (
    bigram_nll,
    longest_copied_runs,
    nll,
    uniform_nll,
    unigram_nll,
    unknown_share,
)
from pianolstm.networks import NetworkConfig, build_network


def test_baselines_by_hand():
    train, held_out = [np.array([1, 2, 1, 2, 1])], [np.array([1, 2, 2])]
    assert uniform_nll(4) == pytest.approx(np.log(4))
    p = np.array([1, 4, 3, 1]) / 9  # counts 0, 3, 2, 0, one added to each
    assert unigram_nll(train, held_out, 4) == pytest.approx(-np.log(p[[2, 2]]).mean())
    # after 1: 2 twice, one kind; after 2: 1 twice, one kind
    expected = [-np.log((2 + p[2]) / 3), -np.log((0 + p[2]) / 3)]
    assert bigram_nll(train, held_out, 4) == pytest.approx(np.mean(expected))


def test_bigram_probabilities_sum_to_one():
    rng = np.random.default_rng(0)
    train = [rng.integers(0, 5, size=40)]
    for first in range(6):  # 5 never occurs in training
        total = sum(np.exp(-bigram_nll(train, [np.array([first, w])], 6)) for w in range(6))
        assert total == pytest.approx(1)


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


def test_unknown_share_leaves_the_first_token_out():
    assert unknown_share([np.array([0, 1, 0]), np.array([0, 2, 2])]) == 0.25


def test_longest_copied_runs():
    training = [np.array([1, 2, 3, 4]), np.array([5, 6, 7])]
    pieces = [[9, 2, 3, 4, 5, 6], [4, 5], []]  # the second not across two pieces
    assert longest_copied_runs(pieces, training) == [(3, 1), (1, 0), (0, 0)]
    assert longest_copied_runs([[0, 0, 0]], [np.array([0, 0, 0])]) == [(0, 0)]


def test_a_copy_in_another_key_is_found(song_pieces):
    data = prepare(song_pieces[:60], ArticleEncoding())
    moved = data.vocabulary.encode(ArticleEncoding().encode(data.split.train[3].transpose(2)))
    assert longest_copied_runs([moved], data.train_all_keys) == [(len(moved), 0)]
