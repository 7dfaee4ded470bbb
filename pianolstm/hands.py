"""Which hand plays which note, where an encoding writes no tracks and a piece is for two hands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from pianolstm.piece import NOTE_DTYPE, Piece

MIDDLE_C = 60
FINGERS = 10
HANDS = ("Right hand", "Left hand")
REACH = 16  # semitones that a hand can span: a tenth
UNEVEN, STRETCHED, MOVED = 3.0, 10.0, 0.1  # cost of a note too many, of a semitone too wide or far


def two_hands(
    rows: Iterable[Sequence[int]],
    ticks_per_quarter: int,
    name: str,
    repaired: Counter[str] | None = None,
    at_middle_c: bool = False,
    **fields,
) -> Piece:
    """A piece for two hands from rows (onset, duration, pitch, velocity), times in ticks.

    The hands are those of `left_hand`, or everything below middle C is the left one's. A hand
    without a note has no track. `fields` are those of `Piece`.
    """
    table = np.array([tuple(map(int, row)) for row in rows], dtype=int).reshape(-1, 4)
    left = table[:, 2] < MIDDLE_C if at_middle_c else left_hand(*table[:, :3].T)
    used = np.unique(left).tolist()  # False right, True left
    notes = [(*row, 0, used.index(hand)) for row, hand in zip(table.tolist(), left.tolist())]
    return Piece(
        np.array(notes, dtype=NOTE_DTYPE),
        ticks_per_quarter,
        track_names=tuple(HANDS[hand] for hand in used),
        name=name,
        repaired=dict(+(repaired or Counter())),
        **fields,
    )


def left_hand(onsets: np.ndarray, durations: np.ndarray, pitches: np.ndarray) -> np.ndarray:
    """Which notes the left hand plays, bool (notes,); onsets and durations in ticks.

    At every onset the notes that sound are divided at one place, the lower ones to the left hand,
    and a note that is held stays where it is: hands never cross. Of all divisions of a piece this
    is the cheapest, where it costs if a hand has more notes than the other, spans more than a
    tenth, or moves (dynamic programming; the costs were chosen on the pieces of `midi_songs`, of
    which the score's own hands are known). A piece in which more than ten notes sound at once is
    no two hands' and is divided at middle C.
    """
    pitches = pitches.tolist()  # Python's numbers are faster than NumPy's, one by one
    moments = list(_moments(onsets, durations, pitches))
    if max(map(len, moments), default=0) > FINGERS:  # no two hands play it, and it would take long
        return np.array(pitches) < MIDDLE_C
    before: list[int] = []
    # Of each place to divide: costs so far, pitches of both hands, left notes of all moments so far
    states = [(0.0, ([], []), None)]
    for notes in moments:
        held = set(before) & set(notes)
        had, has = _held_below(before, held), _held_below(notes, held)
        found = []
        for place in range(len(notes) + 1):
            now = [pitches[i] for i in notes[:place]], [pitches[i] for i in notes[place:]]
            cost, earlier = min(
                (states[j][0] + _move(states[j][1], now), j)
                for j in range(len(had))
                if had[j] == has[place]
            )
            _, hands, path = states[earlier]
            hands = tuple(new or old for new, old in zip(now, hands))
            found.append((cost + _hold(notes, place, pitches), hands, (notes[:place], path)))
        states, before = found, notes
    left = np.zeros(len(pitches), dtype=bool)
    path = min(states, key=lambda state: state[0])[2]
    while path:
        lower, path = path
        left[lower] = True
    return left


def _moments(
    onsets: np.ndarray, durations: np.ndarray, pitches: Sequence[int]
) -> Iterator[list[int]]:
    """For each onset the notes that sound then, from the bottom up, as indices."""
    starts, ends = onsets.tolist(), (onsets + durations).tolist()
    in_time = sorted(range(len(starts)), key=starts.__getitem__)
    sounding: list[int] = []
    for onset, new in groupby(in_time, starts.__getitem__):
        sounding = [*(i for i in sounding if ends[i] > onset), *new]
        yield sorted(sounding, key=lambda i: (pitches[i], -i))


def _held_below(notes: list[int], held: set[int]) -> list[int]:
    """For each place to divide, how many held notes lie below it."""
    return np.cumsum([0, *(note in held for note in notes)]).tolist()


def _hold(notes: list[int], place: int, pitches: list[int]) -> float:
    """What it costs to hold notes that are divided at a place."""
    spans = (
        pitches[hand[-1]] - pitches[hand[0]] for hand in (notes[:place], notes[place:]) if hand
    )
    too_wide = sum(max(0, span - REACH) for span in spans)
    return UNEVEN * abs(len(notes) - 2 * place) + STRETCHED * too_wide


def _move(before: Sequence[list[int]], now: Sequence[list[int]]) -> float:
    """What it costs to move: each new pitch from the nearest of the same hand before."""
    steps = (min(abs(a - b) for b in old) for old, new in zip(before, now) if old for a in new)
    return MOVED * sum(steps)
