"""How notes and times are written as text, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np

from pianolstm.encodings.base import RESOLUTION, PieceError
from pianolstm.piece import PITCH_CLASS_NAMES, Piece

NOTE_NAME = re.compile(r"([A-G])(##?|--?|bb?|)(\d{1,2}|m1)", re.ASCII)
TIME = re.compile(r"\d{1,6}(\.\d{1,12}|/\d{1,4})?", re.ASCII)


def pitch_numbers(names: Sequence[str]) -> list[int]:
    """MIDI numbers of note names: "C4" is 60, "B-3" or "Bb3" is 58. [] if one cannot be read."""
    numbers = []
    for match in map(NOTE_NAME.fullmatch, names):
        if not match:
            return []
        letter, accidental, octave = match.groups()
        shift = len(accidental) * (1 if "#" in accidental else -1)
        natural = PITCH_CLASS_NAMES.index(letter) + 12 * (int(octave.replace("m", "-")) + 1)
        numbers.append(natural + shift)
    return numbers if all(0 <= number <= 127 for number in numbers) else []


def shifted(pitch: int, semitones: int, low: int = 0, high: int = 127) -> int:
    """A pitch `semitones` higher, moved by an octave where it would leave `low` to `high`."""
    moved = pitch + semitones
    return moved + 12 * (moved < low) - 12 * (moved > high)


@cache  # tokens hold the same few times again and again
def quarters_text(ticks: int) -> str:
    """Ticks (`RESOLUTION` a quarter) as people write time: "0.5" for 6, "1/3" for 4."""
    time = Fraction(ticks, RESOLUTION)
    exact = time.denominator & (time.denominator - 1) == 0  # a power of two: decimals end
    return repr(float(time)).removesuffix(".0") if exact else str(time)


@cache
def ticks_of(text: str) -> int:
    """The inverse of `quarters_text`; 0 for text that is no time of this resolution."""
    if not TIME.fullmatch(text) or text.endswith("/0"):
        return 0
    ticks = Fraction(text) * RESOLUTION
    return int(ticks) if ticks.denominator == 1 else 0


def on_grid(piece: Piece) -> np.ndarray:
    """The notes with times in ticks of 1/`RESOLUTION` quarter.

    Raises PieceError, with the way out, where a note does not stand on them.
    """
    notes, tpq = piece.notes.copy(), piece.ticks_per_quarter
    for field in ("onset", "duration"):
        scaled = notes[field] * RESOLUTION
        if (wrong := scaled % tpq != 0).any():
            place = notes["onset"][wrong][0] / tpq
            raise PieceError(
                f"piece {piece.name!r}: {int(wrong.sum())} notes, the first at quarter {place:g}, "
                f"do not stand on the grid of 1/{RESOLUTION} quarter. Use quantise(piece).piece"
            )
        notes[field] = scaled // tpq
    return notes
