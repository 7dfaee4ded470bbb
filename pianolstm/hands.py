"""Which hand plays which note: an encoding that does not write tracks gives a piece for two hands.

Everything from middle C upwards is the right hand's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from pianolstm.piece import NOTE_DTYPE, Piece

MIDDLE_C = 60
HANDS = ("Right hand", "Left hand")


def two_hands(
    rows: Iterable[Sequence[int]],
    ticks_per_quarter: int,
    name: str,
    repaired: Counter[str] | None = None,
    **fields,
) -> Piece:
    """A piece for two hands from rows (onset, duration, pitch, velocity), times in ticks.

    A hand without a note has no track. `fields` are those of `Piece`.
    """
    rows = [tuple(map(int, row)) for row in rows]
    used = sorted({int(pitch < MIDDLE_C) for _, _, pitch, _ in rows})  # 0 right, 1 left
    notes = [(*row, 0, used.index(int(row[2] < MIDDLE_C))) for row in rows]
    return Piece(
        np.array(notes, dtype=NOTE_DTYPE),
        ticks_per_quarter,
        track_names=tuple(HANDS[hand] for hand in used),
        name=name,
        repaired=dict(+(repaired or Counter())),
        **fields,
    )
