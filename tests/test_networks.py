import numpy as np
import pytest
import torch

from pianolstm.batches import carry
from pianolstm.networks import InSeveralKeys, NetworkConfig, build_network, network_config


def article(V=381, hidden=(256, 512, 256), hard_gates=True):
    torch.manual_seed(0)
    return build_network(NetworkConfig("article", V, hidden, 0.3, hard_gates=hard_gates)).eval()


def test_article_network_has_keras_number_of_parameters():
    assert article().parameter_count() == 2_790_269


def test_article_network_starts_as_keras_does():
    layer = article().layers[1]
    hidden = 512
    assert torch.equal(layer.bias_ih_l0[hidden : 2 * hidden], torch.ones(hidden))
    assert layer.bias_ih_l0.sum() == hidden
    assert not layer.bias_hh_l0.requires_grad and not layer.bias_hh_l0.any()
    recurrent = layer.weight_hh_l0
    assert torch.allclose(recurrent.T @ recurrent, torch.eye(hidden), atol=1e-4)
    bound = (6 / (256 + 4 * hidden)) ** 0.5
    assert layer.weight_ih_l0.abs().max() <= bound


def cell(layer, x, h, c, hard):
    """Hochreiter and Schmidhuber 1997 with a forget gate (Gers et al. 2000), by hand."""
    H = h.shape[-1]
    gates = x @ layer.weight_ih_l0.T + h @ layer.weight_hh_l0.T + layer.bias_ih_l0
    gates = gates + layer.bias_hh_l0
    i, f, g, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H : 3 * H], gates[:, 3 * H :]
    gate = torch.sigmoid
    if hard:  # Keras before 2.3: a straight line between the gate's two ends
        gate = lambda x: (0.2 * x + 0.5).clip(0, 1)  # noqa: E731
    c = gate(f) * c + gate(i) * g.tanh()
    return gate(o) * c.tanh(), c


@pytest.mark.parametrize("hard", [True, False])
def test_article_network_is_a_stack_of_hand_written_cells(hard):
    model = article(V=20, hidden=(5, 7, 5), hard_gates=hard)
    for parameter in model.parameters():
        parameter.data *= 3  # so that hard gates reach both ends
    window = torch.tensor([[3, 1, 19, 0], [4, 4, 2, 7]])
    sequence = [window[:, t : t + 1].float() / 20 for t in range(4)]
    for layer in model.layers:
        h = c = torch.zeros(2, layer.hidden_size)
        outputs = []
        for x in sequence:
            h, c = cell(layer, x, h, c, hard)
            outputs.append(h)
        sequence = outputs
    expected = model.output(model.dense(sequence[-1]))
    assert torch.allclose(model.predict_next(window), expected, atol=1e-6)


V = 13
NETWORKS = ("article", "note", "gru", "transformer")


def network(name):
    torch.manual_seed(0)
    return build_network(NetworkConfig(name, V, (16, 16), 0.0)).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_in_parts_or_step_by_step_equals_the_whole(name):
    model = network(name)
    ids = torch.randint(1, V, (3, 9))
    whole, _ = model(ids)
    assert whole.shape == (3, 9, V)
    start, state = model(ids[:, :4])
    end, _ = model(ids[:, 4:], state)
    assert torch.allclose(torch.cat([start, end], 1), whole, atol=1e-5)
    state = model.zero_state(3)
    for t in range(9):
        logits, state = model.step(ids[:, t], state)
        assert torch.allclose(logits, whole[:, t], atol=1e-5)
    with torch.inference_mode():  # PyTorch's fast path once took our distances for a mask
        assert torch.allclose(model(ids)[0], whole, atol=1e-5)


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match="unknown network 'gpt'; choose from "):
        network_config("gpt", 10)


def test_shared_vectors_are_sums_and_follow_training():
    features = np.array([[0, 0], [1, 0], [1, 1]], dtype=np.float32)
    model = build_network(NetworkConfig("note", 3, (4,), 0.0, shared=True), features).eval()
    own, parts = model.embedding.weight, model.feature_vectors
    assert torch.allclose(model.vectors()[2], own[2] + parts[0] + parts[1])
    assert torch.equal(model.vectors()[0], own[0])
    before = model.vectors()
    model.train()
    model(torch.tensor([[1, 2]]))[0].sum().backward()
    assert parts.grad.abs().sum() > 0
    with torch.no_grad():
        parts += 1
    assert not torch.allclose(model.eval().vectors()[2], before[2])


