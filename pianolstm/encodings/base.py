"""What an encoding is, the registry of all of them, and what they share.

An encoding turns a `Piece` into tokens, strings that a person can read, and back. To add one,
write four methods and register the class; then it trains, saves, loads and generates:

    @register
    @dataclass(frozen=True)
    class MyEncoding(Encoding):
        name = "mine"
        def encode(self, piece): ...
        def decode(self, tokens, name="decoded"): ...
        def transpose(self, token, semitones): ...
        def notes_of(self, token): ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from pianolstm.piece import Piece

BOS, EOS = "<bos>", "<eos>"  # the beginning and the end of a piece
RESOLUTION = 12  # ticks a quarter of encodings with rhythm: holds sixteenths and triplet eighths


class PieceError(ValueError):
    """A piece that an encoding has no tokens for. Says what is in the way and the way out."""


@dataclass(frozen=True)
class Encoding(ABC):
    """Piece ↔ tokens. The fields of a subclass, a frozen dataclass, are its settings.

    The first four methods must be written; of the others, override what does not fit.
    """

    name: ClassVar[str]  # in the registry and in checkpoints
    needs_grid: ClassVar[bool] = False  # True: only pieces that `quantise` has put on the grid
    shares: ClassVar[bool] = True  # networks share vectors of `features` unless told otherwise
    helpers: ClassVar[dict[str, object]] = {}  # fields that help a network → their value when on

    @abstractmethod
    def encode(self, piece: Piece) -> list[str]:
        """The piece as tokens. Raises PieceError for a piece that cannot be written."""

    @abstractmethod
    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """Tokens as a piece; what had to be repaired is counted in `Piece.repaired`."""

    @abstractmethod
    def transpose(self, token: str, semitones: int) -> str:
        """The same token, its notes `semitones` higher."""

    @abstractmethod
    def notes_of(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers and ticks that a token stands for; empty or 0 for what it has not."""

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """What each token is made of, shape (V, F), float32.

        Unless overridden: a 1 for each of its pitches (128) and one for its duration.
        """
        read = [self.notes_of(token) for token in tokens]
        durations = sorted({ticks for _, ticks in read if ticks})
        result = np.zeros((len(tokens), 128 + len(durations)), dtype=np.float32)
        for row, (pitches, ticks) in zip(result, read):
            row[pitches] = 1.0
            if ticks:
                row[128 + durations.index(ticks)] = 1.0
        return result

    def grammar(self, tokens: Sequence[str]) -> np.ndarray | None:
        """Which token may follow which, bool (V, V), row by column; None where any may."""
        return None

    def successors(self) -> dict[str, str]:
        """Tokens that number something, each with the one that must follow it; often none."""
        return {}

    def remembered_as(self, token: str) -> str | None:
        """What the token counts as where passages are compared; None if it is not compared.

        The number of a bar, for example, would keep two equal passages apart. After a token that is
        not compared, such as one that announces the end, a memory recalls nothing: a passage that
        did not end the piece would keep it from ending.
        """
        return token

    def all_tokens(self) -> list[str] | None:
        """Every token that can ever occur; None where their number has no bound."""
        return None

    def hidden_counts(self, token: str) -> tuple[int, int]:
        """How many notes, and how many durations, are lost where the token becomes `<unk>`.

        The notes of a chord share its duration; a rest is a duration alone.
        """
        pitches, ticks = self.notes_of(token)
        return len(pitches), int(ticks > 0)

    def to_dict(self) -> dict:
        """Name and settings, for a checkpoint's header."""
        return {"encoding": self.name, **asdict(self)}


def trimmed(tokens: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """The tokens after `<bos>`, where it comes first, and before the first `<eos>`.

    And what was wrong with the ends, counted as `Piece.repaired` does.
    """
    tokens = [*tokens]
    end = [*tokens, EOS].index(EOS)
    after = len(tokens[end + 1 :])
    repaired = Counter({"no end": int(end == len(tokens)), "tokens after the end": after})
    return tokens[int(tokens[:1] == [BOS]) : end], repaired


ENCODINGS: dict[str, type[Encoding]] = {}


def register(kind: type[Encoding]) -> type[Encoding]:
    """Make an encoding known to checkpoints and to the command line. Use it as a decorator.

    Raises ValueError for the name of another class.
    """
    known = ENCODINGS.get(kind.name, kind)
    if known.__qualname__ != kind.__qualname__:
        raise ValueError(f"the name {kind.name!r} is taken by {known.__name__}. Choose another")
    ENCODINGS[kind.name] = kind
    return kind


def encoding_named(encoding: str, helpers: Sequence[str] = (), **settings) -> Encoding:
    """The encoding of a name with some of its `helpers` on, and with other settings.

    `encoding_named(**header)` is the encoding that `to_dict` described. Raises ValueError for a
    name or a helper that does not exist, TypeError for such a setting.
    """
    if encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ValueError(f"unknown encoding {encoding!r}; known are {known}. Register it first")
    kind = ENCODINGS[encoding]
    for helper in helpers:
        if helper not in kind.helpers:
            known = ", ".join(kind.helpers) or "none"
            raise ValueError(f"{encoding!r} has no helper {helper}; choose from {known}")
    return kind(**{helper: kind.helpers[helper] for helper in helpers} | settings)
