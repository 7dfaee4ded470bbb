"""The networks: the article's, and one that does the same job with less.

Shapes: B batch, T time steps, V vocabulary, E embedding, H hidden units. Both networks are stacks
of LSTM layers between an input (`embed`) and an output (`head`), and share one interface:

    logits, state = model(ids, state)        # ids (B, T) → logits (B, T, V)
    logits, state = model.step(ids, state)   # ids (B,)   → logits (B, V), one step, fast on a CPU
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

State = list[tuple[torch.Tensor, ...]]  # for each layer (h, c), both (B, H)


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a network; it travels inside every checkpoint."""

    network: str = "note"  # "note", "article", or one of `rivals.RIVALS`
    vocabulary_size: int = 0  # V, `<unk>` included
    hidden: tuple[int, ...] = (384,)  # H of each layer
    dropout: float = 0.5
    shared: bool = False  # NoteLSTM: tokens share the vectors of the features they are made of
    grammar: bool = True  # no probability for tokens that the encoding's grammar forbids
    batch_norm: bool = False  # ArticleLSTM: around the dense layer, with ReLU (2019)
    dropout_between: bool = True  # dropout between the LSTM layers (off in the article's of 2019)


class RecurrentNetwork(nn.Module):
    """A stack of LSTM layers. Subclasses define `embed` and `head`."""

    def __init__(self, config: ModelConfig, input_size: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("forbidden", None, persistent=False)  # (V, V), see `build_model`
        sizes = [input_size, *config.hidden]
        self.layers = nn.ModuleList(
            nn.LSTM(i, h, batch_first=True) for i, h in itertools.pairwise(sizes)
        )
        self.dropout = nn.Dropout(config.dropout)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Ids of any shape → the first layer's input, one axis more."""
        raise NotImplementedError

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Top layer's output (…, H) → logits (…, V)."""
        raise NotImplementedError

    def zero_state(self, batch: int) -> State:
        """The state before the first token."""
        device = next(self.parameters()).device
        return [
            (torch.zeros(batch, h, device=device), torch.zeros(batch, h, device=device))
            for h in self.config.hidden
        ]

    def hidden_states(
        self, ids: torch.Tensor, state: State | None = None
    ) -> tuple[torch.Tensor, State]:
        """Ids (B, T) → the top layer's output (B, T, H) and the state after the last step."""
        x, new_state = self.embed(ids), []
        state = state or self.zero_state(len(ids))
        for depth, layer in enumerate(self.layers):
            x, after = self.run_layer(layer, x, state[depth])
            new_state.append(after)
            if self.config.dropout_between and depth + 1 < len(self.layers):
                x = self.dropout(x)
        return x, new_state

    def run_layer(
        self, layer: nn.LSTM, x: torch.Tensor, state: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """One layer over all steps: x (B, T, ·) and its state → (B, T, H) and the state after."""
        h, c = state
        x, (h, c) = layer(x, (h.unsqueeze(0), c.unsqueeze(0)))
        return x, (h.squeeze(0), c.squeeze(0))

    def forward(self, ids: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Ids (B, T) → logits for the token after each step (B, T, V), and the state."""
        x, state = self.hidden_states(ids, state)
        return self.only_allowed(self.head(x), ids), state

    def only_allowed(self, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Logits (…, V), minus infinity where the encoding's grammar forbids a token after ids."""
        return (
            logits
            if self.forbidden is None
            else logits.masked_fill(self.forbidden[ids], -torch.inf)
        )

    def step(self, ids: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """One step without dropout: ids (B,) → logits (B, V).

        nn.LSTM is built for long sequences and costs several times as much for a single step.
        """
        x, new_state = self.embed(ids), []
        for layer, (h, c) in zip(self.layers, state):
            h, c = torch.lstm_cell(x, (h, c), layer.weight_ih_l0, layer.weight_hh_l0,
                                   layer.bias_ih_l0, layer.bias_hh_l0)  # fmt: skip
            new_state.append((h, c))
            x = h
        return self.only_allowed(self.head(x), ids), new_state

    def parameter_count(self) -> int:
        """Number of weights that training changes."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


class ArticleLSTM(RecurrentNetwork):
    """The article's network, layer by layer, in both versions that its author published.

    2017, as printed in the article: LSTM 256 → dropout → LSTM 512 → dropout → LSTM 256 → dense 256
    → dropout → dense V. 2,790,269 parameters at V = 381.

    2019, as in the author's repository after he found the first "very sensitive" (its issue 31):
    LSTM 512 → LSTM 512 → LSTM 512 → batch normalisation → dropout → dense 256 → ReLU → batch
    normalisation → dropout → dense V. That is `hidden=(512, 512, 512)`, `batch_norm=True` and
    `dropout_between=False`. One part is missing: his first two layers drop 30 % of the recurrent
    connections, which `nn.LSTM` cannot do.

    In both the input is the id divided by V, a single number. Initialisation as in Keras:
    Glorot-uniform input kernels, orthogonal recurrent kernels, forget-gate bias 1, one bias a gate
    (PyTorch's second bias is frozen at zero); batch normalisation with Keras's momentum of 0.99
    (PyTorch counts it the other way, 0.01) and epsilon 1e-3.

    The article prints another network for generation, 512-512-512, into which these weights do not
    fit. Here a checkpoint carries its own configuration and `load_checkpoint` rebuilds exactly the
    network that was trained; the contradiction cannot occur.
    """

    HIDDEN = (256, 512, 256)
    DENSE = 256

    def __init__(self, config: ModelConfig, features: np.ndarray | None = None) -> None:
        super().__init__(config, input_size=1)
        self.dense = nn.Linear(config.hidden[-1], self.DENSE)
        self.output = nn.Linear(self.DENSE, config.vocabulary_size)
        for layer, hidden in zip(self.layers, config.hidden):
            nn.init.xavier_uniform_(layer.weight_ih_l0)
            nn.init.orthogonal_(layer.weight_hh_l0)
            nn.init.zeros_(layer.bias_ih_l0)
            nn.init.zeros_(layer.bias_hh_l0)
            layer.bias_hh_l0.requires_grad_(False)
            with torch.no_grad():
                layer.bias_ih_l0[hidden : 2 * hidden] = 1.0  # gates: input, forget, cell, output
        for linear in (self.dense, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        if config.batch_norm:
            self.norms = nn.ModuleList(
                nn.BatchNorm1d(size, eps=1e-3, momentum=0.01)
                for size in (config.hidden[-1], self.DENSE)
            )

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return (ids.float() / self.config.vocabulary_size).unsqueeze(-1)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        if not self.config.batch_norm:
            return self.output(self.dropout(self.dense(x)))
        rows = x.flatten(0, -2)  # (…, H) → (N, H), the shape that batch normalisation takes
        rows = self.dropout(self.norms[0](rows))
        rows = self.dropout(self.norms[1](self.dense(rows).relu()))
        return self.output(rows).unflatten(0, x.shape[:-1])

    def predict_next(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows (B, T) → logits (B, V) for the token after each window, as the article trains."""
        x, _ = self.hidden_states(windows)
        return self.head(x[:, -1])


class NoteLSTM(RecurrentNetwork):
    """Embedding → LSTM layers → output tied to the embedding.

    A token is a learned vector instead of a number, so that ids close together need not mean the
    same; the output layer compares with the same vectors (Press and Wolf 2017, "Using the Output
    Embedding to Improve Language Models"), which halves what a rare token must teach.

    Dropout stands before and after each layer and never between its steps (Zaremba et al. 2014,
    "Recurrent Neural Network Regularization").

    With `shared`, a token's vector is its own plus those of its features, the rows of a matrix
    (V, F) that the caller gives: a rare chord then borrows from all others that hold its notes
    (the sum of parts of Bojanowski et al. 2017, "Enriching Word Vectors with Subword Information").
    """

    def __init__(self, config: ModelConfig, features: np.ndarray | None = None) -> None:
        E = config.hidden[-1]
        super().__init__(config, input_size=E)
        self.embedding = nn.Embedding(config.vocabulary_size, E)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        nn.init.normal_(self.embedding.weight, std=E**-0.5)
        if config.shared:
            if features is None or len(features) != config.vocabulary_size:
                given = "none" if features is None else len(features)
                raise ValueError(
                    f"a shared network of {config.vocabulary_size} tokens needs a row of features "
                    f"for each; given: {given}. Use encoding.features(vocabulary.tokens)"
                )
            self.register_buffer("features", torch.from_numpy(features), persistent=False)
            self.feature_vectors = nn.Parameter(torch.randn(features.shape[1], E) * E**-0.5)
        self._vectors: torch.Tensor | None = None  # kept between steps outside training

    def vectors(self) -> torch.Tensor:
        """The vector of every token, shape (V, E)."""
        if not self.config.shared:
            return self.embedding.weight
        if self._vectors is None or self.training:
            vectors = self.embedding.weight + self.features @ self.feature_vectors
            if self.training:
                return vectors
            self._vectors = vectors.detach()
        return self._vectors

    def train(self, mode: bool = True) -> NoteLSTM:
        self._vectors = None  # weights may have changed
        return super().train(mode)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.dropout(nn.functional.embedding(ids, self.vectors()))

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.dropout(x), self.vectors(), self.bias)


def build_model(
    config: ModelConfig, features: np.ndarray | None = None, grammar: np.ndarray | None = None
) -> RecurrentNetwork:
    """The network that a configuration describes.

    `features` (V, F) are for a shared one, see `NoteLSTM`. `grammar` (V, V) tells which token may
    follow which; the others get no probability.

    Raises ValueError for an unknown name, or features that are missing or of another size.
    """
    from pianolstm.rivals import RIVALS  # which build on the classes above

    networks = {"note": NoteLSTM, "article": ArticleLSTM, **RIVALS}
    if config.network not in networks:
        raise ValueError(f"unknown network {config.network!r}; choose from {', '.join(networks)}")
    model = networks[config.network](config, features)
    if grammar is not None and config.grammar:
        model.forbidden = torch.from_numpy(~grammar)
    return model


def pick_device() -> torch.device:
    """CUDA or Apple's MPS where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
