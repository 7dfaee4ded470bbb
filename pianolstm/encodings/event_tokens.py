"""The alphabet of `EventEncoding`: what its tokens say, and how they are read back to notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from pianolstm.encodings.base import EOS, RESOLUTION
from pianolstm.encodings.spelling import quarters_text
from pianolstm.piece import PITCH_CLASS_NAMES, VELOCITY, key_name, key_sharps

MORE = "more"  # four quarters, in front of a time
LONGEST = 4 * RESOLUTION  # ticks in one token
BARS = 64  # the last bar number; all later bars carry it, too
TRACKS = 64
METRES = tuple((beats, unit) for unit in (2, 4, 8, 16) for beats in range(1, 25))
COMMON = (4, 4)  # stands for a metre that has no token
KEYS = tuple(f"{mode}:{tonic}" for mode in ("major", "minor") for tonic in PITCH_CLASS_NAMES)


def pitch_range(home: bool) -> range:
    """The pitches that can be written; home lies −6 to 5 semitones away."""
    return range(-5, 134) if home else range(128)


@lru_cache(maxsize=64)
def token_values(home: bool, tracks: bool, approach: int) -> dict[str, tuple[str, int]]:
    """Every token but `<bos>` and `<eos>` → (kind, number); times in ticks."""
    values = {MORE: (MORE, 0)}
    values |= {f"pitch:{p}": ("pitch", p) for p in pitch_range(home)}
    values |= {f"for:{quarters_text(t)}": ("for", t) for t in range(1, LONGEST + 1)}
    values |= {f"at:{quarters_text(t)}": ("at", t) for t in range(LONGEST)}
    values |= {f"bar:{n}": ("bar", n) for n in range(1, BARS + 1)}
    values |= {f"metre:{b}/{u}": ("metre", i) for i, (b, u) in enumerate(METRES)}
    values |= {key: ("key", i) for i, key in enumerate(KEYS)}
    if home:
        values |= {f"home:{n}": ("home", n) for n in range(-6, 6)}
    if tracks:
        values |= {f"track:{t}": ("track", t) for t in range(TRACKS)}
        values |= {f"program:{p}": ("program", p) for p in range(128)}
    if approach:
        values |= {f"left:{n}": ("left", n) for n in range(approach + 1)}
    return values


def bar_ticks(beats: int, unit: int) -> int:
    """Length of a bar."""
    return RESOLUTION * 4 * beats // unit


def time_tokens(kind: str, ticks: int) -> list[str]:
    """A time as tokens: `more` for each four quarters, then what is left.

    A place in the bar ("at") may be 0; a duration ("for") is at least one tick.
    """
    more, rest = divmod(ticks, LONGEST)
    if kind == "for" and rest == 0:
        more, rest = more - 1, LONGEST
    return [MORE] * more + [f"{kind}:{quarters_text(rest)}"]


def number_bars(tokens: list[str], number: int) -> None:
    """Number the bar lines down from `number`, in place: the last of so many is `bar:1`.

    The beginning of a longer piece is told how long it is to become by a larger number.
    """
    for i, token in enumerate(tokens):
        if token.startswith("bar:"):
            tokens[i] = f"bar:{min(max(number, 1), BARS)}"
            number -= 1


def opening(tokens: Sequence[str], bars: int | None = None) -> list[str]:
    """What `encode` gave for some bars, as the beginning of a longer piece: without its end.

    With `bars`, the length of the longer piece, its bar lines are counted down from there.
    """
    result = [token for token in tokens if token != EOS and not token.startswith("left:")]
    if bars is not None:
        number_bars(result, bars)
    return result


def home_shift(key: str) -> int:
    """Semitones from C major or A minor up to a key, −6 to 5: 2 for "D major" and "B minor"."""
    sharps, _ = key_sharps(key)
    return (7 * sharps + 6) % 12 - 6


def key_token(key: str, home: int = 0) -> str:
    """A key as a token, `home` semitones lower: "G major" is "major:G"."""
    sharps, minor = key_sharps(key)
    return KEYS[12 * minor + (7 * sharps + 9 * minor - home) % 12]


def sounding_key(tonic: int, minor: bool) -> str:
    """The name of a key by its tonic's pitch class, with as few sharps or flats as there are."""
    return key_name((7 * (tonic - 9 * minor) + 5) % 12 - 5, minor)


