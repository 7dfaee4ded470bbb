import contextlib
import itertools
import os
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from pianolstm import batches
from pianolstm.batches import batches_in_epoch, epoch_losses, noisy
from pianolstm.checkpoint import (
    CheckpointError,
    TrainConfig,
    load_checkpoint,
    train_config,
)
from pianolstm.dataset import Dataset, streams
from pianolstm.encodings import ArticleEncoding, PianoRollEncoding
from pianolstm.evaluation import nll
from pianolstm.generation import generate
from pianolstm.networks import (
    NETWORKS,
    NetworkConfig,
    build_network,
    network_config,
    register,
)
from pianolstm.training import make_optimizer, rate_factor, train
from pianolstm.vocabulary import Vocabulary

VOCABULARY = Vocabulary(list("abcdef"))
NOTE = NetworkConfig("note", 7, (8,), 0.3)
QUICK = TrainConfig(epochs=4, batch=2, steps=8, seed=3)


def run(ids_pieces, folder, model=NOTE, config=QUICK, stop_after=None):
    """Train, or, with `stop_after`, until so many epochs are done and somebody presses Ctrl-C."""

    def press_ctrl_c(row):
        if row["epoch"] == stop_after:
            raise KeyboardInterrupt

    data = Dataset.from_ids(ArticleEncoding(), VOCABULARY, *ids_pieces)
    with contextlib.suppress(KeyboardInterrupt) if stop_after else contextlib.nullcontext():
        return train(data, model, config, folder, on_epoch=press_ctrl_c)


def weights(path):
    return load_checkpoint(path).model.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_training_lowers_the_loss_and_keeps_the_best(tmp_path, ids_pieces):
    best = run(ids_pieces, tmp_path, config=TrainConfig(epochs=15, batch=2, steps=8))
    assert best.history[-1]["train_loss"] < best.history[0]["train_loss"]
    assert [row["epoch"] for row in best.history] == list(range(1, 16))
    found = nll(best.model, ids_pieces[1]).mean
    assert found == pytest.approx(min(row["valid_loss"] for row in best.history), abs=1e-5)


def test_article_saves_whenever_training_loss_improves(tmp_path, ids_pieces):
    model = NetworkConfig("article", 7, (4, 6, 4), 0.3)
    run(ids_pieces, tmp_path, model, train_config("article", epochs=2, steps=10, batch=16))
    names = [name for name in os.listdir(tmp_path) if name.startswith("weights-improvement-01-")]
    assert len(names) == 1 and names[0].endswith("-bigger.safetensors")


@pytest.mark.parametrize("network", ["note", "article"])
def test_stopped_between_epochs_it_resumes_to_the_same_weights(tmp_path, ids_pieces, network):
    model = NetworkConfig("article", 7, (4, 6, 4), 0.3) if network == "article" else NOTE
    config = QUICK if network == "note" else train_config("article", epochs=4, steps=10, batch=16)
    run(ids_pieces, tmp_path / "whole", model, config)
    run(ids_pieces, tmp_path / "parts", model, config, stop_after=2)
    torch.manual_seed(99)  # whatever happened in between must not matter
    run(ids_pieces, tmp_path / "parts", model, config)
    whole, parts = (weights(tmp_path / f / "last.safetensors") for f in ("whole", "parts"))
    assert same(whole, parts)


def test_stopped_in_the_middle_of_a_save_it_resumes_to_the_same_weights(tmp_path, ids_pieces):
    fsync, count = os.fsync, itertools.count(1)

    def stop_at_the_fourth(descriptor):
        if next(count) == 4:
            os.ftruncate(descriptor, 100)  # half-written
            raise KeyboardInterrupt
        fsync(descriptor)

    with mock.patch("os.fsync", stop_at_the_fourth), pytest.raises(KeyboardInterrupt):
        run(ids_pieces, tmp_path / "killed")
    assert any(name.endswith(".part") for name in os.listdir(tmp_path / "killed"))
    for folder in ("whole", "killed"):
        run(ids_pieces, tmp_path / folder)
    for name in ("last.safetensors", "best.safetensors"):
        assert same(weights(tmp_path / "whole" / name), weights(tmp_path / "killed" / name))


