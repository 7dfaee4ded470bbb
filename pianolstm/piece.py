"""The one data type that every stage shares: a piece of music as note events.

Time is in integer ticks inside a `Piece` and in quarter notes wherever a person sees it.
Pitch is a MIDI number, 0 to 127, with 60 = C4 (middle C).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

NOTE_DTYPE = np.dtype(
    [
        ("onset", np.int64),  # ticks
        ("duration", np.int64),  # ticks, at least 1
        ("pitch", np.uint8),  # MIDI number
        ("velocity", np.uint8),  # 1 (softest) to 127
        ("program", np.uint8),  # General MIDI instrument, 0 = grand piano
        ("track", np.uint16),  # index into Piece.track_names
    ],
    align=True,  # a few bytes more, twice as fast
)
DEFAULT_TEMPO = 90.0  # quarter notes a minute, of a piece for which no tempo is given
MIDI_TEMPO = 120.0  # quarter notes a minute, where a MIDI file names no tempo (MIDI 1.0)
VELOCITY = 80  # where nothing says how loud a note is
# Characters that no XML file may hold (XML 1.0, section 2.2), and so no score either
FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
REMOVED = "characters removed from names"

# music21's default spelling of the twelve pitch classes ("-" is a flat)
PITCH_CLASS_NAMES = ("C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B")
MAJOR = ("C-", "G-", "D-", "A-", "E-", "B-", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
MINOR = ("A-", "E-", "B-", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")


def pitch_name(pitch: int) -> str:
    """Name of a MIDI number as music21 spells it: 60 is "C4", 63 is "E-4".

    Octave −1 is written "m1", because music21 prints "E-1" both for its E and for E flat 1.
    """
    return f"{PITCH_CLASS_NAMES[pitch % 12]}{pitch // 12 - 1 if pitch >= 12 else 'm1'}"


def key_name(sharps: int, minor: bool) -> str:
    """Name of a key signature: sharps −7 (seven flats) to 7, in music21's spelling."""
    return f"{(MINOR if minor else MAJOR)[sharps + 7]} {'minor' if minor else 'major'}"


def key_sharps(key: str) -> tuple[int, bool]:
    """The inverse of `key_name`: ("E minor") → (1, True)."""
    tonic, mode = key.split()
    return (MINOR if mode == "minor" else MAJOR).index(tonic) - 7, mode == "minor"


def spoken_key(key: str | None) -> str:
    """A key as people write it: "B- major" is "B-flat major", "F# minor" is "F-sharp minor"."""
    return key.replace("- ", "-flat ").replace("#", "-sharp") if key else "no key"


