"""A note in several small tokens, so that no note can be unknown.

    <bos> metre:4/4 bar:1 major:G at:3 pitch:67 for:1 pitch:62 for:1 bar:2 major:G at:0 … <eos>

`bar:n` is the next bar line; the key, where it is known, is said again in every bar, as a reminder.
`at:x` is the place in the bar, in quarters; then come the notes that start there, from the top
down, each as its pitch (MIDI number) and how long it lasts. Without
`metre`, `shift:x` moves on from one onset to the next instead. A time of more than four quarters is
written with `more` (four quarters) in front: a half note is `for:2`, six quarters are `more for:2`.
With `tracks` each note begins with its track, and a track's first note with its program unless
that is 0, the piano; with `velocity_bins` each note ends with its loudness.

With `countdown` a bar's number says how many bars are left, itself included: the last is `bar:1`.
So a piece announces its length when it begins, and its end is always written alike.

With `approach` the last chord is announced, too: `left:n` behind a place says that it comes n
quarters later, rounded up; `left:0` is the last chord.

With `home` all pieces are written as if they stood in C major or A minor, and `home:n`, said once,
tells how many semitones lower that is: what ends a piece in one key looks the same in every other.

Positions in the bar follow REMI (Huang and Yang 2020, "Pop Music Transformer", section 3.2); time
shifts follow Oore et al. 2018, "This Time with Feeling", section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from pianolstm.encoding.base import (
    BOS,
    EOS,
    RESOLUTION,
    PieceError,
    built,
    on_grid,
    quarters_text,
    shifted,
)
from pianolstm.piece import NOTE_DTYPE, PITCH_CLASS_NAMES, Piece, key_name, key_sharps

MORE = "more"
LONGEST = 4  # quarters in one token
BARS = 64  # the last bar number; all later bars carry it, too
TRACKS = 64
METRES = tuple((beats, unit) for unit in (2, 4, 8, 16) for beats in range(1, 25))
MODES = ("major", "minor")
COMMON = (4, 4)  # stands for a metre that has no token


@dataclass(frozen=True)
class EventEncoding:
    """Bars, places, pitches and durations as tokens of their own, between `<bos>` and `<eos>`.

    Without loss on the grid: `decode(encode(piece))` has the same onsets, durations and pitches,
    and with `tracks` the same programs and tracks; velocities come back as the middle of their bin,
    or as 80 without bins. Tempo is not written, the key only with `metre`. A metre that changes
    does so at the next bar line, and one without a token (`METRES`) is written as 4/4; no note
    moves by that.
    """

    resolution: int = RESOLUTION  # ticks a quarter that times are multiples of
    metre: bool = True  # bars and places in them; without it, shifts from onset to onset
    tracks: bool = False  # a note names its track, a track its program
    velocity_bins: int = 0  # equal parts of 1 to 127; 0: loudness is not written
    home: bool = False  # all in C major or A minor; `home:n` says how much higher it sounds
    countdown: bool = False  # a bar line says how many bars are left, itself included
    approach: int = 0  # for so many quarters before the last chord, onsets say how many are left

    def __post_init__(self) -> None:
        if not 0 <= self.velocity_bins <= 127 or self.resolution < 1 or self.approach < 0:
            raise ValueError(
                f"{self}: velocity_bins go from 0 to 127, resolution from 1, approach from 0"
            )

    # ---- notes to tokens

    def encode(self, piece: Piece) -> list[str]:
        """Tokens of a piece on the grid (`quantise`); raises ValueError for any other."""
        notes = on_grid(piece, self.resolution)
        if self.tracks and len(notes) and notes["track"].max() >= TRACKS:
            raise PieceError(
                f"piece {piece.name!r} has a track {notes['track'].max() + 1}; there are tokens "
                f"for {TRACKS}. Read it with fewer instruments, or encode without tracks"
            )
        in_bars = {"home": self.home, "countdown": self.countdown, "approach": self.approach}
        if any(in_bars.values()) and not self.metre:
            option = next(name for name, asked in in_bars.items() if asked)
            raise ValueError(f"{option} needs metre=True: it is written in the bars")
        high_first = -notes["pitch"].astype(int)
        home = home_shift(piece.key) if self.home and piece.key else 0
        track = notes["track"] if self.tracks else np.zeros(len(notes))
        order = np.lexsort((-notes["duration"], high_first, track, notes["onset"]))
        tokens, time, programs = [BOS], 0, [0] * TRACKS
        bars = self._bars(piece) if self.metre else iter(())
        start, following = 0, -1  # of the bar, and of the one after it
        last = notes["onset"].max(initial=0)
        for onset, length, pitch, velocity, program, track in notes[order].tolist():
            while self.metre and onset >= (following if following >= 0 else 0):
                start, following, header = next(bars)
                tokens.extend(header)
                time = -1
            if onset != time:
                kind, ticks = ("at", onset - start) if self.metre else ("shift", onset - time)
                tokens.extend(self._time(kind, ticks))
                time = onset
                left = -(-(last - onset) // self.resolution)
                if self.approach and left <= self.approach:
                    tokens.append(f"left:{left}")
            if self.tracks:
                tokens.append(f"track:{track}")
                if programs[track] != program:
                    tokens.append(f"program:{program}")
                    programs[track] = program
            tokens.append(f"pitch:{pitch - home}")
            tokens.extend(self._time("for", length))
            if self.velocity_bins:
                tokens.append(f"loud:{self._bin(velocity)}")
        if self.countdown:
            number_bars(tokens, sum(token.startswith("bar:") for token in tokens))
        return [*tokens, EOS]

    def _bars(self, piece: Piece) -> Iterator[tuple[int, int, list[str]]]:
        """Endless bars as (start, end, tokens), in our ticks; a metre begins at a bar line."""
        scale = self.resolution / piece.ticks_per_quarter
        changes = [(tick * scale, beats, unit) for tick, beats, unit in piece.time_signatures]
        start, number, metre = 0, 0, None
        key, home = [], []
        if piece.key:
            sharps, minor = key_sharps(piece.key)
            key = [key_token(0 if self.home else sharps, minor)]
            home = [f"home:{home_shift(piece.key)}"] if self.home else []
        while True:
            current = [change for change in changes if change[0] <= start][-1:]
            wanted = current[0][1:] if current else COMMON
            wanted = wanted if wanted in METRES else COMMON
            header = [] if wanted == metre else [f"metre:{wanted[0]}/{wanted[1]}"]
            number, metre = number + 1, wanted
            end = start + self._bar_ticks(*metre)
            yield start, end, [*header, f"bar:{min(number, BARS)}", *home, *key]
            start, home = end, []

    def _bar_ticks(self, beats: int, unit: int) -> int:
        return max(1, self.resolution * 4 * beats // unit)

    def _time(self, kind: str, ticks: int) -> list[str]:
        """A time as tokens: `more` for each four quarters, then what is left.

        A place in the bar may be 0; a duration or a shift is at least one tick.
        """
        longest = LONGEST * self.resolution
        more, rest = divmod(ticks, longest)
        if kind != "at" and rest == 0:
            more, rest = more - 1, longest
        return [MORE] * more + [f"{kind}:{quarters_text(rest, self.resolution)}"]

    @property
    def _pitches(self) -> tuple[int, int]:
        """The lowest and the highest that can be written; home lies −6 to 5 semitones away."""
        return (-5, 133) if self.home else (0, 127)

    def _bin(self, velocity: int) -> int:
        return min(max(velocity, 1) - 1, 126) * self.velocity_bins // 127

    def _velocity(self, index: int) -> int:
        """The middle of a bin."""
        inside = [v for v in range(1, 128) if self._bin(v) == index]
        return inside[len(inside) // 2]

    # ---- tokens to notes

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """Tokens as a piece; whatever the tokens are, there is one.

        What makes no sense is mended by these rules, and counted in the piece's `repaired`:

        * a token of another encoding, or out of its range, is passed over;
        * `<bos>` is passed over inside of a piece, and so is all that follows `<eos>`;
        * a pitch without a duration, or a duration without a pitch, is passed over;
        * the last chord is where it is, wherever it was announced; an announcement that contradicts
          the one before counts, and so does a last one that does not come true;
        * a bar is the next one, whatever its number, which counts as another one if it does not
          follow from the last; with `countdown`, bars that are still announced at the end count;
        * a place beyond the end of its bar is passed over;
        * the first key holds, and the first distance from home;
        * a pitch that the way home moves out of 0 to 127 is passed over;
        * places may go back within a bar; `more` in front of anything but a time is passed over;
        * a note before the first place stands at the beginning of its bar, or of the piece;
        * loudness that does not follow a note is passed over; of two metres the last holds.
        """
        state = _Reader(self)
        for index, token in enumerate(tokens):
            if token == EOS:
                state.count("tokens after the end", len(tokens) - index - 1)
                break
            if token == BOS:
                state.count("beginnings in the middle", index > 0)
            else:
                state.read(token)
        else:
            state.count("no end", 1)
        return state.piece(name)

    def value(self, token: str) -> tuple[str, int] | None:
        """(kind, number) of a token, times in ticks; None for what is no token of ours."""
        return _values(self).get(token)

    # ---- the rest of the interface

    def transpose(self, token: str, semitones: int) -> str:
        """The same token; a pitch or a key comes back `semitones` higher.

        So with `home` the written music moves away from C and says so: its key is another one.
        """
        kind, number = self.value(token) or (None, 0)
        if kind == "pitch" and semitones:
            return f"pitch:{shifted(number, semitones, *self._pitches)}"
        if kind in MODES:
            return f"{kind}:{PITCH_CLASS_NAMES[(number + semitones) % 12]}"
        return token

    def all_tokens(self) -> list[str]:
        """Every token there is: for such a vocabulary no note is unknown."""
        return [BOS, EOS, *_values(self)]

    def counting(self) -> dict[str, str]:
        """Bar lines, each with the token that must follow it as the next bar line.

        Counting down, `<eos>` comes instead of a bar after the last; `bar:64` has no entry of its
        own, because it stands for more than 64 too.
        """
        if not self.metre:
            return {}
        if self.countdown:
            return {f"bar:{n}": f"bar:{n - 1}" if n > 1 else EOS for n in range(1, BARS)}
        return {f"bar:{n}": f"bar:{min(n + 1, BARS)}" for n in range(1, BARS + 1)}

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """A pitch is made of its pitch class and its octave, a time of its place in the quarter.

        Shape (V, 12 + 11 + resolution), float32; other tokens are made of nothing.
        """
        result = np.zeros((len(tokens), 23 + self.resolution), dtype=np.float32)
        for row, token in zip(result, tokens):
            kind, number = self.value(token) or (None, 0)
            if kind == "pitch":
                row[[number % 12, 12 + min(max(number // 12, 0), 10)]] = 1.0
            elif kind in ("at", "for", "shift"):
                row[23 + number % self.resolution] = 1.0
        return result

    def grammar(self, tokens: Sequence[str]) -> None:
        """Any token may follow any."""

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """The MIDI number of a pitch, the ticks of a duration."""
        kind, number = self.value(token) or (None, 0)
        return ([number] if kind == "pitch" else []), (number if kind == "for" else 0)

    def hides(self, token: str) -> tuple[int, int]:
        """A pitch is a note, a duration a duration. (With `all_tokens` nothing is unknown.)"""
        kind, _ = self.value(token) or (None, 0)
        return int(kind == "pitch"), int(kind == "for")

    def to_dict(self) -> dict:
        """Name and settings, for a checkpoint's header."""
        return {"encoding": type(self).__name__, **asdict(self)}