def program_names(programs: Sequence[int]) -> tuple[str, ...]:
    """General MIDI's names of programs, numbered where one comes twice."""
    from pretty_midi import program_to_instrument_name

    names = [program_to_instrument_name(program) for program in programs]
    numbered = [f"{name} {names[: i + 1].count(name)}" for i, name in enumerate(names)]
    return tuple(b if names.count(a) > 1 else a for a, b in zip(names, numbered))


class EventReader:
    """From tokens to notes: what is known while they are read. Whatever they are, there is a piece.

    What cannot be used is passed over, and counted in `repaired` under its kind of token:

    * a pitch out of range or without a duration, a duration without a pitch, `more` in front of
      anything but a time, and a place beyond the end of its bar;
    * a second metre in one bar (the last one holds), and other keys and homes than the first.

    A bar is the next one, whatever its number, and the last chord is where it is, whatever was
    announced (`left`). A note before the first place stands at the beginning of its bar.
    """

    def __init__(self) -> None:
        self.repaired: Counter[str] = Counter()
        self.notes: list[tuple[int, ...]] = []  # the fields of `NOTE_DTYPE`, in its order
        self.metres: dict[int, tuple[int, int]] = {}  # tick → beats and beat unit
        self.programs: dict[int, int] = {}  # of each track
        self.first: dict[str, int] = {}  # the first "key", of `KEYS`, and "home"
        self.bar_start = self.bar_end = 0  # of the current bar; 0 and 0 before the first one
        self.time = self.more = self.track = 0
        self.pitch: int | None = None  # waits for its duration

    @property
    def home(self) -> int:
        """How many semitones higher than written the notes sound."""
        return self.first.get("home", 0)

    def read(self, kind: str, number: int) -> None:
        """Take in a token, as `EventEncoding.value` reads it."""
        if kind in ("at", "for"):
            number, self.more = number + self.more * LONGEST, 0
        if kind not in ("for", MORE, ""):
            self.drop_waiting()
        if kind == "bar" or (kind == "at" and self.bar_end == 0):
            self.bar_start = self.time = self.bar_end
            self.bar_end += bar_ticks(*[COMMON, *self.metres.values()][-1])
        match kind:
            case "at" if self.bar_start + number < self.bar_end:
                self.time = self.bar_start + number
            case "for" if self.pitch is not None:
                part = self.programs.get(self.track, 0), self.track
                if 0 <= self.pitch <= 127:
                    self.notes.append((self.time, number, self.pitch, VELOCITY, *part))
                else:
                    self.repaired["pitch"] += 1
                self.pitch = None
            case "at" | "for":  # beyond the end of its bar; without a pitch
                self.repaired[kind] += 1
            case "pitch":
                self.pitch = number + self.home
            case "metre":
                self.repaired["metre"] += self.bar_end in self.metres
                self.metres[self.bar_end] = METRES[number]
            case "track":
                self.track = number
            case "program":
                self.programs[self.track] = number
            case "home" | "key":
                self.repaired[kind] += self.first.setdefault(kind, number) != number
            case "more":  # a part of the next time
                self.more += 1
            case "":  # no token of ours
                self.repaired["unreadable tokens"] += 1

    def drop_waiting(self) -> None:
        """Count `more` and a pitch that still wait for what should have followed them."""
        self.repaired["pitch"] += self.pitch is not None
        self.repaired[MORE] += self.more
        self.pitch, self.more = None, 0