def test_a_folder_with_another_run_is_refused_by_what_differs(tmp_path, ids_pieces):
    run(ids_pieces, tmp_path)
    with pytest.raises(CheckpointError, match=r"holds a run with seed = 3, not 4\. Use another"):
        run(ids_pieces, tmp_path, config=replace(QUICK, seed=4))
    with pytest.raises(CheckpointError, match=r"holds a run with hidden = \(8,\), not \(9,\)"):
        run(ids_pieces, tmp_path, model=replace(NOTE, hidden=(9,)))
    with pytest.raises(CheckpointError, match="holds a run with music = "):
        run(([ids[::-1].copy() for ids in ids_pieces[0]], ids_pieces[1]), tmp_path)


def test_a_time_budget_may_change_on_resuming_and_holds_with_validation(tmp_path, ids_pieces):
    run(ids_pieces, tmp_path, config=replace(QUICK, epochs=10_000, seconds=0.3))
    more = run(ids_pieces, tmp_path, config=replace(QUICK, epochs=10_000, seconds=0.8))
    assert 0.5 < more.history[-1]["seconds"] < 5


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_epoch(tmp_path, ids_pieces):
    run(ids_pieces, tmp_path, stop_after=1)
    with (
        mock.patch.object(
            torch.nn.functional, "cross_entropy", lambda *a, **k: torch.tensor(torch.nan)
        ),
        pytest.raises(ValueError, match=r"loss is nan at batch 1 of epoch 2; .*holds epoch 1"),
    ):
        run(ids_pieces, tmp_path)
    assert len(run(ids_pieces, tmp_path).history) == 4  # goes on as if nothing had been


@pytest.fixture
def registry():
    """The networks that are known; what a test registers is forgotten after it."""
    with mock.patch.dict(NETWORKS):
        yield


def test_a_network_of_ones_own_trains_saves_and_loads(tmp_path, ids_pieces, registry):
    @register("own", hidden=(5,), training={"learning_rate": 0.05})
    class Own(nn.Module):
        reads, ignores = "streams", ("shared", "grammar")

        def __init__(self, config, features=None):
            super().__init__()
            self.embedding = nn.Embedding(config.vocabulary_size, config.hidden[0])
            self.output = nn.Linear(config.hidden[0], config.vocabulary_size)

        def zero_state(self, batch):
            return [(self.output.weight.new_zeros(batch, 1),)]

        def forward(self, ids, state=None):
            return self.output(self.embedding(ids)), state or self.zero_state(len(ids))

        def step(self, ids, state):
            return self.output(self.embedding(ids)), state

    config = train_config("own", epochs=3, batch=2, steps=8)
    assert config.learning_rate == 0.05
    best = run(ids_pieces, tmp_path, network_config("own", 7), config)
    assert best.history[-1]["train_loss"] < best.history[0]["train_loss"]
    loaded = load_checkpoint(tmp_path / "best.safetensors")
    assert type(loaded.model).__name__ == "Own" and loaded.model.config.hidden == (5,)
    assert len(generate(loaded.model, [[1]], 10)[0]) == 10


def test_a_network_without_the_interface_is_refused_before_training(tmp_path, ids_pieces, registry):
    @register("wrong")
    class Wrong(nn.Module):
        reads = "streams"

        def __init__(self, config, features=None):
            super().__init__()
            self.output = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match="'Wrong' object has no attribute 'step'"):
        run(ids_pieces, tmp_path, NetworkConfig("wrong", 7))


def test_the_articles_optimizer_takes_the_steps_of_keras_2():
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[1.0, -2.0]])
    optimizer = make_optimizer(model, train_config("article"))
    x, v, g = np.array([1.0, -2.0]), np.zeros(2), np.array([0.5, 1e-8])
    for _ in range(2):
        model.weight.grad = torch.tensor(g[None], dtype=torch.float32)
        optimizer.step()
        v = 0.9 * v + 0.1 * g**2
        x = x - 0.001 * g / (np.sqrt(v) + 1e-7)  # with 1e-7 under the root the second hardly moves
    assert model.weight.detach().numpy()[0] - [1, -2] == pytest.approx(x - [1, -2], rel=1e-3)


