"""From the tokens of `EventEncoding` back to notes: whatever the tokens are, there is a piece."""

from __future__ import annotations

from collections import Counter

from pianolstm.encodings.event_tokens import COMMON, LONGEST, METRES, MODES, MORE, bar_ticks

Note = tuple[int, int, int, int, int]  # onset, duration, pitch, program, track


class EventReader:
    """What is known while tokens are read, and the rules for what makes no sense.

    What cannot be used is passed over, and counted in `repaired` under its kind of token:

    * a pitch without a duration, a duration without a pitch, `more` in front of anything but a
      time, and a place beyond the end of its bar;
    * a second metre in one bar (the last one holds), and other keys and homes than the first.

    A bar is the next one, whatever its number, and the last chord is where it is, whatever was
    announced (`left`). A note before the first place stands at the beginning of its bar.
    """

    def __init__(self) -> None:
        self.repaired: Counter[str] = Counter()
        self.notes: list[Note] = []
        self.metres: dict[int, tuple[int, int]] = {}  # tick → beats and beat unit
        self.bar = (0, 0)  # start and end of the current bar
        self.programs: dict[int, int] = {}  # of each track
        self.first: dict[str, tuple] = {}  # the first "key" and "home"
        self.time = self.more = self.track = 0
        self.pitch: int | None = None  # waits for its duration

    def read(self, kind: str, number: int) -> None:
        """Take in a token, as `EventEncoding.value` reads it."""
        if kind == MORE:
            self.more += 1
            return
        if kind in ("at", "for"):
            number += self.more * LONGEST
        else:
            self.repaired[MORE] += self.more
        self.more = 0
        if kind != "for":
            self.repaired["pitch"] += self.pitch is not None
            self.pitch = number if kind == "pitch" else None
        if kind in ("metre", "bar", "at", "for"):
            getattr(self, f"_read_{kind}")(number)
        elif kind == "track":
            self.track = number
        elif kind == "program":
            self.programs[self.track] = number
        elif kind in (*MODES, "home"):
            name, value = ("home", (number,)) if kind == "home" else ("key", (number, kind))
            self.repaired[name] += self.first.setdefault(name, value) != value

    def end(self) -> None:
        """Count what is left over after the last token."""
        self.repaired["pitch"] += self.pitch is not None
        self.repaired[MORE] += self.more

    def _read_metre(self, number: int) -> None:
        self.repaired["metre"] += self.bar[1] in self.metres
        self.metres[self.bar[1]] = METRES[number]

    def _read_bar(self, number: int) -> None:
        start = self.bar[1]
        metre = [metre for tick, metre in self.metres.items() if tick <= start][-1:] or [COMMON]
        self.bar, self.time = (start, start + bar_ticks(*metre[0])), start

    def _read_at(self, number: int) -> None:
        if self.bar == (0, 0):
            self._read_bar(1)
        start, end = self.bar
        self.repaired["at"] += start + number >= end
        if start + number < end:
            self.time = start + number

    def _read_for(self, number: int) -> None:
        self.repaired["for"] += self.pitch is None
        if self.pitch is not None:
            program = self.programs.get(self.track, 0)
            self.notes.append((self.time, number, self.pitch, program, self.track))
            self.pitch = None
