"""Which pieces train, which help to choose, and which measure in the end.

Pieces with the same top line are settings of one tune and stay together, or the test would hold
tunes that the network has learned. Varied tunes are not found; notebook 04 measures what that does.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pianolstm.piece import Piece

PARTS = ("train", "valid", "test")


class Split(NamedTuple):
    """Pieces for training, for choosing (valid) and for the final measurement (test)."""

    train: list[Piece]
    valid: list[Piece]
    test: list[Piece]


def is_chorale(piece: Piece) -> bool:
    """True for the four-part Bach chorales of `midi_songs`."""
    return piece.name.startswith("bach_bwv") and "prelude" not in piece.name


def soprano_line(piece: Piece) -> tuple[tuple[int, int], ...]:
    """The top line of the first track as (ticks since the last onset, interval in semitones).

    Transposition makes no difference.
    """
    line = top_line(piece.notes[piece.notes["track"] == 0])
    return tuple((b[0] - a[0], b[2] - a[2]) for a, b in itertools.pairwise(line))


def top_line(notes: np.ndarray) -> list[tuple[int, int, int]]:
    """The notes (onset, duration, pitch) over which nothing higher sounds when they start."""
    rows = zip(notes["onset"].tolist(), (-notes["pitch"].astype(int)).tolist(),
               notes["duration"].tolist())  # fmt: skip
    line: list[tuple[int, int, int]] = []
    end = -1  # of the latest note of the line
    for onset, lower, duration in sorted(rows):
        if line and (line[-1][0] == onset or (end > onset and line[-1][2] > -lower)):
            continue
        line.append((onset, duration, -lower))
        end = onset + duration
    return line


def split_groups(names: Sequence[str]) -> list[int]:
    """The part of each group of pieces (0 train, 1 valid, 2 test), by a hash of its name.

    About 80 / 10 / 10. A part that would be empty gets the group of the largest part whose hash
    comes first. Raises ValueError for fewer than three groups.
    """
    if len(names) < len(PARTS):
        raise ValueError(
            f"{len(names)} different pieces are too few (those with the same top line count as "
            "one): train, valid and test need one each. Use more pieces"
        )
    digests = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in names]
    parts = [max(0, digest % 10 - 7) for digest in digests]
    for empty in range(len(PARTS)):
        if empty not in parts:
            largest = max(range(len(PARTS)), key=parts.count)
            members = [i for i, part in enumerate(parts) if part == largest]
            parts[min(members, key=lambda i: digests[i])] = empty
    return parts


def split_pieces(pieces: Sequence[Piece], chorales_only: bool = True) -> Split:
    """Split pieces by groups (see `split_groups`); only the chorales unless told otherwise.

    A group has the name of its first piece. Raises ValueError for fewer than three groups.
    """
    groups: dict[tuple, list[Piece]] = {}
    for piece in sorted(pieces, key=lambda p: p.name):
        if not chorales_only or is_chorale(piece):
            groups.setdefault(soprano_line(piece), []).append(piece)
    try:
        numbers = split_groups([group[0].name for group in groups.values()])
    except ValueError as error:
        hint = ", or chorales_only=False" if chorales_only else ""
        raise ValueError(f"{len(pieces)} pieces: {error}{hint}") from None
    split = Split([], [], [])
    for group, number in zip(groups.values(), numbers):
        split[number].extend(group)
    return split
