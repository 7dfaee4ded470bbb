import pytest
import torch

from pianolstm.generation import generate
from pianolstm.networks import NetworkConfig, build_network

V = 13


def network(name):
    torch.manual_seed(0)
    return build_network(NetworkConfig(name, V, (16, 16), 0.0)).eval()


@pytest.mark.parametrize("name", ("gru", "transformer"))
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


@pytest.mark.parametrize("name", ("gru", "transformer"))
def test_without_gradients_the_numbers_are_the_same(name):
    """PyTorch has a fast path for inference, which once took our distances for a mask."""
    model = network(name)
    ids = torch.randint(0, V, (3, 9))
    with torch.inference_mode():
        fast, _ = model(ids)
    assert torch.allclose(fast, model(ids)[0], atol=1e-5)


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


@pytest.mark.parametrize("name", ("gru", "transformer"))
def test_it_writes(name):
    one, two = generate(network(name), [[1], [2, 3]], 5, seeds=[0, 1])
    assert len(one) == len(two) == 5


@pytest.mark.parametrize("name", ("gru", "transformer"))
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
    from pianolstm.batches import carry

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
