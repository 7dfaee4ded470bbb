"""A note in several small tokens, so that no note can be unknown.

    <bos> metre:4/4 bar:1 major:G at:3 pitch:67 for:1 pitch:62 for:1 bar:2 major:G at:0 … <eos>

`bar:n` is the next bar line; the key, where it is known, is said again in every bar, as a reminder.
`at:x` is the place in the bar, in quarters; then come the notes that start there, from the top
down, each as its pitch (MIDI number) and how long it lasts. A time of more than four quarters is
written with `more` (four quarters) in front: a half note is `for:2`, six quarters are `more for:2`.
With `tracks` each note begins with its track, and a track's first note with its program unless
that is 0, the piano.

Three helpers for whole pieces:

* `countdown`: a bar's number says how many bars are left, itself included: the last is `bar:1`.
* `approach`: `left:n` behind a place says that the last chord comes n quarters later, rounded up;
  `left:0` is the last chord.
* `home`: all pieces are written as if in C major or A minor, and `home:n`, said once, tells how
  many semitones lower that is, so that what ends a piece looks the same in every key.

Positions in the bar follow REMI (Huang and Yang 2020, "Pop Music Transformer", section 3.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pianolstm.encodings.base import (
    BOS,
    EOS,
    RESOLUTION,
    Encoding,
    PieceError,
    on_grid,
    quarters_text,
    register,
    shifted,
)
from pianolstm.hands import two_hands
from pianolstm.piece import NOTE_DTYPE, PITCH_CLASS_NAMES, VELOCITY, Piece, key_name, key_sharps

MORE = "more"
LONGEST = 4 * RESOLUTION  # ticks in one token
BARS = 64  # the last bar number; all later bars carry it, too
TRACKS = 64
METRES = tuple((beats, unit) for unit in (2, 4, 8, 16) for beats in range(1, 25))
MODES = ("major", "minor")
COMMON = (4, 4)  # stands for a metre that has no token


def bar_ticks(beats: int, unit: int) -> int:
    """Length of a bar."""
    return max(1, RESOLUTION * 4 * beats // unit)


@register
@dataclass(frozen=True)
class EventEncoding(Encoding):
    """Bars, places, pitches and durations as tokens of their own, between `<bos>` and `<eos>`.

    Without loss on the grid: `decode(encode(piece))` has the same onsets, durations and pitches,
    and with `tracks` the same programs and tracks. Tempo and loudness are not written. A metre that
    changes does so at the next bar line, and one without a token (`METRES`) is written as 4/4; no
    note moves by that.
    """

    name = "events"
    needs_grid = True
    tracks: bool = False  # a note names its track, a track its program
    home: bool = False  # all in C major or A minor; `home:n` says how much higher it sounds
    countdown: bool = False  # a bar line says how many bars are left, itself included
    approach: int = 0  # for so many quarters before the last chord, onsets say how many are left

    def __post_init__(self) -> None:
        if self.approach < 0:
            raise ValueError(f"approach is {self.approach}; give a number of quarters from 0 on")

    # ---- notes to tokens

    def encode(self, piece: Piece) -> list[str]:
        """Tokens of a piece on the grid (`quantise`); raises PieceError for any other."""
        notes = on_grid(piece)
        if self.tracks and notes["track"].max(initial=0) >= TRACKS:
            raise PieceError(
                f"piece {piece.name!r} has a track {notes['track'].max() + 1}; there are tokens "
                f"for {TRACKS}. Read it with fewer instruments, or encode without tracks"
            )
        track = notes["track"] if self.tracks else np.zeros(len(notes))
        high_first = -notes["pitch"].astype(int)
        order = np.lexsort((-notes["duration"], high_first, track, notes["onset"]))
        home = home_shift(piece.key) if self.home and piece.key else 0
        last_onset = notes["onset"].max(initial=0)
        tokens, programs = [BOS], [0] * TRACKS
        bars, start, following, time = self._bars(piece), 0, 0, -1
        for onset, length, pitch, _, program, track in notes[order].tolist():
            while onset >= following:
                start, following, header = next(bars)
                tokens += header
                time = -1
            if onset != time:
                time = onset
                tokens += time_tokens("at", onset - start)
                left = -(-(last_onset - onset) // RESOLUTION)
                if self.approach and left <= self.approach:
                    tokens.append(f"left:{left}")
            if self.tracks:
                tokens.append(f"track:{track}")
                if programs[track] != program:
                    tokens.append(f"program:{program}")
                    programs[track] = program
            tokens.append(f"pitch:{pitch - home}")
            tokens += time_tokens("for", length)
        if self.countdown:
            number_bars(tokens, sum(token.startswith("bar:") for token in tokens))
        return [*tokens, EOS]

    def _bars(self, piece: Piece) -> Iterator[tuple[int, int, list[str]]]:
        """Endless bars as (start, end, tokens), in our ticks; a metre begins at a bar line."""
        scale = RESOLUTION / piece.ticks_per_quarter
        key, home = [], []
        if piece.key:
            sharps, minor = key_sharps(piece.key)
            key = [key_token(0 if self.home else sharps, minor)]
            home = [f"home:{home_shift(piece.key)}"] if self.home else []
        start, number, metre = 0, 0, None
        while True:
            number += 1
            before, metre = metre, COMMON
            for tick, *wanted in piece.time_signatures:  # the last one before the bar line holds
                if tick * scale <= start:
                    metre = tuple(wanted) if tuple(wanted) in METRES else COMMON
            header = [] if metre == before else [f"metre:{metre[0]}/{metre[1]}"]
            end = start + bar_ticks(*metre)
            yield start, end, [*header, f"bar:{min(number, BARS)}", *home, *key]
            start, home = end, []

    # ---- tokens to notes

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """Tokens as a piece; whatever the tokens are, there is one.

        What makes no sense is passed over or repaired by these rules, and counted in the piece's
        `repaired` under the kind of token ("pitch", "at", "bar" …):

        * a token of another encoding, or out of its range, is passed over ("unreadable tokens");
        * `<bos>` is passed over inside of a piece, and so is all that follows `<eos>`;
        * a pitch without a duration, a duration without a pitch, and `more` in front of anything
          but a time are passed over; so is a pitch that the way home moves out of 0 to 127;
        * a place beyond the end of its bar is passed over; places may go back within a bar;
        * a note before the first place stands at the beginning of its bar, or of the piece;
        * a bar is the next one, whatever its number; with `countdown`, bars still announced at the
          end count;
        * the first key holds, and the first distance from home; of two metres the last holds;
        * the last chord is where it is, wherever it was announced.
        """
        reader = _Reader(self)
        for index, token in enumerate(tokens):
            if token == EOS:
                reader.repaired["tokens after the end"] += len(tokens) - index - 1
                break
            if token != BOS:
                reader.read(token)
            elif index:
                reader.repaired["beginnings in the middle"] += 1
        else:
            reader.repaired["no end"] += 1
        return reader.piece(name)

    # ---- the rest of the interface

    def value(self, token: str) -> tuple[str, int] | None:
        """(kind, number) of a token, times in ticks; None for what is no token of ours."""
        return _values(self).get(token)

    @property
    def pitch_range(self) -> tuple[int, int]:
        """The lowest and the highest that can be written; home lies −6 to 5 semitones away."""
        return (-5, 133) if self.home else (0, 127)

    def transpose(self, token: str, semitones: int) -> str:
        """The same token; a pitch or a key comes back `semitones` higher.

        So with `home` the written music moves away from C and says so: its key is another one.
        """
        kind, number = self.value(token) or (None, 0)
        if kind == "pitch" and semitones:
            return f"pitch:{shifted(number, semitones, *self.pitch_range)}"
        if kind in MODES:
            return f"{kind}:{PITCH_CLASS_NAMES[(number + semitones) % 12]}"
        return token

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """The MIDI number of a pitch, the ticks of a duration."""
        kind, number = self.value(token) or (None, 0)
        return ([number] if kind == "pitch" else []), (number if kind == "for" else 0)

    def all_tokens(self) -> list[str]:
        """Every token there is: for such a vocabulary no note is unknown."""
        return [BOS, EOS, *_values(self)]

    def successors(self) -> dict[str, str]:
        """Bar lines, each with the token that must follow it as the next bar line.

        Counting down, `<eos>` comes instead of a bar after the last; `bar:64` has no entry of its
        own, because it stands for more than 64 too.
        """
        if self.countdown:
            return {f"bar:{n}": f"bar:{n - 1}" if n > 1 else EOS for n in range(1, BARS)}
        return {f"bar:{n}": f"bar:{min(n + 1, BARS)}" for n in range(1, BARS + 1)}

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """A pitch is made of its pitch class and its octave, a time of its place in the quarter.

        Shape (V, 12 + 11 + 12), float32; other tokens are made of nothing.
        """
        result = np.zeros((len(tokens), 23 + RESOLUTION), dtype=np.float32)
        for row, token in zip(result, tokens):
            kind, number = self.value(token) or (None, 0)
            if kind == "pitch":
                row[[number % 12, 12 + min(max(number // 12, 0), 10)]] = 1.0
            elif kind in ("at", "for"):
                row[23 + number % RESOLUTION] = 1.0
        return result


@lru_cache(maxsize=64)
def _values(encoding: EventEncoding) -> dict[str, tuple[str, int]]:
    """Every token of an encoding but `<bos>` and `<eos>` → (kind, number)."""
    low, high = encoding.pitch_range
    values = {MORE: (MORE, 0)}
    values |= {f"pitch:{p}": ("pitch", p) for p in range(low, high + 1)}
    values |= {f"for:{quarters_text(t)}": ("for", t) for t in range(1, LONGEST + 1)}
    values |= {f"at:{quarters_text(t)}": ("at", t) for t in range(LONGEST)}
    values |= {f"bar:{n}": ("bar", n) for n in range(1, BARS + 1)}
    values |= {f"metre:{b}/{u}": ("metre", i) for i, (b, u) in enumerate(METRES)}
    for mode in MODES:
        values |= {f"{mode}:{tonic}": (mode, i) for i, tonic in enumerate(PITCH_CLASS_NAMES)}
    if encoding.home:
        values |= {f"home:{n}": ("home", n) for n in range(-6, 6)}
    if encoding.tracks:
        values |= {f"track:{t}": ("track", t) for t in range(TRACKS)}
        values |= {f"program:{p}": ("program", p) for p in range(128)}
    if encoding.approach:
        values |= {f"left:{n}": ("left", n) for n in range(encoding.approach + 1)}
    return values


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


def key_token(sharps: int, minor: bool) -> str:
    """A key signature as a token: (1, False) is "major:G"."""
    tonic = (7 * sharps + 9 * minor) % 12
    return f"{MODES[minor]}:{PITCH_CLASS_NAMES[tonic]}"


def sounding_key(tonic: int, minor: bool) -> str:
    """The name of a key by its tonic's pitch class, with as few sharps or flats as there are."""
    return key_name((7 * (tonic - 9 * minor) + 5) % 12 - 5, minor)


