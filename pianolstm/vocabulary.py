"""Tokens ↔ ids, and what to do with a token that training never had. Id 0 is `<unk>`."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.encodings import Encoding

UNK = "<unk>"
UNK_ID = 0
ALL_KEYS = tuple(range(-6, 6))  # semitones that bring a piece into each of the twelve keys
OUT_OF_RANGE = -1  # in a table of ids: the token has no place in that key
WAYS = ("nearest", "skip", "unk")


class Vocabulary:
    """An ordered set of tokens: `<unk>`, then all others sorted."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens: list[str] = [UNK, *sorted(set(tokens) - {UNK})]
        self.ids: dict[str, int] = {token: i for i, token in enumerate(self.tokens)}

    @classmethod
    def for_training(
        cls, encoding: Encoding, counts: Mapping[str, int], at_least: int = 1
    ) -> Vocabulary:
        """The vocabulary of an encoding: all its tokens, where their number has a bound.

        Otherwise those that training holds, in all keys, `at_least` so many times; `counts` tells
        how often each token occurs in the pieces' own keys. With 2 or more the rarest become
        `<unk>`, so that a network learns when to expect it.
        """
        if everything := encoding.all_tokens():
            return cls(everything)
        in_all_keys: Counter[str] = Counter()
        for token, count in counts.items():
            for semitones in ALL_KEYS:
                in_all_keys[encoding.transpose(token, semitones)] += count
        return cls(token for token, count in in_all_keys.items() if count >= at_least)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: str) -> bool:
        return token in self.ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def encode(self, tokens: Sequence[str], strict: bool = False) -> np.ndarray:
        """Tokens → ids, shape (T,). Unknown ones become `<unk>`, or raise if `strict`.

        Raises ValueError, which names the first unknown token and the most similar ones.
        """
        ids = np.array([self.ids.get(token, UNK_ID) for token in tokens], dtype=np.int64)
        unknown = [(i, t) for i, t in enumerate(tokens) if t not in self.ids]
        if strict and unknown:
            place, token = unknown[0]
            near = difflib.get_close_matches(token, self.tokens[1:], n=3, cutoff=0.3)
            hint = f"Near it: {', '.join(near)}. " if near else ""
            raise ValueError(
                f"token {place + 1} of {len(tokens)}, {token!r}, is not among the {len(self)} that "
                f"this vocabulary knows ({len(unknown)} unknown in all). {hint}"
                f"Replace it, or encode with strict=False to turn it into {UNK}"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Ids → tokens."""
        return [self.tokens[int(i)] for i in ids]


def transposed_ids(
    encoding: Encoding, vocabulary: Vocabulary, tokens: Sequence[str], keys: Sequence[int]
) -> np.ndarray:
    """The id of every one of `tokens` when it is moved by each of `keys`, shape (keys, tokens).

    `OUT_OF_RANGE` where a note had to move by an octave: it does not come back.
    """
    table = np.full((len(keys), len(tokens)), OUT_OF_RANGE, dtype=np.int64)
    for key, semitones in enumerate(keys):
        for place, token in enumerate(tokens):
            moved = encoding.transpose(token, semitones)
            if encoding.transpose(moved, -semitones) == token:
                table[key, place] = vocabulary.ids.get(moved, UNK_ID)
    return table


class NearestKnown:
    """Finds the token of a vocabulary that is nearest to one that it does not hold.

    Nearest is, first, the smallest Jaccard distance between the sets of pitch classes, 1 − |A ∩ B|
    / |A ∪ B| (Jaccard 1912, "The Distribution of the Flora in the Alpine Zone"); among equals the
    nearest register, as the mean absolute distance of highest, lowest and mean pitch; then the
    nearest duration, as the logarithm of their ratio; then the first in the vocabulary. A rest is
    replaced by a rest, a chord by a chord.
    """

    def __init__(self, encoding: Encoding, vocabulary: Vocabulary) -> None:
        self.encoding = encoding
        self.known = [t for t in vocabulary.tokens if any(encoding.notes_of(t))]
        self.sketches = np.array([self._sketch(token) for token in self.known]).reshape(-1, 16)

    def _sketch(self, token: str) -> np.ndarray:
        """12 pitch classes, a 1 for each that it has; lowest, mean and highest pitch; ticks."""
        pitches, ticks = self.encoding.notes_of(token)
        sketch = np.zeros(16)
        sketch[15] = max(ticks, 1)
        if pitches:
            sketch[np.mod(pitches, 12)] = 1
            sketch[12:15] = min(pitches), np.mean(pitches), max(pitches)
        return sketch

    def __call__(self, token: str) -> str | None:
        """The nearest known token; None where nothing of its kind is known, or it has no notes."""
        if not any(self.encoding.notes_of(token)):
            return None
        sketch = self._sketch(token)
        classes, known = sketch[:12], self.sketches[:, :12]
        jaccard = 1 - known @ classes / np.maximum(np.maximum(known, classes).sum(axis=1), 1)
        register = np.abs(self.sketches[:, 12:15] - sketch[12:15]).mean(axis=1)
        length = np.abs(np.log(self.sketches[:, 15] / sketch[15]))
        other_kind = known.any(axis=1) != classes.any()
        if other_kind.all():
            return None
        return self.known[np.lexsort((length, register, jaccard, other_kind))[0]]


@dataclass(frozen=True)
class Filled:
    """Tokens that a network knows, and what stands for what."""

    tokens: list[str]
    replaced: list[tuple[str, str | None]]  # unknown token → its stand-in; None: left out

    def __str__(self) -> str:
        if not self.replaced:
            return "nothing was unknown"
        pairs = dict.fromkeys(f"{old} → {new or 'left out'}" for old, new in self.replaced)
        return f"{len(self.replaced)} unknown: {', '.join(pairs)}"


def fill_unknown(
    tokens: Sequence[str],
    encoding: Encoding,
    vocabulary: Vocabulary,
    way: str = "nearest",
    nearest: NearestKnown | None = None,
) -> Filled:
    """Tokens with every unknown one replaced: "nearest", "skip" or "unk".

    Give `nearest` where it is asked often: it takes a moment to make. Raises ValueError for
    another `way`.
    """
    if way not in WAYS:
        raise ValueError(f"way is {way!r}; choose one of {', '.join(WAYS)}")
    unknown = [token for token in tokens if token not in vocabulary]
    stand_in: dict[str, str | None] = dict.fromkeys(unknown, UNK if way == "unk" else None)
    if way == "nearest" and unknown:
        nearest = nearest or NearestKnown(encoding, vocabulary)
        stand_in = {token: nearest(token) for token in stand_in}
    filled = [stand_in.get(token, token) for token in tokens]
    known = [token for token in filled if token is not None]
    return Filled(known, [(token, stand_in[token]) for token in unknown])
