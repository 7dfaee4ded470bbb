"""From the tokens of `EventEncoding` back to notes: whatever the tokens are, there is a piece."""

from __future__ import annotations

from collections import Counter

from pianolstm.encodings.event_tokens import COMMON, LONGEST, METRES, MORE, bar_ticks
from pianolstm.piece import VELOCITY


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
        self.notes: list[tuple[int, ...]] = []  # the fields of `NOTE_DTYPE`, in its order
        self.metres: dict[int, tuple[int, int]] = {}  # tick → beats and beat unit
        self.programs: dict[int, int] = {}  # of each track
        self.first: dict[str, tuple[int, str]] = {}  # the first "key" and "home"
        self.bar_start = self.bar_end = 0  # of the current bar; 0 and 0 before the first one
        self.time = self.more = self.track = 0
        self.pitch: int | None = None  # waits for its duration

    def read(self, kind: str, number: int) -> None:
        """Take in a token, as `EventEncoding.value` reads it."""
        if kind == MORE:
            self.more += 1
            return
        if kind in ("at", "for"):
            number += self.more * LONGEST
            self.more = 0
        if kind != "for":
            self.drop_waiting()
        if kind == "bar" or (kind == "at" and self.bar_end == 0):
            metre = [COMMON, *self.metres.values()][-1]
            self.bar_start = self.time = self.bar_end
            self.bar_end += bar_ticks(*metre)
        match kind:
            case "at" if self.bar_start + number < self.bar_end:
                self.time = self.bar_start + number
            case "for" if self.pitch is not None:
                program = self.programs.get(self.track, 0)
                self.notes.append((self.time, number, self.pitch, VELOCITY, program, self.track))
                self.pitch = None
            case "at" | "for":  # beyond the end of its bar; without a pitch
                self.repaired[kind] += 1
            case "pitch":
                self.pitch = number
            case "metre":
                self.repaired["metre"] += self.bar_end in self.metres
                self.metres[self.bar_end] = METRES[number]
            case "track":
                self.track = number
            case "program":
                self.programs[self.track] = number
            case "home" | "major" | "minor":
                name = "home" if kind == "home" else "key"
                self.repaired[name] += self.first.setdefault(name, (number, kind)) != (number, kind)

    def drop_waiting(self) -> None:
        """Count `more` and a pitch that still wait for what should have followed them."""
        self.repaired["pitch"] += self.pitch is not None
        self.repaired[MORE] += self.more
        self.pitch, self.more = None, 0