def program_names(programs: Sequence[int]) -> tuple[str, ...]:
    """General MIDI's names of programs, numbered where one comes twice."""
    from pretty_midi import program_to_instrument_name

    names = [program_to_instrument_name(program) for program in programs]
    result = []
    for place, name in enumerate(names):
        number = names[: place + 1].count(name)
        result.append(f"{name} {number}" if names.count(name) > 1 else name)
    return tuple(result)


class _Reader:
    """What `EventEncoding.decode` knows while it reads: one method for each kind of token."""

    def __init__(self, encoding: EventEncoding) -> None:
        self.encoding = encoding
        self.repaired: Counter[str] = Counter()  # by kind of token
        self.notes: list[list[int]] = []  # onset, duration, pitch, velocity, program, track
        self.metres: dict[int, tuple[int, int]] = {}  # tick → beats and beat unit
        self.bar: tuple[int, int] | None = None  # start and end of the current bar
        self.number = 0  # of the current bar
        self.time = self.more = self.track = 0
        self.end: tuple[int, int] | None = None  # the last chord comes after one, until the other
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
        after = until - RESOLUTION if number else until - 1
        if self.end:
            both = max(after, self.end[0]), min(until, self.end[1])
            self.repaired["left"] += both[0] >= both[1]
            after, until = both if both[0] < both[1] else (after, until)
        self.end = after, until

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
        self.repaired["left"] += bool(self.end) and not self.end[0] < last <= self.end[1]
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