@lru_cache(maxsize=64)
def _values(encoding: EventEncoding) -> dict[str, tuple[str, int]]:
    """Every token of an encoding but `<bos>` and `<eos>` → (kind, number)."""
    longest, resolution = LONGEST * encoding.resolution, encoding.resolution
    low, high = encoding._pitches
    values = {MORE: (MORE, 0)} | {f"pitch:{p}": ("pitch", p) for p in range(low, high + 1)}
    for kind in ("for", "at" if encoding.metre else "shift"):
        for ticks in range(longest) if kind == "at" else range(1, longest + 1):
            values[f"{kind}:{quarters_text(ticks, resolution)}"] = (kind, ticks)
    if encoding.metre:
        values |= {f"bar:{n}": ("bar", n) for n in range(1, BARS + 1)}
        values |= {f"metre:{b}/{u}": ("metre", i) for i, (b, u) in enumerate(METRES)}
        values |= {f"{m}:{t}": (m, i) for m in MODES for i, t in enumerate(PITCH_CLASS_NAMES)}
    if encoding.home:
        values |= {f"home:{n}": ("home", n) for n in range(-6, 6)}
    if encoding.tracks:
        values |= {f"track:{t}": ("track", t) for t in range(TRACKS)}
        values |= {f"program:{p}": ("program", p) for p in range(128)}
    values |= {f"loud:{b}": ("loud", b) for b in range(encoding.velocity_bins)}
    if encoding.approach:
        values |= {f"left:{n}": ("left", n) for n in range(encoding.approach + 1)}
    return values


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


