"""What a network is, and the registry that names all of them.

Shapes: B batch, T time steps, V vocabulary, E embedding, H hidden units. Every network is a
`torch.nn.Module` with this interface (see `check_interface`):

    reads = "streams"                        # predicts after every step and carries a state …
    logits, state = model(ids, state)        # ids (B, T) → logits (B, T, V)
    reads = "windows"                        # … or predicts once, after a whole window
    logits = model.predict_next(ids)         # ids (B, T) → logits (B, V)

    logits, state = model.step(ids, state)   # ids (B,) → logits (B, V): one step, for writing
    state = model.zero_state(B)              # a list of tuples of tensors, on the weights' device

So a network says itself how it is trained and asked. To add one, write the class and register it:

    @register("mine", hidden=(64,), training={"learning_rate": 1e-3})
    class MyNetwork(nn.Module):
        def __init__(self, config, features=None): ...
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

LayerState = tuple[Tensor, ...]  # of an LSTM (h, c), both (B, H)
State = list[LayerState]  # of each layer


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build a network; it travels inside every checkpoint."""

    name: str = "note"  # in `NETWORKS`
    vocabulary_size: int = 0  # V, `<unk>` included
    hidden: tuple[int, ...] = (384,)  # H of each layer
    dropout: float = 0.5  # share of the units that are dropped in training
    shared: bool = False  # tokens share the vectors of the features they are made of
    grammar: bool = True  # no probability for tokens that the encoding's grammar forbids
    batch_norm: bool = False  # ArticleLSTM: around the dense layer, with ReLU (2019)
    dropout_between: bool = True  # dropout between the LSTM layers (off in the article's of 2019)
    hard_gates: bool = False  # ArticleLSTM: gates of straight lines, as in Keras before 2.3

    def __post_init__(self) -> None:  # a command line and a file's header give a list
        object.__setattr__(self, "hidden", tuple(self.hidden))


class NetworkKind(NamedTuple):
    """A registered network: its class, and where its defaults differ from the configurations'."""

    build: Callable[..., nn.Module]  # (config, features) → network
    network: dict  # fields of NetworkConfig
    training: dict  # fields of TrainConfig


NETWORKS: dict[str, NetworkKind] = {}


def register(name: str, training: dict | None = None, **network) -> Callable:
    """Make a network known to checkpoints and to the command line. Use it as a decorator.

    Its own defaults: `network` are fields of `NetworkConfig`, `training` fields of `TrainConfig`.
    """

    def add(kind: type[nn.Module]) -> type[nn.Module]:
        NETWORKS[name] = NetworkKind(kind, network, training or {})
        return kind

    return add


