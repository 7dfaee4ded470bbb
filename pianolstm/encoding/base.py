"""What all encodings share: their interface, the names of notes, and how a time is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np

from pianolstm.decoding import MIDDLE_C
from pianolstm.piece import NOTE_DTYPE, PITCH_CLASS_NAMES, Piece

BOS, EOS = "<bos>", "<eos>"  # the beginning and the end of a piece
HANDS = ("Right hand", "Left hand")
NOTE_NAME = re.compile(r"([A-G])(##?|--?|bb?|)(\d{1,2}|m1)", re.ASCII)
TIME = re.compile(r"\d{1,6}(\.\d{1,12}|/\d{1,4})?", re.ASCII)
RESOLUTION = 12  # ticks a quarter: holds sixteenths and triplet eighths


class TokenError(ValueError):
    """A string that is no token of the encoding."""


class PieceError(ValueError):
    """A piece that an encoding has no tokens for. Says what is in the way and the way out."""


class Encoding(Protocol):
    """Tokens are strings that a person can read; a frozen dataclass holds the settings."""

    def encode(self, piece: Piece) -> list[str]:
        """The piece as tokens."""

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """Tokens as a piece."""

    def transpose(self, token: str, semitones: int) -> str:
        """The same token, its notes `semitones` higher."""

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """What each token is made of, shape (V, F), float32."""

    def grammar(self, tokens: Sequence[str]) -> np.ndarray | None:
        """Which token may follow which, bool (V, V), row by column; None where any may."""

    def counting(self) -> dict[str, str]:
        """Tokens that number something, each with the one that must follow it; often none."""

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers and ticks that a token stands for; empty or 0 for what it has not."""

    def hides(self, token: str) -> tuple[int, int]:
        """How many notes, and how many durations, are lost where the token becomes `<unk>`."""

    def all_tokens(self) -> list[str] | None:
        """Every token that can ever occur; None where their number has no bound."""

    def to_dict(self) -> dict:
        """Name and settings, for a checkpoint's header."""


def pitch_number(name: str) -> int:
    """MIDI number of a note name: "C4" is 60, "B-3" or "Bb3" is 58. Raises `TokenError`."""
    match = NOTE_NAME.fullmatch(name)
    if match:
        letter, accidental, octave = match.groups()
        shift = len(accidental) * (1 if "#" in accidental else -1)
        number = PITCH_CLASS_NAMES.index(letter) + shift + 12 * (int(octave.replace("m", "-")) + 1)
        if 0 <= number <= 127:
            return number
    raise TokenError(f"{name!r} is no note name; expected one such as 'C4', 'F#3' or 'E-5'")


def missing_tokens(encoding: Encoding, vocabulary: Container[str]) -> list[str]:
    """What an encoding can write and a vocabulary, made by another version of it, does not hold."""
    return [token for token in encoding.all_tokens() or () if token not in vocabulary]


def shifted(pitch: int, semitones: int, low: int = 0, high: int = 127) -> int:
    """A pitch `semitones` higher, moved by an octave where it would leave `low` to `high`."""
    moved = pitch + semitones
    return moved + 12 * (moved < low) - 12 * (moved > high)


def quarters_text(ticks: int, resolution: int) -> str:
    """A time as people write it: "0.5" for a half quarter, "1/3" for a third."""
    time = Fraction(ticks, resolution)
    exact = time.denominator & (time.denominator - 1) == 0  # a power of two: decimals end
    return repr(float(time)).removesuffix(".0") if exact else str(time)


def ticks_of(text: str, resolution: int) -> int | None:
    """The inverse of `quarters_text`; None for text that is no time of this resolution."""
    if not TIME.fullmatch(text) or text.endswith("/0"):
        return None
    ticks = Fraction(text) * resolution
    return int(ticks) if ticks.denominator == 1 else None


def on_grid(piece: Piece, resolution: int) -> np.ndarray:
    """The notes with times in ticks of 1/`resolution` quarter.

    Raises ValueError, with the way out, where a note does not stand on them.
    """
    notes, tpq = piece.notes.copy(), piece.ticks_per_quarter
    for field in ("onset", "duration"):
        scaled = notes[field] * resolution
        if (wrong := scaled % tpq != 0).any():
            place = notes["onset"][wrong][0] / tpq
            raise ValueError(
                f"piece {piece.name!r}: {int(wrong.sum())} notes, the first at quarter {place:g}, "
                f"do not stand on the grid of 1/{resolution} quarter. Use quantise(piece).piece"
            )
        notes[field] = scaled // tpq
    return notes


def built(
    rows: Iterable[Sequence[int]], resolution: int, name: str, mended: Counter[str], **fields
) -> Piece:
    """A piece for two hands, split at middle C, from rows (onset, duration, pitch, velocity)."""
    rows = list(rows)
    hands = sorted({int(row[2] < MIDDLE_C) for row in rows})
    notes = [(*row, 0, hands.index(int(row[2] < MIDDLE_C))) for row in rows]
    return Piece(
        np.array(notes, dtype=NOTE_DTYPE),
        resolution,
        track_names=tuple(HANDS[hand] for hand in hands),
        name=name,
        repaired=dict(+mended),
        **fields,
    )
