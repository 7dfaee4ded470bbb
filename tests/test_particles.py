"""The particle filter on a model so small that everything can be counted out."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from pianolstm.particles import Frame, effective_number, resample, run_particles

MEMORY, V, START, END = 5, 6, 1, 5  # ids 2 and 3 are known, 4 and the end are drawn


class Table(nn.Module):
    """What follows depends on the last id and on a number that all ids before it have changed."""

    def __init__(self):
        super().__init__()
        self.logits = torch.randn(MEMORY, V, V, generator=torch.Generator().manual_seed(3))

    def zero_state(self, batch):
        return [(torch.ones(batch, dtype=torch.long),)]

    def step(self, ids, state):
        memory = state[0][0]
        return self.logits[memory, ids], [((2 * memory + ids + 1) % MEMORY,)]


def frames(*known):
    allowed = np.isin(np.arange(V), (4, END))
    return [Frame([token], allowed) for token in known]


def joint(model, ids):
    """The probability of ids after START."""
    p, last, state = 1.0, torch.tensor([START]), model.zero_state(1)
    for token in ids:
        logits, state = model.step(last, state)
        p *= float(torch.softmax(logits[0].double(), 0)[token])
        last = torch.tensor([token])
    return p


@pytest.fixture
def model():
    return Table()


def exact(model, temperature):
    """Sum over all ways to fill in (2, 3, 2), and the share of each number of 4s in its frame 1."""
    shares = np.zeros(8)
    for counts in itertools.product(range(8), repeat=3):
        ids = [token for known, n in zip((2, 3, 2), counts) for token in (known, *[4] * n, END)]
        shares[counts[0]] += joint(model, ids) ** (1 / temperature)
    return shares.sum(), shares / shares.sum()


@pytest.mark.parametrize("temperature", [1, 0.5])
def test_many_particles_find_the_evidence_and_the_posterior(model, temperature):
    exact_sum, exact_shares = exact(model, temperature)
    run = run_particles(model, frames(2, 3, 2), START, END, 20_000, 1, temperature)
    assert run.log_evidence == pytest.approx(np.log(exact_sum), abs=0.05 / temperature**2)
    first = np.array([len(run.path(i)[0]) - 1 for i in range(0, 20_000, 10)])
    weights = run.weights[::10] / run.weights[::10].sum()
    found = np.bincount(first, weights=weights, minlength=8)[:8]
    assert np.abs(found - exact_shares).max() < 0.05 / temperature
    drawn = np.bincount((run.drawn[0] == 4).sum(axis=1), minlength=8)[:8] / 20_000
    assert np.abs(drawn - exact_shares).max() > 0.1  # as drawn, before the rest was known


def test_a_path_follows_the_parents(model):
    run = run_particles(model, frames(2, 3, 2, 2, 3), START, END, 16, seed=4)
    assert any((parents != np.arange(16)).any() for parents in run.parents)
    for particle in range(16):
        places = run.lineage(particle)
        assert places[-1] == particle
        for before, now, parents in zip(places, places[1:], run.parents[1:]):
            assert before == parents[now]
        assert all(ids[-1] == END and (ids[:-1] == 4).all() for ids in run.path(particle))
    assert 0 <= run.chosen < 16 and run.weights.sum() == pytest.approx(1)


def test_the_same_seed_gives_the_same_particles(model):
    one, again, other = (
        run_particles(model, frames(2, 3, 3), START, END, 8, seed=s) for s in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one.drawn, again.drawn))
    assert one.chosen == again.chosen and one.log_evidence == again.log_evidence
    assert one.log_evidence != other.log_evidence


def test_good_particles_multiply():
    weights = np.log([0.5, 0.25, 0.125, 0.125])
    assert effective_number(weights) == pytest.approx(1 / (0.25 + 0.0625 + 2 * 0.015625))
    assert effective_number(np.zeros(7)) == pytest.approx(7)
    rng = np.random.default_rng(0)
    counts = np.mean(
        [np.bincount(resample(weights, rng), minlength=4) for _ in range(4000)], axis=0
    )
    assert np.abs(counts / 4 - np.exp(weights)).max() < 0.01


def test_impossible_settings_are_refused(model):
    with pytest.raises(ValueError, match="particles is 0; give at least 1"):
        run_particles(model, frames(2), START, END, 0)
    with pytest.raises(ValueError, match="temperature is 0"):
        run_particles(model, frames(2), START, END, 4, temperature=0)
