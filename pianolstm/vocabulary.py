"""Tokens ↔ ids. Id 0 is always `<unk>`: what training never saw."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

UNK = "<unk>"
UNK_ID = 0


class UnknownTokenError(KeyError):
    """A token that the vocabulary does not hold, where one was not allowed."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return self.args[0]


class VocabularyMismatchError(ValueError):
    """Weights and vocabulary that do not belong together."""


class Vocabulary:
    """An ordered set of tokens: `<unk>`, then all others sorted."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens: list[str] = [UNK, *sorted(set(tokens) - {UNK})]
        self.ids: dict[str, int] = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def build(cls, sequences: Iterable[Sequence[str]], at_least: int = 1) -> Vocabulary:
        """The vocabulary of all tokens that occur in the sequences `at_least` so many times.

        With 2 or more the rarest become `<unk>`, so that a network learns when to expect it.
        """
        counts = Counter(token for sequence in sequences for token in sequence)
        return cls(token for token, count in counts.items() if count >= at_least)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self.ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    __hash__ = None

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens)"

    def encode(self, tokens: Sequence[str], strict: bool = False) -> np.ndarray:
        """Tokens → ids, shape (T,). Unknown ones become `<unk>`, or raise if `strict`.

        Raises `UnknownTokenError`, which names the first unknown token and its nearest relatives.
        """
        ids = np.array([self.ids.get(token, UNK_ID) for token in tokens], dtype=np.int64)
        unknown = [(i, t) for i, t in enumerate(tokens) if t not in self.ids]
        if strict and unknown:
            place, token = unknown[0]
            near = difflib.get_close_matches(token, self.tokens[1:], n=3, cutoff=0.3)
            hint = f"Near it: {', '.join(near)}. " if near else ""
            raise UnknownTokenError(
                f"token {place + 1} of {len(tokens)}, {token!r}, is not among the {len(self)} that "
                f"this vocabulary knows ({len(unknown)} unknown in all). {hint}"
                f"Replace it, or encode with strict=False to turn it into {UNK}"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Ids → tokens."""
        return [self.tokens[int(i)] for i in ids]
