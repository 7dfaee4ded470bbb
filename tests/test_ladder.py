from functools import partial

import numpy as np
import pytest
import torch

from pianolstm.dataset import Dataset
from pianolstm.encodings import ArticleEncoding
from pianolstm.networks import build_network, network_config
from pianolstm.vocabulary import Vocabulary


@pytest.fixture
def data():
    vocabulary = Vocabulary(["C4", "D4", "E4", "F4", "G4"])
    draw = np.random.default_rng(0)
    pieces = [draw.integers(1, 6, size=130) for _ in range(4)]
    return Dataset.from_ids(ArticleEncoding(), vocabulary, pieces[:3], pieces[3:])


def test_the_first_rung_is_the_articles_network_and_the_last_is_ours(ladder):
    ladder.assert_ends_at_note_lstm(20)
    torch.manual_seed(0)
    rung = ladder.Rung(ladder.setups()["1 the article's"], 20).eval()
    article = build_network(network_config("article", 20, hard_gates=False)).eval()
    article.load_state_dict(rung.state_dict())
    ids = torch.arange(60).reshape(2, 30) % 20
    assert torch.equal(rung.predict_next(ids), article.predict_next(ids))


def test_each_rung_makes_one_change_and_each_omission_undoes_one(ladder):
    setups = ladder.setups()
    rungs = [setup for name, setup in setups.items() if name[0].isdigit() and "rate" not in name]
    made = [sum(value is True for value in vars(setup).values()) for setup in rungs]
    assert made == list(range(9))
    assert setups["without tied"] == setups["8 width, dropout"]


def test_both_kinds_of_gate_begin_alike_and_learn(ladder, data, monkeypatch):
    monkeypatch.setattr(ladder, "EVERY", 2)
    small = partial(network_config, hidden=(4, 4, 4))
    monkeypatch.setattr(ladder, "network_config", small)
    hard, soft = (list(ladder.compare_gates(kind, data, 4)) for kind in (True, False))
    assert [line["batches"] for line in hard] == [2, 4] and hard[0]["windows"] == 160
    assert hard[0]["train_loss"] == pytest.approx(soft[0]["train_loss"], abs=0.05)
    assert hard[1]["train_loss"] != soft[1]["train_loss"]


@pytest.mark.parametrize("name", ["without every step", "9 tied"])
def test_a_rung_spends_its_work_and_no_more(ladder, data, name):
    rung = ladder.Rung(ladder.setups()[name], 6)
    line = ladder.climb(name, ladder.setups()[name], 0, data, work=3e9)
    assert line["curve"][-1][0] >= 0.003 and line["batches"] >= 1
    assert line["parameters"] == rung.parameter_count()
    assert np.isfinite(line["valid"])


def test_runs_of_a_song_are_found_in_it_and_nowhere_else(learned):
    songs = [np.arange(40), np.arange(100, 140)]
    piece = np.concatenate([np.arange(5, 20), [99], np.arange(100, 105)])
    share, song = learned.share_in_one_song(piece, songs)
    assert (share, song) == (15 / 21, 0)
