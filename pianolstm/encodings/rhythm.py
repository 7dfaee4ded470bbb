"""The article's own proposal for rhythm: a class for each chord with its duration, and for rests.

"E4.G4:0.5" are two notes for half a quarter, "rest:1" is a quarter of silence, and one token begins
where the one before it ends. So each chord has one duration: as long as its longest note, or until
the next chord begins. A note that would sound on beneath the next chord is cut there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.encodings.base import BOS, EOS, RESOLUTION, Encoding, register, trimmed
from pianolstm.encodings.spelling import on_grid, pitch_numbers, quarters_text, shifted, ticks_of
from pianolstm.hands import two_hands
from pianolstm.piece import VELOCITY, Piece, pitch_name

REST = "rest"


@register
@dataclass(frozen=True)
class RhythmEncoding(Encoding):
    """One token for a chord and its duration, between `<bos>` and `<eos>`."""

    name = "rhythm"
    needs_grid = True

    def encode(self, piece: Piece) -> list[str]:
        """Tokens of a piece on the grid (`quantise`); raises PieceError for any other."""
        notes, tokens, time = on_grid(piece), [BOS], 0
        onsets, first = np.unique(notes["onset"], return_index=True)
        ends = [*onsets[1:].tolist(), np.inf]  # the next chord's onset
        for onset, end, chord in zip(onsets.tolist(), ends, np.split(notes, first[1:])):
            if onset > time:
                tokens.append(f"{REST}:{quarters_text(onset - time)}")
            time = min(onset + int(chord["duration"].max()), end)
            tokens.append(self.token(chord["pitch"].tolist(), time - onset))
        return [*tokens, EOS]

    def token(self, pitches: Sequence[int], ticks: int) -> str:
        """The token of notes (MIDI numbers) that sound for `ticks`."""
        return f"{'.'.join(map(pitch_name, sorted(set(pitches))))}:{quarters_text(ticks)}"

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """A piece for two hands. What cannot be read is passed over and counted in `repaired`."""
        inside, repaired = trimmed(tokens)
        rows, time = [], 0
        for token in inside:
            pitches, ticks = self.notes_of(token)
            repaired["unreadable tokens"] += not ticks
            rows += [(time, ticks, pitch, VELOCITY) for pitch in pitches]
            time += ticks
        return two_hands(rows, RESOLUTION, name, repaired)

    def transpose(self, token: str, semitones: int) -> str:
        """The same chord, `semitones` higher; rests, ends and `<unk>` stay what they are."""
        pitches, ticks = self.notes_of(token)
        return self.token([shifted(p, semitones) for p in pitches], ticks) if pitches else token

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers (none for a rest) and ticks; nothing for what is no chord and no rest."""
        names, _, time = token.rpartition(":")
        pitches, ticks = pitch_numbers(names.split(".")), ticks_of(time)
        return (pitches, ticks) if ticks and (pitches or names == REST) else ([], 0)

    def typed(self, text: str, name: str = "typed") -> Piece:
        """The piece that a person types: "C3.G3.E4:1 D4:0.5 rest B3", a quarter without a time.

        Raises ValueError, which names the first that cannot be read.
        """
        tokens = [token if ":" in token else f"{token}:1" for token in text.split()]
        for token in tokens:
            if not self.notes_of(token)[1]:
                raise ValueError(
                    f"{token!r} is no chord with its quarters (steps of 1/{RESOLUTION}), such as "
                    "'E4.G4:0.5', 'F#3:1/3' or 'E-5:2'"
                )
        return self.decode(tokens, name)
