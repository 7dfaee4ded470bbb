"""From the tokens of `EventEncoding` back to notes: whatever the tokens are, there is a piece."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pianolstm.encodings.base import RESOLUTION
from pianolstm.encodings.event_tokens import (
    BARS,
    COMMON,
    LONGEST,
    METRES,
    MODES,
    MORE,
    TRACKS,
    bar_ticks,
    program_names,
    sounding_key,
)
from pianolstm.hands import two_hands
from pianolstm.piece import NOTE_DTYPE, VELOCITY, Piece

if TYPE_CHECKING:
    from pianolstm.encodings.events import EventEncoding


class EventReader:
    """What `EventEncoding.decode` knows while it reads: one method for each kind of token."""

    def __init__(self, encoding: EventEncoding) -> None:
        self.encoding = encoding
        self.repaired: Counter[str] = Counter()  # by kind of token
        self.notes: list[list[int]] = []  # onset, duration, pitch, velocity, program, track
        self.metres: dict[int, tuple[int, int]] = {}  # tick → beats and beat unit
        self.bar: tuple[int, int] | None = None  # start and end of the current bar
        self.number = 0  # of the current bar
        self.time = self.more = self.track = 0
        self.announced: list[tuple[int, int]] = []  # first and last tick of the last chord
        self.programs = [0] * TRACKS
        self.key: tuple[int, bool] | None = None  # tonic as written, minor
        self.home: int | None = None  # semitones that all sounds above what is written
        self.pitch: int | None = None  # waits for its duration

    def read(self, token: str) -> None:
        found = self.encoding.value(token)
        if found is None:
            self.repaired["unreadable tokens"] += 1
            return
        kind, number = found
        if kind == MORE:
            self.more += 1
            return
        if kind in ("at", "for"):
            number += self.more * LONGEST
        else:
            self.repaired[MORE] += self.more
        self.more = 0
        if kind != "for" and self.pitch is not None:
            self.repaired["pitch"] += 1
            self.pitch = None
        if kind in MODES:
            self.read_key(number, kind == "minor")
        else:
            getattr(self, f"read_{kind}")(number)

    def read_metre(self, number: int) -> None:
        start = self.bar[1] if self.bar else 0
        self.repaired["metre"] += start in self.metres
        self.metres[start] = METRES[number]

    def read_bar(self, number: int) -> None:
        start = self.bar[1] if self.bar else 0
        metre = [metre for tick, metre in self.metres.items() if tick <= start][-1:]
        self.bar = (start, start + bar_ticks(*(metre[0] if metre else COMMON)))
        last, self.number, self.time = self.number, number, start
        expected = {min(last + 1, BARS)}
        if self.encoding.countdown:  # BARS stands for more than that, too
            expected = {last - 1, BARS if last == BARS else last - 1} if last else {number}
        self.repaired["bar"] += number not in expected

    def read_key(self, tonic: int, minor: bool) -> None:
        self.repaired["key"] += self.key not in (None, (tonic, minor))
        self.key = self.key or (tonic, minor)

    def read_home(self, semitones: int) -> None:
        self.repaired["home"] += self.home not in (None, semitones)
        self.home = semitones if self.home is None else self.home

    def read_at(self, number: int) -> None:
        if self.bar is None:
            self.read_bar(1)  # whichever: the number of a first bar is as good as any
            self.repaired["at"] += 1
        start, end = self.bar
        self.repaired["at"] += start + number >= end or start + number < self.time
        if start + number < end:
            self.time = start + number

    def read_left(self, number: int) -> None:
        until = self.time + number * RESOLUTION
        self.announced.append((until - RESOLUTION + 1 if number else until, until))

    def read_track(self, number: int) -> None:
        self.track = number

    def read_program(self, number: int) -> None:
        self.programs[self.track] = number

    def read_pitch(self, number: int) -> None:
        self.pitch = number

    def read_for(self, number: int) -> None:
        self.repaired["for"] += self.pitch is None
        if self.pitch is not None:
            self.repaired["bar"] += self.bar is None
            program = self.programs[self.track]
            self.notes.append([self.time, number, self.pitch, VELOCITY, program, self.track])
            self.pitch = None

    def piece(self, name: str) -> Piece:
        last = max((note[0] for note in self.notes), default=0)
        self.repaired["left"] += sum(not a <= last <= b for a, b in self.announced)
        self.repaired["bar"] += max(0, self.number - 1) if self.encoding.countdown else 0
        self.repaired["pitch"] += self.pitch is not None
        self.repaired[MORE] += self.more
        home = self.home or 0
        for note in self.notes:
            note[2] += home
        notes = [note for note in self.notes if 0 <= note[2] <= 127]
        self.repaired["pitch"] += len(self.notes) - len(notes)
        fields = {"key": sounding_key(self.key[0] + home, self.key[1]) if self.key else None}
        if self.metres:
            fields["time_signatures"] = tuple((t, *metre) for t, metre in self.metres.items())
        if not self.encoding.tracks:
            rows = (note[:4] for note in notes)
            return two_hands(rows, RESOLUTION, name, self.repaired, **fields)
        used = max((note[5] for note in notes), default=-1) + 1
        return Piece(
            np.array([tuple(note) for note in notes], dtype=NOTE_DTYPE),
            RESOLUTION,
            track_names=program_names(self.programs[:used]),
            name=name,
            repaired=dict(+self.repaired),
            **fields,
        )
