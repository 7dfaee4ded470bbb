"""The memory of a piece: what it predicts, what it costs, and that it sees the past only."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pianolstm.checkpoint import load_pretrained, save_checkpoint
from pianolstm.dataset import Dataset
from pianolstm.evaluation.baselines import KneserNey
from pianolstm.evaluation.fitting import best_keys, fit_memory
from pianolstm.evaluation.likelihood import nll, predictions
from pianolstm.generation import generate, probabilities
from pianolstm.memory import OVERLAP, PASSED_OVER, SHARPNESS, Memory, Past, R
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.vocabulary import ALL_KEYS

V = 7  # as the fixture `tiny`
TOKENS = st.lists(st.integers(1, 3), max_size=40)
TUNE = np.array([1, 2, 3, 4, 5, 6, 3, 2] * 6)
MEMORY = Memory()
COUNTED = KneserNey([TUNE], V).probabilities
THREE = Memory(beside_ngrams=np.full((R, 2), 0.6), ngrams=COUNTED)


def slow_prediction(tokens: list[int]) -> tuple[np.ndarray, int]:
    """As `Past.predict`, straight from its description."""
    votes, longest, distance = np.zeros(V), 0, 0
    for place, token in enumerate(tokens):
        length = 0
        while length < place and tokens[place - 1 - length] == tokens[-1 - length]:
            length += 1
        votes[token] += length**SHARPNESS
        if length >= longest:
            longest, distance = length, len(tokens) - place
    return votes / max(votes.sum(), 1), min(longest, OVERLAP * distance)


@given(TOKENS)
def test_the_past_predicts_as_a_slow_search_does(tokens):
    p, length = Past(tokens).predict(V)
    expected, longest = slow_prediction(tokens)
    assert length == longest and p == pytest.approx(expected)


@given(TOKENS, st.integers(0, 9))
def test_probabilities_sum_to_one(tokens, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(V))
    mixed = MEMORY.mix(p, Past(tokens))
    assert mixed.sum() == pytest.approx(1) and (mixed >= 0).all()


def test_probabilities_with_ngrams_sum_to_one():
    for length in range(1, 20):
        assert THREE.mix(np.full(V, 1 / V), Past(TUNE[:length])).sum() == pytest.approx(1)


def test_a_tune_that_comes_back_is_expected():
    p, length = Past([1, 2, 3, 4, 5, 1, 2, 3]).predict(V)
    assert length == 3 and p[4] == 1
    assert Past([1, 2, 3]).predict(V) == (pytest.approx(np.zeros(V)), 0)


def test_the_future_changes_nothing(tiny):
    changed = TUNE.copy()
    changed[30:] = changed[30:][::-1]
    a, b = nll(tiny[0], [TUNE, changed], memory=MEMORY).per_piece
    assert a[:29] == pytest.approx(b[:29], abs=1e-6) and not np.allclose(a[29:], b[29:])


def test_pieces_side_by_side_share_nothing(tiny):
    pieces = [TUNE, TUNE[4:30], TUNE[:2], TUNE[:1]]
    together = nll(tiny[0], pieces, memory=MEMORY).per_piece
    for piece, losses in zip(pieces[:3], together):
        assert losses == pytest.approx(nll(tiny[0], [piece], memory=MEMORY).per_piece[0], abs=1e-6)
    prompts, seeds = [[1], [2, 3, 4], [5]], [1, 2, 3]
    written = generate(tiny[0], prompts, 60, seeds, memory=MEMORY)
    for prompt, seed, ids in zip(prompts, seeds, written):
        assert generate(tiny[0], [prompt], 60, [seed], memory=MEMORY)[0].tolist() == ids.tolist()


@pytest.mark.parametrize("memory", [MEMORY, THREE], ids=["past", "past and n-grams"])
def test_what_is_measured_is_what_is_written(tiny, memory, monkeypatch):
    """The distributions that `generate` draws from give each token the probability of `nll`."""
    drawn_from = []

    def noted(logits, *settings, forbid=()):
        drawn_from.append(probabilities(logits, *settings, forbid=()))
        return drawn_from[-1]

    model, start = tiny[0], 3
    monkeypatch.setattr("pianolstm.generation.probabilities", noted)
    (written,) = generate(model, [TUNE[:start]], 40, memory=memory)
    piece = np.concatenate([TUNE[:start], written])
    (losses,) = nll(model, [piece], memory=memory).per_piece
    expected = [-np.log(p[token]) for p, token in zip(drawn_from[1::2], written)]
    assert losses[start - 1 :] == pytest.approx(expected, abs=1e-5)


def test_a_memory_makes_a_repeated_tune_likelier(tiny):
    assert nll(tiny[0], [TUNE], memory=MEMORY).mean < 0.7 * nll(tiny[0], [TUNE]).mean


def test_a_network_in_training_is_measured_without_dropout_and_left_as_it_was():
    torch.manual_seed(0)
    model = build_network(NetworkConfig("note", V, (8,), 0.5)).train()
    first, second = (nll(model, [TUNE, TUNE], memory=MEMORY).per_piece[0] for _ in range(2))
    assert model.training and np.array_equal(first, second)


def test_windows_have_no_memory(tiny):
    model = torch.nn.Linear(1, 1)
    model.reads = "windows"
    with pytest.raises(ValueError, match="reads windows"):
        nll(model, [TUNE], memory=MEMORY)


@pytest.mark.parametrize("ngrams", [None, COUNTED], ids=["past", "past and n-grams"])
def test_a_fitted_memory_is_better_than_the_default_one(tiny, ngrams):
    fitted = fit_memory([TUNE], predictions(tiny[0], [TUNE]), Memory(ngrams=ngrams))
    assert fitted.shares[0] == 0 and ((fitted.shares >= 0) & (fitted.shares <= 1)).all()
    assert nll(tiny[0], [TUNE], memory=fitted).mean < nll(tiny[0], [TUNE], memory=MEMORY).mean


def test_what_was_said_twice_in_a_row_is_not_said_for_ever():
    passage = [1, 2, 3, 4, 5, 6]
    assert Past(passage + passage[:5]).predict(V, overlap=0)[1] == 5
    assert Past(passage + passage).predict(V, overlap=0)[1] == 0


def test_a_held_chord_counts_as_a_short_match():
    assert Past([1, 2, 3] * 5).predict(V)[1] == 3 * OVERLAP  # it matches over twelve tokens
    assert Past([1, 2, 3, 4, 5, 6] * 2).predict(V)[1] == 6


def test_a_token_of_a_long_piece_costs_less_than_a_millisecond():
    past, tokens = Past(), np.random.default_rng(0).integers(1, V, 10_000)
    begin = time.process_time()
    for token in tokens:
        past.add(token)
        past.predict(V)
    assert time.process_time() - begin < 10


SAME = np.array([0, 1, 2, 3, 3, PASSED_OVER, 6])  # 4 counts as a 3; 5 announces the end


def test_tokens_of_a_class_match_and_nothing_is_recalled_once_the_end_is_announced():
    assert Past([1, 2, 3, 6, 1, 2, 4], SAME).predict(V) == (pytest.approx(np.eye(V)[6]), 3)
    assert Past([1, 2, 3, 6, 1, 2, 4, 5], SAME).predict(V) == (pytest.approx(np.zeros(V)), 0)


def test_within_a_class_the_network_decides_and_nothing_is_copied_that_it_forbids():
    memory, p = Memory(np.full(R, 0.9), same=SAME), np.array([0, 0.1, 0.2, 0.1, 0.3, 0.3, 0])
    mixed = memory.mix(p, Past([1, 2, 3, 6] * 9 + [1, 2], SAME))
    assert mixed.sum() == pytest.approx(1) and mixed[3] + mixed[4] > 0.6
    assert mixed[4] == pytest.approx(3 * mixed[3])  # as the network has them
    assert mixed[5] == pytest.approx(0.3)  # is not for the memory to say
    assert mixed[6] == mixed[0] == 0
    assert memory.mix(p, Past([1, 2, 3, 6] * 9 + [1, 2, 4], SAME))[6] == 0  # 6 is what came next


def test_a_memory_travels_in_a_checkpoint(tmp_path):
    trained = load_pretrained("events")
    assert trained.memory is None
    wanted = Memory(shares=np.linspace(0, 0.9, R), sharpness=6.0, same=trained.same)
    save_checkpoint(tmp_path / "a.safetensors", replace(trained, memory=wanted))
    found = load_pretrained(str(tmp_path / "a.safetensors")).memory
    assert found.to_dict() == wanted.to_dict() and np.array_equal(found.same, wanted.same)
    ids = trained.vocabulary.ids
    assert found.same[ids["bar:3"]] == found.same[ids["bar:17"]] != found.same[ids["at:0"]]
    assert found.same[ids["left:2"]] == PASSED_OVER
    damaged = wanted.to_dict() | {"shares": [0.5]}
    with pytest.raises(ValueError, match="shapes"):
        Memory.from_dict(damaged)


def test_keys_are_chosen_on_validation_and_travel_in_a_checkpoint(tmp_path):
    trained = load_pretrained("rolls")  # learned in all keys
    pieces = [trained.vocabulary.encode(["<bos>", *["G4", "E4", "C4", "|"] * n]) for n in (2, 9)]
    data = Dataset.from_ids(trained.encoding, trained.vocabulary, pieces, pieces)
    chosen = best_keys(trained, data)
    losses = {keys: nll(replace(trained, keys=keys).predictor, pieces).mean
              for keys in ((0,), ALL_KEYS)}  # fmt: skip
    assert chosen == min(losses, key=losses.get) and losses[(0,)] != losses[ALL_KEYS]
    save_checkpoint(tmp_path / "a.safetensors", replace(trained, keys=ALL_KEYS))
    found = load_pretrained(str(tmp_path / "a.safetensors"))
    assert found.keys == ALL_KEYS and trained.predictor is trained.model
    assert nll(found.predictor, pieces).mean == pytest.approx(losses[ALL_KEYS])
    one_key = replace(trained, train_config=replace(trained.train_config, transpose=False))
    assert best_keys(one_key, data) == (0,)