def test_windows_that_are_too_few_for_all_processes_are_left_out():
    model = build_network(NetworkConfig("article", 7, (4, 6, 4), 0.0))
    pieces = [[np.arange(21) % 6 + 1]]  # 11 windows of 10: two batches of 5, and one window
    config = train_config("article", batch=5, steps=10)
    assert [n for _, n in epoch_losses(model, pieces, config, 1)] == [5, 5, 1]
    with mock.patch.object(batches, "world", return_value=2):
        assert [n for _, n in epoch_losses(model, pieces, config, 1)] == [5, 5]


def test_noise_replaces_a_share_of_what_is_read_by_what_else_is_there():
    torch.manual_seed(0)
    ids = torch.arange(1, 5001).reshape(50, 100)
    seen = noisy(ids, 0.2)
    assert 0.17 < (seen != ids).float().mean() < 0.23
    assert set(seen.flatten().tolist()) <= set(ids.flatten().tolist())
    assert noisy(ids, 0.0) is ids
    with pytest.raises(ValueError, match=r"noise 1.0: a share from 0 to less than 1"):
        noisy(ids, 1.0)


def test_noise_and_a_grammar_exclude_each_other(tmp_path, ids_pieces):
    encoding = PianoRollEncoding()
    vocabulary = Vocabulary(encoding.all_tokens())
    data = Dataset.from_ids(encoding, vocabulary, *ids_pieces)
    model = NetworkConfig("note", len(vocabulary), (8,), 0.0)
    with pytest.raises(ValueError, match=r"noise 0.1: after a wrong token the grammar of PianoR"):
        train(data, model, replace(QUICK, noise=0.1), tmp_path)


def test_learning_rate_rises_then_falls():
    config = TrainConfig(warmup=0.1, final_rate=0.05)
    factors = [rate_factor(t, config) for t in np.linspace(0, 1, 101)]
    assert factors[0] < 0.01 and max(factors) > 0.95
    assert factors[-1] == pytest.approx(0.05)
    assert all(a >= b for a, b in itertools.pairwise(factors[11:]))


def test_pieces_come_home_to_their_own_keys_for_the_last_share_of_a_run():
    model = build_network(NOTE)
    pieces = [[np.full(9, key) for key in range(1, 6)] for _ in range(20)]  # 3 is their own
    config = TrainConfig(batch=1, steps=8, transpose_until=0.6)

    def keys(progress):
        with mock.patch.object(batches, "streams", return_value=[]) as streams:
            list(epoch_losses(model, pieces, config, 1, progress))
            return {int(piece[0]) for piece in streams.call_args[0][0]}

    assert keys(0.0) == keys(0.59) == {1, 2, 3, 4, 5}
    assert keys(0.6) == keys(1.0) == {3}


def test_a_timed_run_that_is_over_stays_over(tmp_path, ids_pieces):
    config = TrainConfig(epochs=1000, batch=2, steps=8, seconds=0.3)
    first = run(ids_pieces, tmp_path, config=config)
    again = run(ids_pieces, tmp_path, config=config)
    assert len(first.history) == len(again.history)
    assert same(first.model.state_dict(), again.model.state_dict())


def test_training_can_go_on_from_another_network(tmp_path, ids_pieces):
    run(ids_pieces, tmp_path / "first")
    start = str(tmp_path / "first" / "last.safetensors")
    begun = replace(QUICK, start=start, learning_rate=1e-9)
    run(ids_pieces, tmp_path / "second", config=begun, stop_after=1)
    new, old = weights(tmp_path / "second" / "last.safetensors"), weights(start)
    assert all(torch.allclose(new[name], old[name], atol=1e-6) for name in old)
    wider = replace(NOTE, hidden=(9,))
    with pytest.raises(ValueError, match="another encoding, vocabulary or size"):
        run(ids_pieces, tmp_path / "third", wider, begun)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match=r"optimizer 'sgd': use adamw or rmsprop"):
        make_optimizer(build_network(NOTE), TrainConfig(optimizer="sgd"))


def test_batches_of_an_epoch_are_known_before_it_begins():
    model, config = build_network(NOTE), TrainConfig(batch=3, steps=4)
    pieces = [[np.ones(n, dtype=int)] for n in (40, 1, 0, 2, 5, 6, 9)]
    found = batches_in_epoch(model, pieces, config)
    assert found == len(list(streams((piece[0] for piece in pieces), 3, 4))) == 10
    assert batches_in_epoch(model, [], config) == 1