def key_token(sharps: int, minor: bool) -> str:
    """A key signature as a token: (1, False) is "major:G"."""
    tonic = (7 * sharps + 9 * minor) % 12
    return f"{MODES[minor]}:{PITCH_CLASS_NAMES[tonic]}"


def sounding_key(tonic: int, minor: bool) -> str:
    """The name of a key by its tonic's pitch class, with as few sharps or flats as there are."""
    return key_name((7 * (tonic - 9 * minor) + 5) % 12 - 5, minor)


def _names(programs: Sequence[int]) -> tuple[str, ...]:
    """General MIDI's names of programs, numbered where one comes twice."""
    from pretty_midi import program_to_instrument_name

    names = [program_to_instrument_name(program) for program in programs]
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name} {seen[name]}" if names.count(name) > 1 else name)
    return tuple(result)


class _Reader:
    """What `EventEncoding.decode` knows while it reads."""

    def __init__(self, encoding: EventEncoding) -> None:
        self.encoding = encoding
        self.mended: Counter[str] = Counter()
        self.notes: list[list[int]] = []  # onset, duration, pitch, velocity, program, track
        self.metres: list[tuple[int, int, int]] = []
        self.bar: tuple[int, int] | None = None  # start and end of the current bar
        self.number = 0  # of the current bar
        self.time = self.more = self.track = 0
        self.end: tuple[int, int] | None = None  # the last chord comes after one, until the other
        self.programs = [0] * TRACKS
        self.key: tuple[int, bool] | None = None  # tonic as written, minor
        self.home: int | None = None  # semitones that all sounds above what is written
        self.pitch: int | None = None  # waits for its duration
        self.just_ended = False  # the token before this one completed a note

    def count(self, what: str, number: int) -> None:
        self.mended[what] += int(number)

    def read(self, token: str) -> None:
        found = self.encoding.value(token)
        if found is None:
            self.count("unreadable tokens", 1)
            return
        kind, number = found
        just_ended, self.just_ended = self.just_ended, kind == "for" and self.pitch is not None
        if kind == MORE:
            self.more += 1
            return
        if kind in ("at", "for", "shift"):
            number += self.more * LONGEST * self.encoding.resolution
        else:
            self.count("`more` without a time", self.more)
        self.more = 0
        if kind == "loud" and not just_ended:
            self.count("loudness without a note", 1)
            return
        if self.pitch is not None and kind != "for":
            self.count("pitches without a duration", 1)
            self.pitch = None
        getattr(self, f"_{kind}")(number)

    def _metre(self, number: int) -> None:
        start = self.bar[1] if self.bar else 0
        self.count("metres without a bar", bool(self.metres) and self.metres[-1][0] == start)
        self.metres.append((start, *METRES[number]))

    def _bar(self, number: int) -> None:
        start = self.bar[1] if self.bar else 0
        current = [metre for metre in self.metres if metre[0] <= start][-1:]
        beats, unit = current[0][1:] if current else COMMON
        self.bar = (start, start + self.encoding._bar_ticks(beats, unit))
        last, self.number = self.number, number
        if self.encoding.countdown:  # BARS stands for more than that, too
            expected = {last - 1} | ({BARS} if last == BARS else set()) if last else {number}
        else:
            expected = {min(last + 1, BARS)}
        self.count("bars with another number", number not in expected)
        self.time = start

    def _major(self, tonic: int) -> None:
        self._key(tonic, minor=False)

    def _minor(self, tonic: int) -> None:
        self._key(tonic, minor=True)

    def _key(self, tonic: int, minor: bool) -> None:
        self.count("other keys than the first", self.key not in (None, (tonic, minor)))
        self.key = self.key or (tonic, minor)

    def _home(self, semitones: int) -> None:
        self.count("other homes than the first", self.home not in (None, semitones))
        self.home = semitones if self.home is None else self.home

    def _at(self, number: int) -> None:
        if self.bar is None:
            self._bar(1)  # whichever: the number of a first bar is as good as any
            self.count("places before the first bar", 1)
        start, end = self.bar
        if start + number >= end:
            self.count("places beyond the bar", 1)
            return
        self.count("places that go back", start + number < self.time)
        self.time = start + number

    def _shift(self, number: int) -> None:
        self.time += number

    def _left(self, number: int) -> None:
        quarter = self.encoding.resolution
        after, until = self.time + (number - 1) * quarter, self.time + number * quarter
        if number == 0:
            after = self.time - 1
        if self.end:
            both = max(after, self.end[0]), min(until, self.end[1])
            self.count("announced ends that move", both[0] >= both[1])
            after, until = both if both[0] < both[1] else (after, until)
        self.end = after, until

    def _track(self, number: int) -> None:
        self.track = number

    def _program(self, number: int) -> None:
        self.programs[self.track] = number

    def _pitch(self, number: int) -> None:
        self.pitch = number

    def _for(self, number: int) -> None:
        if self.pitch is None:
            self.count("durations without a pitch", 1)
            return
        if self.encoding.metre and self.bar is None:
            self.count("notes before the first bar", 1)
        program = self.programs[self.track]
        self.notes.append([self.time, number, self.pitch, 80, program, self.track])
        self.pitch = None

    def _loud(self, number: int) -> None:
        self.notes[-1][3] = self.encoding._velocity(number)

    def piece(self, name: str) -> Piece:
        if self.encoding.countdown:
            self.count("bars announced and not written", max(0, self.number - 1))
        last = max((note[0] for note in self.notes), default=0)
        missed = self.end is not None and not self.end[0] < last <= self.end[1]
        self.count("ends elsewhere than announced", missed)
        self.count("pitches without a duration", self.pitch is not None)
        self.count("`more` without a time", self.more)
        # The last metre of a moment holds
        metres = tuple((t, *m) for t, m in {t: m for t, *m in self.metres}.items())
        home = self.home or 0
        key = sounding_key(self.key[0] + home, self.key[1]) if self.key else None
        fields = {"key": key} | ({"time_signatures": metres} if metres else {})
        resolution = self.encoding.resolution
        for note in self.notes:
            note[2] += home
        fits = [0 <= note[2] <= 127 for note in self.notes]
        self.count("pitches out of range", fits.count(False))
        self.notes = [note for note, fit in zip(self.notes, fits) if fit]
        if not self.encoding.tracks:
            rows = (note[:4] for note in self.notes)
            return built(rows, resolution, name, self.mended, **fields)
        used = max((note[5] for note in self.notes), default=-1) + 1
        return Piece(
            np.array([tuple(note) for note in self.notes], dtype=NOTE_DTYPE),
            resolution,
            track_names=_names(self.programs[:used]),
            name=name,
            repaired=dict(+self.mended),
            **fields,
        )
