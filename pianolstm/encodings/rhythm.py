"""The article's own proposal for rhythm: a class for each chord with its duration, and for rests.

"E4.G4:0.5" are two notes for half a quarter, "rest:1" is a quarter of silence, and one token begins
where the one before it ends. So each chord has one duration: as long as its longest note, or until
the next chord begins. A note that would sound on beneath the next chord is cut there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.encodings.base import (
    BOS,
    EOS,
    RESOLUTION,
    Encoding,
    TokenError,
    on_grid,
    pitch_number,
    quarters_text,
    register,
    shifted,
    ticks_of,
)
from pianolstm.hands import two_hands
from pianolstm.piece import VELOCITY, Piece, pitch_name

REST = "rest"


def as_chords(notes: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Notes (sorted by onset) as chords: (onset, length, their pitches).

    A chord is as long as its longest note, or until the next chord begins.
    """
    starts, first = np.unique(notes["onset"], return_index=True)
    chords = np.split(notes, first[1:])
    for onset, after, chord in zip(starts, [*starts[1:], None], chords):
        length = chord["duration"].max()
        yield int(onset), int(length if after is None else min(length, after - onset)), chord


@register
@dataclass(frozen=True)
class RhythmEncoding(Encoding):
    """One token for a chord and its duration, between `<bos>` and `<eos>`."""

    name = "rhythm"
    needs_grid = True

    def encode(self, piece: Piece) -> list[str]:
        """Tokens of a piece on the grid (`quantise`); raises PieceError for any other."""
        tokens, time = [BOS], 0
        for onset, length, chord in as_chords(on_grid(piece)):
            if onset > time:
                tokens.append(f"{REST}:{quarters_text(onset - time)}")
            tokens.append(self.token(chord["pitch"].tolist(), length))
            time = onset + length
        return [*tokens, EOS]

    def token(self, pitches: Sequence[int], ticks: int) -> str:
        """The token of notes (MIDI numbers) that sound for `ticks`."""
        return f"{'.'.join(map(pitch_name, sorted(set(pitches))))}:{quarters_text(ticks)}"

    def pitches(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers (none for a rest) and ticks of a token. Raises `TokenError`."""
        notes, _, time = token.rpartition(":")
        ticks = ticks_of(time)
        if not notes or not ticks:
            raise TokenError(
                f"{token!r} is no chord with a duration in 1/{RESOLUTION} quarter, such as "
                "'E4.G4:0.5' or 'E4:1/3'"
            )
        return ([] if notes == REST else [pitch_number(n) for n in notes.split(".")]), ticks

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """A piece for two hands. What cannot be read is passed over and counted in `repaired`."""
        tokens, repaired = list(tokens), Counter()
        if EOS in tokens:
            end = tokens.index(EOS)
            repaired["tokens after the end"] += len(tokens) - end - 1
        else:
            end = len(tokens)
            repaired["no end"] += 1
        rows, time = [], 0
        for token in tokens[int(tokens[:1] == [BOS]) : end]:
            try:
                pitches, ticks = self.pitches(token)
            except TokenError:
                repaired["unreadable tokens"] += 1
                continue
            rows += [(time, ticks, pitch, VELOCITY) for pitch in pitches]
            time += ticks
        return two_hands(rows, RESOLUTION, name, repaired)

    def transpose(self, token: str, semitones: int) -> str:
        """The same chord, `semitones` higher; rests, ends and `<unk>` stay what they are."""
        pitches, ticks = self.notes_of(token)
        return self.token([shifted(p, semitones) for p in pitches], ticks) if pitches else token

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers and ticks of a token; nothing for what is no chord and no rest."""
        try:
            return self.pitches(token)
        except TokenError:
            return [], 0
