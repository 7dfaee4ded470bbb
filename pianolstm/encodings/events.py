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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import numpy as np

import pianolstm.encodings.event_tokens as words
from pianolstm.encodings.base import BOS, EOS, RESOLUTION, Encoding, PieceError, register, trimmed
from pianolstm.encodings.spelling import on_grid, shifted
from pianolstm.hands import two_hands
from pianolstm.piece import NOTE_DTYPE, Piece

FURTHEST = 1000  # quarters of `approach`: each is a token


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
    helpers: ClassVar[dict[str, object]] = {"home": True, "countdown": True, "approach": 8}
    tracks: bool = False  # a note names its track, a track its program
    home: bool = False  # all in C major or A minor; `home:n` says how much higher it sounds
    countdown: bool = False  # a bar line says how many bars are left, itself included
    approach: int = 0  # for so many quarters before the last chord, onsets say how many are left

    def __post_init__(self) -> None:
        if not 0 <= self.approach <= FURTHEST:
            raise ValueError(f"approach is {self.approach}; give 0 to {FURTHEST} quarters")

    # ---- notes to tokens

    def encode(self, piece: Piece) -> list[str]:
        """Tokens of a piece on the grid (`quantise`); raises PieceError for any other."""
        notes = on_grid(piece)
        if not self.tracks:
            notes["track"] = 0
        if notes["track"].max(initial=0) >= words.TRACKS:
            raise PieceError(
                f"piece {piece.name!r} has a track {notes['track'].max() + 1}; there are tokens "
                f"for {words.TRACKS}. Read it with fewer instruments, or encode without tracks"
            )
        high_first = -notes["pitch"].astype(int)
        order = np.lexsort((-notes["duration"], high_first, notes["track"], notes["onset"]))
        home = words.home_shift(piece.key) if self.home and piece.key else 0
        last_onset = notes["onset"].max(initial=0)
        tokens, programs = [BOS], [0] * words.TRACKS
        bars, start, following, time = self._bars(piece, home), 0, 0, -1
        for onset, length, pitch, _, program, track in notes[order].tolist():
            while onset >= following:
                start, following, header = next(bars)
                tokens += header
            if onset != time:
                time = onset
                tokens += words.time_tokens("at", onset - start)
                left = -(-(last_onset - onset) // RESOLUTION)
                if self.approach and left <= self.approach:
                    tokens.append(f"left:{left}")
            if self.tracks:
                tokens.append(f"track:{track}")
            if self.tracks and programs[track] != program:
                tokens.append(f"program:{program}")
                programs[track] = program
            tokens.append(f"pitch:{pitch - home}")
            tokens += words.time_tokens("for", length)
        if self.countdown:
            words.number_bars(tokens, sum(token.startswith("bar:") for token in tokens))
        return [*tokens, EOS]

    def _bars(self, piece: Piece, home: int) -> Iterator[tuple[int, int, list[str]]]:
        """Endless bars as (start, end, tokens), in our ticks; a metre begins at a bar line."""
        scale = RESOLUTION / piece.ticks_per_quarter
        start, before = 0, None
        for number in count(1):
            earlier = [(b, u) for tick, b, u in piece.time_signatures if tick * scale <= start]
            metre = earlier[-1] if earlier and earlier[-1] in words.METRES else words.COMMON
            header = [] if metre == before else [f"metre:{metre[0]}/{metre[1]}"]
            header.append(f"bar:{min(number, words.BARS)}")
            if piece.key and self.home and number == 1:
                header.append(f"home:{home}")
            if piece.key:
                header.append(words.key_token(piece.key, home))
            end = start + words.bar_ticks(*metre)
            yield start, end, header
            start, before = end, metre

    # ---- tokens to notes

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """Tokens as a piece; whatever the tokens are, there is one, by the rules of `EventReader`.

        Tokens of another encoding and a beginning in the middle are passed over, and so is all that
        follows `<eos>`; all this is counted in the piece's `repaired`.
        """
        reader = words.EventReader()
        inside, ends = trimmed(tokens)
        for token in inside:
            reader.read(*self.value(token))
        reader.drop_waiting()
        key = None
        if "key" in reader.first:
            minor, tonic = divmod(reader.first["key"], 12)
            key = words.sounding_key(tonic + reader.home, bool(minor))
        metres = [(tick, *metre) for tick, metre in reader.metres.items()] or [(0, *words.COMMON)]
        fields = {"key": key, "time_signatures": tuple(metres)}
        repaired = reader.repaired + ends  # without what was counted 0 times
        if not self.tracks:
            return two_hands(
                [note[:4] for note in reader.notes], RESOLUTION, name, repaired, **fields
            )
        tracks = max((note[5] for note in reader.notes), default=-1) + 1
        names = words.program_names([reader.programs.get(track, 0) for track in range(tracks)])
        fields |= {"track_names": names, "name": name, "repaired": dict(repaired)}
        return Piece(np.array(reader.notes, dtype=NOTE_DTYPE), RESOLUTION, **fields)

    # ---- the rest of the interface

    def value(self, token: str) -> tuple[str, int]:
        """(kind, number) of a token, times in ticks; ("", 0) for what is no token of ours."""
        return words.token_values(self.home, self.tracks, self.approach).get(token, ("", 0))

    def transpose(self, token: str, semitones: int) -> str:
        """The same token; a pitch or a key comes back `semitones` higher.

        So with `home` the written music moves away from C and says so: its key is another one.
        """
        kind, number = self.value(token)
        if kind == "pitch" and semitones:
            pitches = words.pitch_range(self.home)
            return f"pitch:{shifted(number, semitones, pitches[0], pitches[-1])}"
        if kind == "key":
            return words.KEYS[number // 12 * 12 + (number + semitones) % 12]
        return token

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """The MIDI number of a pitch, the ticks of a duration."""
        kind, number = self.value(token)
        return ([number] if kind == "pitch" else []), (number if kind == "for" else 0)

    def all_tokens(self) -> list[str]:
        """Every token there is: for such a vocabulary no note is unknown."""
        return [BOS, EOS, *words.token_values(self.home, self.tracks, self.approach)]

    def successors(self) -> dict[str, str]:
        """Bar lines, each with the token that must follow it as the next bar line.

        Counting down, `<eos>` comes instead of a bar after the last; `bar:64` has no entry of its
        own, because it stands for more than 64 too.
        """
        bars = range(1, words.BARS + 1)
        if self.countdown:
            return {f"bar:{n}": f"bar:{n - 1}" if n > 1 else EOS for n in bars[:-1]}
        return {f"bar:{n}": f"bar:{min(n + 1, words.BARS)}" for n in bars}

    def remembered_as(self, token: str) -> str | None:
        """A bar line whatever its number is. `left:n` announces the end, and is not compared."""
        kind, _ = self.value(token)
        return {"bar": "bar", "left": None}.get(kind, token)

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """A pitch is made of its pitch class and its octave, a time of its place in the quarter.

        Shape (V, 12 + 11 + 12), float32; other tokens are made of nothing.
        """
        result = np.zeros((len(tokens), 23 + RESOLUTION), dtype=np.float32)
        for row, token in zip(result, tokens):
            kind, number = self.value(token)
            if kind == "pitch":
                row[[number % 12, 12 + min(max(number // 12, 0), 10)]] = 1.0
            elif kind in ("at", "for"):
                row[23 + number % RESOLUTION] = 1.0
        return result
