"""The article's network, as printed in 2017 and as its author changed it in 2019."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from pianolstm.networks.base import LayerState, LSTMLayer, NetworkConfig, RecurrentNetwork, register

ARTICLE_TRAINING = {
    "epochs": 200, "batch": 64, "steps": 100, "optimizer": "rmsprop", "learning_rate": 1e-3,
    "constant_rate": True, "weight_decay": 0.0, "clip": 0.0, "transpose": False,
    "keep_improvements": True,
}  # fmt: skip


@register("article", ARTICLE_TRAINING, hidden=(256, 512, 256), dropout=0.3, hard_gates=True)
@register("article_2019", ARTICLE_TRAINING, hidden=(512, 512, 512), dropout=0.3,
          batch_norm=True, dropout_between=False)  # fmt: skip
class ArticleLSTM(RecurrentNetwork):
    """The article's network, layer by layer, in both versions that its author published.

    2017, as printed in the article: LSTM 256 → dropout → LSTM 512 → dropout → LSTM 256 → dense 256
    → dropout → dense V. 2,790,269 parameters at V = 381.

    2019, as in the author's repository after he found the first "very sensitive" (its issue 31):
    LSTM 512 → LSTM 512 → LSTM 512 → batch normalisation → dropout → dense 256 → ReLU → batch
    normalisation → dropout → dense V. One part is missing: his first two layers drop 30 % of the
    recurrent connections, which `nn.LSTM` cannot do.

    The gates of 2017 are `HardGateLSTM`'s, as in Keras before 2.3; what ships as `article` was
    trained with those of `nn.LSTM` (`hard_gates=False`). Notebook 04 compares them.

    In both the input is the id divided by V, a single number, and the initial weights are Keras's.
    Batch normalisation has Keras's momentum of 0.99 (PyTorch counts it the other way, 0.01) and
    epsilon 1e-3. Training is the article's, with RMSprop as in Keras 2, see `make_optimizer`.
    """

    reads = "windows"
    ignores = ("shared", "grammar")
    DENSE = 256

    def __init__(self, config: NetworkConfig, features: np.ndarray | None = None) -> None:
        self.layer_type = HardGateLSTM if config.hard_gates else LSTMLayer
        super().__init__(config, input_size=1)
        self.dense = nn.Linear(config.hidden[-1], self.DENSE)
        self.output = nn.Linear(self.DENSE, config.vocabulary_size)
        initialise_as_keras(self.layers, (self.dense, self.output))
        if config.batch_norm:
            self.norms = nn.ModuleList(
                nn.BatchNorm1d(size, eps=1e-3, momentum=0.01)
                for size in (config.hidden[-1], self.DENSE)
            )

    def embed(self, ids: Tensor) -> Tensor:
        return (ids.float() / self.config.vocabulary_size).unsqueeze(-1)

    def head(self, x: Tensor) -> Tensor:
        if not self.config.batch_norm:
            return self.output(self.dropout(self.dense(x)))
        rows = x.flatten(0, -2)  # (…, H) → (N, H), the shape that batch normalisation takes
        rows = self.dropout(self.norms[0](rows))
        rows = self.dropout(self.norms[1](self.dense(rows).relu()))
        return self.output(rows).unflatten(0, x.shape[:-1])


class HardGateLSTM(LSTMLayer):
    """An LSTM layer with the gates of Keras before 2.3: clip(x/5 + 1/2).

    Other gates come as near to 0 and 1 as they like and never arrive; these shut.
    """

    def forward(self, x: Tensor, state: LayerState | None = None) -> tuple[Tensor, LayerState]:
        h, c = state or (x.new_zeros(len(x), self.hidden_size),) * 2
        outputs = []
        for given in nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0).unbind(1):
            i, f, g, o = (given + h @ self.weight_hh_l0.T).chunk(4, dim=-1)
            i, f, o = ((0.2 * gate + 0.5).clamp(0, 1) for gate in (i, f, o))
            c = f * c + i * g.tanh()
            h = o * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1), (h, c)

    def step(self, x: Tensor, state: LayerState) -> LayerState:
        return self(x.unsqueeze(1), state)[1]


def initialise_as_keras(lstms: Iterable[nn.LSTM], dense: Iterable[nn.Linear]) -> None:
    """Keras's initial weights: Glorot-uniform and orthogonal kernels, forget-gate bias 1.

    Keras has one bias a gate; PyTorch's second one is frozen at zero.
    """
    for layer in lstms:
        nn.init.xavier_uniform_(layer.weight_ih_l0)
        nn.init.orthogonal_(layer.weight_hh_l0)
        nn.init.zeros_(layer.bias_ih_l0)
        nn.init.zeros_(layer.bias_hh_l0)
        layer.bias_hh_l0.requires_grad_(False)
        H = layer.hidden_size
        with torch.no_grad():
            layer.bias_ih_l0[H : 2 * H] = 1.0  # gates: input, forget, cell, output
    for linear in dense:
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
