"""Our network, which does the article's job with less, and two others for a fair comparison.

A GRU has one state and two gates where the LSTM has two states and three gates; a Transformer has
no recurrent state and looks back at the past instead. Embedding, output and dropout are those of
`NoteLSTM`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pianolstm.networks.base import LayerState, NetworkConfig, RecurrentNetwork, State, register


@register("note")
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

    def __init__(self, config: NetworkConfig, features: np.ndarray | None = None) -> None:
        V, E = config.vocabulary_size, config.hidden[-1]
        super().__init__(config, input_size=E)
        self.embedding = nn.Embedding(V, E)
        self.bias = nn.Parameter(torch.zeros(V))
        nn.init.normal_(self.embedding.weight, std=E**-0.5)
        if config.shared:
            self.register_buffer("features", torch.from_numpy(features), persistent=False)
            self.feature_vectors = nn.Parameter(torch.randn(features.shape[1], E) * E**-0.5)
        self._vectors: Tensor | None = None  # kept between steps outside training

    def vectors(self) -> Tensor:
        """The vector of every token, shape (V, E)."""
        if not self.config.shared:
            return self.embedding.weight
        if self._vectors is None or self.training:
            vectors = self.embedding.weight + self.features @ self.feature_vectors
            self._vectors = vectors if self.training else vectors.detach()
        return self._vectors

    def train(self, mode: bool = True) -> NoteLSTM:
        self._vectors = None  # weights may have changed
        return super().train(mode)

    def embed(self, ids: Tensor) -> Tensor:
        return self.dropout(nn.functional.embedding(ids, self.vectors()))

    def head(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.dropout(x), self.vectors(), self.bias)


class GRULayer(nn.GRU):
    """`nn.GRU` of one layer, batch first, whose state is (h,), of shape (B, H)."""

    states = 1

    def forward(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        x, h = super().forward(x, state[0].unsqueeze(0))
        return x, (h.squeeze(0),)

    def step(self, x: Tensor, state: LayerState) -> LayerState:
        return (torch.gru_cell(x, *state, *self.all_weights[0]),)


@register("gru")
class NoteGRU(NoteLSTM):
    """`NoteLSTM` with gated recurrent units (Cho et al. 2014, "Learning Phrase Representations
    using RNN Encoder-Decoder", section 2.3), PyTorch's variant."""

    layer_type = GRULayer


@register("transformer")
class NoteTransformer(NoteLSTM):
    """Causal self-attention (Vaswani et al. 2017, "Attention Is All You Need"), PyTorch's layers.

    One layer for each entry of `hidden`, which must be equal. A token sees itself and the `PAST`
    tokens before it; the state is these: their ids plus one, (B, PAST), 0 where there is none.
    Positions are encoded with ALiBi, a penalty on distance that differs from head to head (Press,
    Smith and Lewis 2022, "Train Short, Test Long", section 3), so that no position is new.
    Through several layers it sees further: its whole chunk and the past in front of that.
    """

    PAST = 256
    HEADS = 8

    def __init__(self, config: NetworkConfig, features: np.ndarray | None = None) -> None:
        E = config.hidden[-1]
        if set(config.hidden) != {E} or E % self.HEADS:
            raise ValueError(
                f"hidden is {config.hidden}; the layers of a transformer have one size, a multiple "
                f"of {self.HEADS}"
            )
        super().__init__(config, features)
        # With `relu` of nn.functional PyTorch (2.13) takes its fast path, and the bias for a mask
        options = {"activation": torch.relu, "batch_first": True, "norm_first": True}
        for depth in range(len(config.hidden)):
            layer = nn.TransformerEncoderLayer(E, self.HEADS, 4 * E, config.dropout, **options)
            layer.self_attn.dropout = 0.0  # which PyTorch's fast attention on a CPU has not
            self.layers[depth] = layer
        self.norm = nn.LayerNorm(E)
        slopes = 2.0 ** -(8 / self.HEADS * torch.arange(1, self.HEADS + 1))
        self.register_buffer("slopes", slopes, persistent=False)

    def zero_state(self, batch: int) -> State:
        return [(torch.zeros(batch, self.PAST, dtype=torch.long, device=self.slopes.device),)]

    def attention_bias(self, nothing: Tensor) -> Tensor:
        """What is added to the attention of each token (row) to each other, (B · heads, T, T).

        nothing: (B, T), True where there is no token.
        """
        place = torch.arange(nothing.shape[1], device=nothing.device)
        distance = place[:, None] - place[None, :]
        bias = -self.slopes[:, None, None] * distance
        bias = bias.masked_fill((distance < 0) | (distance > self.PAST), -torch.inf)
        unseen = nothing[:, None, None, :] & (distance != 0)  # itself it sees in any case
        return bias[None].masked_fill(unseen, -torch.inf).flatten(0, 1)

    def hidden_states(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = state or self.zero_state(len(ids))
        parts = []
        # Attention grows with the square of the length, but what a part reads again costs time too
        for part in ids.split(4 * self.PAST if self.training else self.PAST, dim=1):
            x, state = self._attend(part, state)
            parts.append(x)
        return torch.cat(parts, dim=1), state

    def _attend(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        ((past,),) = state
        everything = torch.cat([past, ids + 1], dim=1)
        first = int((past == 0).all(dim=0).sum())  # no time for what no row has
        window = everything[:, first:]
        x = self.embed((window - 1).clamp(min=0))
        bias = self.attention_bias(window == 0)
        for layer in self.layers:
            x = layer(x, src_mask=bias)
        return self.norm(x[:, self.PAST - first :]), [(everything[:, -self.PAST :],)]

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        logits, state = self(ids.unsqueeze(1), state)
        return logits[:, 0], state