def network_config(name: str, vocabulary_size: int, **changes) -> NetworkConfig:
    """The default configuration of a registered network, with changes.

    Raises ValueError, which lists the names, for one that is not registered.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; choose from {', '.join(NETWORKS)}")
    return NetworkConfig(name, vocabulary_size, **(NETWORKS[name].network | changes))


def build_network(
    config: NetworkConfig, features: np.ndarray | None = None, grammar: np.ndarray | None = None
) -> nn.Module:
    """The network that a configuration describes.

    `features` (V, F) are for a shared one, see `NoteLSTM`. `grammar` (V, V) tells which token may
    follow which; the others get no probability. Raises ValueError for sizes that it cannot have.
    """
    model = NETWORKS[config.name].build(config, features)
    model.config = config
    if grammar is not None and config.grammar:
        model.forbidden = torch.from_numpy(~grammar)
    return model


def check_interface(model: nn.Module, vocabulary_size: int) -> None:
    """Ask a network as training, validation and writing will; it is left in evaluation mode.

    Raises AttributeError, which names it, for what is missing, and TypeError for another way of
    reading and for logits of another shape.
    """
    name = type(model).__name__
    if model.reads not in ("streams", "windows"):
        raise TypeError(f"{name}.reads is {model.reads!r}; it must be 'streams' or 'windows'")
    ids = torch.zeros(2, 3, dtype=torch.long, device=next(model.parameters()).device)
    with torch.no_grad():
        logits, _ = model.eval().step(ids[:, 0], model.zero_state(2))
        # Validation gives no state
        others = model.predict_next(ids) if model.reads == "windows" else model(ids)[0][:, -1]
    if not logits.shape == others.shape == (2, vocabulary_size):
        found = f"{tuple(logits.shape)} and {tuple(others.shape)}"
        raise TypeError(f"{name}: logits of shapes {found}, not (2, {vocabulary_size})")


class LSTMLayer(nn.LSTM):
    """`nn.LSTM` of one layer, batch first, whose state is (h, c), both (B, H)."""

    states = 2  # tensors of the state

    def forward(self, x: Tensor, state: LayerState | None = None) -> tuple[Tensor, LayerState]:
        """x (B, T, ·) and the state, zeros unless given → outputs (B, T, H) and the state after."""
        x, after = super().forward(x, state and tuple(part.unsqueeze(0) for part in state))
        return x, tuple(part.squeeze(0) for part in after)

    def step(self, x: Tensor, state: LayerState) -> LayerState:
        """x (B, ·) and the state → the state after, whose first part is the output.

        nn.LSTM is built for long sequences and costs several times as much for a single step.
        """
        return torch.lstm_cell(x, state, *self.all_weights[0])


class RecurrentNetwork(nn.Module):
    """A stack of layers between an input (`embed`) and an output (`head`), both abstract."""

    reads = "streams"
    ignores = ("batch_norm", "hard_gates")  # fields of the configuration that mean nothing to it
    layer_type: type[nn.Module] = LSTMLayer

    def __init__(self, config: NetworkConfig, input_size: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("forbidden", None, persistent=False)  # (V, V), see `build_network`
        sizes = itertools.pairwise([input_size, *config.hidden])
        self.layers = nn.ModuleList(self.layer_type(*pair, batch_first=True) for pair in sizes)
        self.dropout = nn.Dropout(config.dropout)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids of any shape → the first layer's input, one axis more."""
        raise NotImplementedError

    def head(self, x: Tensor) -> Tensor:
        """Top layer's output (…, H) → logits (…, V)."""
        raise NotImplementedError

    def zero_state(self, batch: int) -> State:
        """The state before the first token."""
        device = next(self.parameters()).device
        sizes, states = self.config.hidden, self.layer_type.states
        return [(torch.zeros(batch, size, device=device),) * states for size in sizes]

    def hidden_states(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids (B, T) → the top layer's output (B, T, H) and the state after the last step."""
        x, new_state = self.embed(ids), []
        for depth, before in enumerate(state or self.zero_state(len(ids))):
            if depth and self.config.dropout_between:
                x = self.dropout(x)
            x, after = self.layers[depth](x, before)
            new_state.append(after)
        return x, new_state

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids (B, T) → logits for the token after each step (B, T, V), and the state."""
        x, state = self.hidden_states(ids, state)
        return self.only_allowed(self.head(x), ids), state

    def predict_next(self, windows: Tensor) -> Tensor:
        """Windows (B, T) → logits (B, V) for the token after each window, as the article trains."""
        x, _ = self.hidden_states(windows)
        return self.only_allowed(self.head(x[:, -1]), windows[:, -1])

    def only_allowed(self, logits: Tensor, ids: Tensor) -> Tensor:
        """Logits (…, V), minus infinity where the encoding's grammar forbids a token after ids."""
        if self.forbidden is None:
            return logits
        return logits.masked_fill(self.forbidden[ids], -torch.inf)

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """One step without dropout: ids (B,) → logits (B, V)."""
        x, new_state = self.embed(ids), []
        for layer, before in zip(self.layers, state):
            new_state.append(layer.step(x, before))
            x = new_state[-1][0]
        return self.only_allowed(self.head(x), ids), new_state

    def parameter_count(self) -> int:
        """Number of weights that training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def pick_device() -> torch.device:
    """CUDA or Apple's MPS where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