def test_a_transformer_reads_long_pieces_in_parts():
    """Exactly alike while the past fits; then a past token's own past is cut at another place."""
    model = network("transformer")
    ids = torch.randint(0, V, (2, 700))  # `<unk>` among them
    with torch.inference_mode():
        whole, _ = model(ids)
        state, rows = model.zero_state(2), []
        for part in ids.split([200, 1, 1, 498], dim=1):
            logits, state = model(part, state)
            rows.append(logits)
    parts = torch.cat(rows, dim=1)
    assert torch.allclose(parts[:, :256], whole[:, :256], atol=1e-4)
    assert (parts - whole).abs().mean() < 0.02


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_depends_on_the_future_or_on_other_pieces(name):
    model = network(name)
    ids = torch.randint(1, V, (2, 9))
    other = ids.clone()
    other[0, 5:] = 1 + other[0, 5:] % (V - 1)
    a, b = model(ids)[0], model(other)[0]
    assert torch.equal(a[1], b[1])
    assert torch.allclose(a[0, :5], b[0, :5], atol=1e-6)
    assert not torch.allclose(a[0, 5:], b[0, 5:], atol=1e-6)


def test_a_fresh_row_has_no_past_beside_one_that_has():
    model = network("transformer")
    ids, more = torch.randint(1, V, (2, 6)), torch.randint(1, V, (2, 5))
    _, state = model(ids)
    logits, _ = model(more, carry(state, torch.tensor([True, False])))
    alone, _ = model(more[:1])
    assert torch.allclose(logits[0], alone[0], atol=1e-5)
    assert not torch.allclose(logits[1], model(more[1:])[0][0], atol=1e-3)


def test_sizes_that_a_transformer_cannot_have():
    for hidden in ((16, 24), (12, 12)):
        with pytest.raises(ValueError, match="a multiple of 8"):
            build_network(NetworkConfig("transformer", V, hidden))


def in_keys(keys=(-1, 0, 2), V=7):
    """A tiny network that reads in several keys; token 1 is no note, and 2 … 6 are a scale."""
    torch.manual_seed(0)
    model = build_network(NetworkConfig("note", V, (5,), 0.0)).eval()
    rows = [[0, 1, *(t + key if 2 <= t + key < V else -1 for t in range(2, V))] for key in keys]
    return model, InSeveralKeys(model, np.array(rows))


def test_in_several_keys_is_the_mean_of_what_is_expected_in_each():
    model, several = in_keys()
    piece = [1, 3, 4]
    mean = torch.zeros(7)
    for moved, columns in (([1, 2, 3], {3: 2, 4: 3, 5: 4, 6: 5}),
                           ([1, 3, 4], {2: 2, 3: 3, 4: 4, 5: 5, 6: 6}),
                           ([1, 5, 6], {2: 4, 3: 5, 4: 6})):  # fmt: skip
        p = model(torch.tensor([moved]))[0][0, -1].softmax(0)
        expected = torch.zeros(7)
        for token, there in ({0: 0, 1: 1} | columns).items():
            expected[token] = p[there]
        mean += expected / expected.sum() / 3
    assert torch.allclose(several(torch.tensor([piece]))[0][0, -1].exp(), mean, atol=1e-6)


def test_in_several_keys_step_by_step_equals_the_whole():
    _, several = in_keys()
    ids = torch.tensor([[1, 2, 6, 3], [4, 4, 1, 5]])
    whole, last = several(ids)
    assert torch.allclose(whole.exp().sum(-1), torch.ones(2, 4), atol=1e-6)
    state = several.zero_state(2)
    for t in range(4):
        logits, state = several.step(ids[:, t], state)
        assert torch.allclose(logits, whole[:, t], atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(last[0], state[0]))
    swapped, _ = several.step(ids[[1, 0], 0], [tuple(p[[1, 0]] for p in state[0])])
    straight, _ = several.step(ids[:, 0], state)
    assert torch.allclose(swapped, straight[[1, 0]])  # rows of the state are pieces
