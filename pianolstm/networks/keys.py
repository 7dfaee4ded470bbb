"""One network that reads a piece in several keys at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pianolstm.networks.base import State
from pianolstm.vocabulary import UNK_ID


class InSeveralKeys(nn.Module):
    """The mean of what a network expects next when it reads a piece in each of K keys.

    What one key suggests by chance, the others outvote: test-time augmentation (Krizhevsky,
    Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
    section 4.1). A network that learned in all keys is asked K times what it learned once.

    table: the id of each token in each key, (K, V), as from `transposed_ids`. A token that has no
    place in a key, or is unknown there, is read as `<unk>` and not expected.
    """

    reads = "streams"

    def __init__(self, model: nn.Module, table: np.ndarray) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        missing = torch.from_numpy(table <= UNK_ID)
        missing[:, UNK_ID] = False
        self.register_buffer("table", torch.from_numpy(table).masked_fill(missing, UNK_ID))
        self.register_buffer("missing", missing)

    def zero_state(self, batch: int) -> State:
        """The state before the first token; for each layer tensors (B, K, H)."""
        return self._apart(self.model.zero_state(batch * len(self.table)))

    def step(self, ids: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Ids (B,) → the logarithm of the mean distribution, (B, V), and the state."""
        rows = self.table[:, ids].T.flatten()  # (B · K,)
        logits, state = self.model.step(rows, self._together(state))
        return self._mean(logits.unflatten(0, (len(ids), -1))), self._apart(state)

    def forward(self, ids: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Ids (B, T) → the same for every step, (B, T, V), and the state."""
        rows = self.table[:, ids].transpose(0, 1).flatten(0, 1)  # (B · K, T)
        logits, state = self.model(rows, state and self._together(state))
        logits = logits.unflatten(0, (len(ids), -1)).transpose(1, 2)  # (B, T, K, V)
        return self._mean(logits), self._apart(state)

    def _mean(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (…, K, V) of transposed tokens → (…, V)."""
        own = logits.gather(-1, self.table.expand_as(logits)).masked_fill(self.missing, -torch.inf)
        return own.log_softmax(-1).logsumexp(-2) - np.log(len(self.table))

    def _together(self, state: State) -> State:
        return [tuple(part.flatten(0, 1) for part in layer) for layer in state]

    def _apart(self, state: State) -> State:
        K = len(self.table)
        return [tuple(part.unflatten(0, (-1, K)) for part in layer) for layer in state]
