"""Rules of four-part writing that hold while a piece is drawn, for encodings with tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pianolstm.encodings import EventEncoding
from pianolstm.encodings.event_tokens import EventReader
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

PERFECT = (0, 7)  # semitones modulo 12: unison or octave, and fifth
Ranges = Mapping[tuple[int, int], tuple[int, int]]  # (program, track) → lowest and highest pitch


def part_ranges(pieces: Sequence[Piece]) -> dict[tuple[int, int], tuple[int, int]]:
    """Lowest and highest pitch of each program on each track."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for piece in pieces:
        for note in piece.notes:
            part, pitch = (int(note["program"]), int(note["track"])), int(note["pitch"])
            low, high = found.get(part, (pitch, pitch))
            found[part] = min(low, pitch), max(high, pitch)
    return found


class PartRules:
    """What the next token of one piece must not be; a `Rule` for `generate`.

    With `ranges`, no pitch outside the range of its program and track. With `parallels`, no pitch
    that makes two parts move in parallel fifths or octaves, as `evaluation.parallels` counts them.
    The pieces' tokens must come in the order of `EventEncoding`: a part after the one above it.
    """

    def __init__(
        self,
        encoding: EventEncoding,
        vocabulary: Vocabulary,
        ranges: Ranges | None = None,
        parallels: bool = True,
    ) -> None:
        self.ranges, self.parallels, self.reader = ranges or {}, parallels, EventReader()
        self.values = [encoding.value(token) for token in vocabulary.tokens]
        pitches = [(v[1], i) for i, v in enumerate(self.values) if v[0] == "pitch"]
        self.pitches, self.ids = np.array(pitches).T  # as written, and the tokens' ids

    def __call__(self, token: int) -> np.ndarray:
        """Take in the next id; the ids that must not follow it."""
        kind, number = self.values[token]
        self.reader.read(kind, number)
        if kind in ("pitch", "more"):  # a duration comes next
            return self.ids[:0]
        part = self.reader.programs.get(self.reader.track, 0), self.reader.track
        low, high = self.ranges.get(part, (-np.inf, np.inf))
        sounding = self.pitches + self.reader.home
        bad = (sounding < low) | (sounding > high)
        if self.parallels:
            bad |= self._parallel(sounding)
        return self.ids[bad]

    def _parallel(self, pitches: np.ndarray) -> np.ndarray:
        """With which pitches the current part would follow another one in parallel, bool."""
        now, part, notes = self.reader.time, self.reader.track, self.reader.notes
        bad = np.zeros(len(pitches), dtype=bool)
        moment = max((onset for onset, *_ in notes if onset < now), default=-1)
        before: dict[int, int] = {}  # what each part sounded at the moment before
        for onset, length, pitch, _, _, track in notes:
            if onset <= moment < onset + length:
                before[track] = max(pitch, before.get(track, pitch))
        for onset, _, pitch, _, _, track in notes:
            if onset != now or track == part or not {track, part} <= before.keys():
                continue
            step, interval = pitch - before[track], abs(before[track] - before[part]) % 12
            if step and interval in PERFECT:
                same_way = np.sign(pitches - before[part]) == np.sign(step)
                bad |= same_way & (np.abs(pitches - pitch) % 12 == interval)
        return bad
