"""What to do with a token that training never had: say `<unk>`, skip it, or take the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.encoding import Encoding
from pianolstm.vocabulary import UNK, Vocabulary

WAYS = ("nearest", "skip", "unk")


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
        self.classes = np.zeros((len(self.known), 12), dtype=bool)
        self.places = np.zeros((len(self.known), 3))  # lowest, middle, highest pitch
        self.ticks = np.ones(len(self.known))
        for row, token in enumerate(self.known):
            self.classes[row], self.places[row], self.ticks[row] = self._sketch(token)

    def _sketch(self, token: str) -> tuple[np.ndarray, tuple[float, float, float], float]:
        pitches, ticks = self.encoding.notes_of(token)
        classes = np.isin(np.arange(12), np.mod(pitches, 12)) if pitches else np.zeros(12, bool)
        places = (min(pitches), float(np.mean(pitches)), max(pitches)) if pitches else (0, 0, 0)
        return classes, places, max(ticks, 1)

    def __call__(self, token: str) -> str | None:
        """The nearest known token; None where nothing of its kind is known, or it has no notes."""
        if not any(self.encoding.notes_of(token)) or not self.known:
            return None
        classes, places, ticks = self._sketch(token)
        same_kind = self.classes.any(axis=1) == classes.any()
        if not same_kind.any():
            return None
        together = (self.classes & classes).sum(axis=1)
        either = (self.classes | classes).sum(axis=1)
        jaccard = np.where(either > 0, 1 - together / np.maximum(either, 1), 0.0)
        register = np.abs(self.places - places).mean(axis=1)
        length = np.abs(np.log(self.ticks / ticks))
        return self.known[np.lexsort((length, register, jaccard, ~same_kind))[0]]


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
    unknown = {token for token in tokens if token not in vocabulary}
    if way == "nearest" and unknown:
        nearest = nearest or NearestKnown(encoding, vocabulary)
        stand_in = {token: nearest(token) for token in unknown}
    else:
        stand_in = dict.fromkeys(unknown, UNK if way == "unk" else None)
    filled = [stand_in.get(token, token) for token in tokens]
    return Filled(
        [token for token in filled if token is not None],
        [(token, stand_in[token]) for token in tokens if token in unknown],
    )