def printable(name: str) -> str:
    """A file's name as text that can be printed: a byte that is not UTF-8 is written as "\\xe9"."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def listed(counts: Mapping[str, int]) -> str:
    """Counts as words: {"percussion": 3} → "3 percussion"; "none" where there are none."""
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.items()) or "none"


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of music. Notes are kept sorted by onset, then track and pitch.

    Raises TypeError for notes that are no `NOTE_DTYPE` array, and ValueError for a note that starts
    before 0, lasts less than a tick or is higher than 127. Characters that XML forbids are removed
    from names, and counted in `repaired`; a track whose name holds nothing else gets its number.
    """

    notes: np.ndarray  # NOTE_DTYPE
    ticks_per_quarter: int = 480
    tempi: tuple[tuple[int, float], ...] = ((0, DEFAULT_TEMPO),)  # (tick, quarters a minute)
    time_signatures: tuple[tuple[int, int, int], ...] = ((0, 4, 4),)  # (tick, beats, beat unit)
    key: str | None = None  # "G major": the first key signature
    track_names: tuple[str, ...] = ()
    name: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)  # reason → notes left out
    repaired: Mapping[str, int] = field(default_factory=dict)  # reason → times repaired

    def __post_init__(self) -> None:
        if getattr(self.notes, "dtype", None) != NOTE_DTYPE:
            raise TypeError(
                f"piece {self.name!r}: notes must be an array of NOTE_DTYPE, not "
                f"{type(self.notes).__name__}. Use Piece.from_quarters([(0, 1, 60), …]), a row "
                "(onset, duration, pitch) for each note, times in quarters"
            )
        # `take` is faster than notes[…] for structured arrays
        notes = self.notes.take(np.argsort(sort_key(self.notes), kind="stable"))
        if len(notes):
            lowest, shortest = notes["onset"][0], notes["duration"].min()
            highest = notes["pitch"].max()
            if lowest < 0 or shortest < 1 or highest > 127:
                raise ValueError(
                    f"piece {self.name!r}: its first note starts at tick {lowest}, its shortest "
                    f"lasts {shortest} ticks, its highest is {highest}; expected at least 0, at "
                    "least 1, at most 127"
                )
        notes.setflags(write=False)
        object.__setattr__(self, "notes", notes)
        if FORBIDDEN.search("".join((self.name, *self.track_names))):
            self._clean_names()

    def _clean_names(self) -> None:
        before = (self.name, *self.track_names)
        name, *tracks = (FORBIDDEN.sub("", text) for text in before)
        removed = len("".join(before)) - len("".join((name, *tracks)))
        numbered = tuple(text or f"Track {i}" for i, text in enumerate(tracks, 1))
        repaired = {**self.repaired, REMOVED: self.repaired.get(REMOVED, 0) + removed}
        for column, value in (("name", name), ("track_names", numbered), ("repaired", repaired)):
            object.__setattr__(self, column, value)

    @classmethod
    def from_quarters(cls, rows: Iterable[tuple], ticks_per_quarter: int = 480, **fields) -> Piece:
        """A piece from rows (onset, duration, pitch[, track[, velocity]]), times in quarters."""
        notes = []
        for onset, duration, pitch, *rest in rows:
            track, velocity = [*rest, *(0, VELOCITY)[len(rest) :]]
            start, length = round(onset * ticks_per_quarter), round(duration * ticks_per_quarter)
            notes.append((start, max(1, length), pitch, velocity, 0, track))
        tracks = max((note[5] for note in notes), default=0) + 1
        fields.setdefault("track_names", tuple(f"Track {i + 1}" for i in range(tracks)))
        return cls(np.array(notes, dtype=NOTE_DTYPE), ticks_per_quarter, **fields)

    def __len__(self) -> int:
        return len(self.notes)

    def __eq__(self, other: object) -> bool:
        """Same notes, times, tempi, metres, key and track names; `name` may differ."""
        return isinstance(other, Piece) and self._content() == other._content()

    def _content(self) -> tuple:
        marks = (self.tempi, self.time_signatures, self.key, self.track_names)
        return self.ticks_per_quarter, marks, self.notes.tolist()

    __hash__ = None

    def __repr__(self) -> str:
        return f"Piece({self.name!r}: {len(self)} notes, {len(self.bar_starts())} bars)"

    @property
    def onsets(self) -> np.ndarray:
        """Onset of every note in quarters, shape (notes,)."""
        return self.notes["onset"] / self.ticks_per_quarter

    @property
    def end(self) -> int:
        """Tick at which the last note ends."""
        return int((self.notes["onset"] + self.notes["duration"]).max(initial=0))

    @property
    def seconds(self) -> float:
        """Length in seconds, all tempo changes counted."""
        return self.seconds_at(self.end)

    def seconds_at(self, ticks: int | np.ndarray) -> float | np.ndarray:
        """Seconds from the start to `ticks` (one, or an array); a tempo holds until the next."""
        marks = [(0, MIDI_TEMPO), *self.tempi]  # MIDI's default holds before a late first mark
        starts = np.array([tick for tick, _ in marks])
        pace = np.array([60 / bpm / self.ticks_per_quarter for _, bpm in marks])  # seconds a tick
        passed = np.concatenate([[0.0], np.cumsum(np.diff(starts) * pace[:-1])])
        place = np.searchsorted(starts, ticks, side="right") - 1
        seconds = passed[place] + (ticks - starts[place]) * pace[place]
        return seconds if isinstance(ticks, np.ndarray) else float(seconds)

    def bar_starts(self) -> list[int]:
        """Tick of each bar line before the end of the last note, the first at 0."""
        end = max(self.end, 1)
        signatures = [(0, 4, 4), *self.time_signatures]  # 4/4 holds before a late first one
        stops = [tick for tick, _, _ in self.time_signatures] + [end]
        starts: list[int] = []
        for (tick, beats, unit), stop in zip(signatures, stops):
            bar = max(1, self.ticks_per_quarter * 4 * beats // unit)
            starts.extend(range(tick, min(stop, end), bar))
        return starts

    def transpose(self, semitones: int) -> Piece:
        """The same piece `semitones` higher. Raises ValueError if a pitch leaves 0 to 127."""
        notes = self.notes.copy()
        moved = notes["pitch"].astype(int) + semitones
        if ((moved < 0) | (moved > 127)).any():
            found = f"moved by {semitones} semitones, a pitch would lie outside 0 to 127"
            raise ValueError(f"piece {self.name!r}: {found}")
        notes["pitch"] = moved
        return replace(self, notes=notes, key=None if semitones else self.key)

    def bars(self, first: int, last: int) -> Piece:
        """Bars `first` to `last` (counted from 1, both included) as a piece that starts at 0.

        Notes that begin in these bars are kept and cut at the last bar line. Raises ValueError for
        bars that the piece does not have.
        """
        starts = [*self.bar_starts(), self.end]
        if not 1 <= first <= last or first > len(starts) - 1:
            raise ValueError(
                f"piece {self.name!r} has bars 1 to {len(starts) - 1}, not {first}-{last}"
            )
        begin, stop = starts[first - 1], starts[min(last, len(starts) - 1)]
        inside = (self.notes["onset"] >= begin) & (self.notes["onset"] < stop)
        notes = self.notes[inside].copy()
        notes["duration"] = np.minimum(notes["duration"], stop - notes["onset"])
        notes["onset"] -= begin
        return replace(
            self,
            notes=notes,
            tempi=_since(self.tempi, begin, stop),
            time_signatures=_since(self.time_signatures, begin, stop),
        )


def sort_key(notes: np.ndarray) -> np.ndarray:
    """Onset, track and pitch of each note in one integer, which sorts faster than three."""
    return notes["onset"] << 24 | notes["track"].astype(np.int64) << 8 | notes["pitch"]


def _since(marks: tuple[tuple, ...], begin: int, stop: int) -> tuple[tuple, ...]:
    """Marks (tick, …) of [begin, stop) with `begin` moved to 0; the one in force comes first."""
    before = [mark for mark in marks if mark[0] <= begin]
    inside = [mark for mark in marks if begin < mark[0] < stop]
    return tuple((max(0, mark[0] - begin), *mark[1:]) for mark in before[-1:] + inside)
