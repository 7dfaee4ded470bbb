"""Our network: it does the same job as the article's with less."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pianolstm.networks.base import NetworkConfig, RecurrentNetwork, register


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
            if features is None or len(features) != V:
                given = "none" if features is None else len(features)
                raise ValueError(
                    f"a shared network of {V} tokens needs a row of features for each; given: "
                    f"{given}. Use encoding.features(vocabulary.tokens)"
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
