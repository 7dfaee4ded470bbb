"""Music as frames, each the set of notes that sound, as the literature measures it.

    <bos> G4 D4 B3 G2 | G4 D4 B3 G2 | A4 … |

A frame's notes are written from the top voice down, `|` ends the frame; a silent frame is `|`
alone. Every binary piano roll is written in exactly one way and every such sequence is one roll, so
that the likelihoods of a frame's tokens, its `|` included, multiply to the likelihood of the frame
(the chain rule). Frames as a unit of measure: Boulanger-Lewandowski, Bengio and Vincent 2012,
"Modeling Temporal Dependencies in High-Dimensional Sequences", section 5.

Where a melody moves above chords that are held, only the melody needs to be said. With `changes`
the same frames are

    <bos> G4 D4 B3 G2 | = A4 … |

where `=` ends a frame, too: all lower notes are those of the frame before (see `kept`). Less is
left to learn and to remember. A roll has more than one text then; only this one is counted, so that
its nats may be too many, but never too few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pianolstm.encodings.base import BOS, Encoding, PieceError, register
from pianolstm.encodings.spelling import shifted
from pianolstm.hands import two_hands
from pianolstm.piece import VELOCITY, Piece, pitch_name

FRAME_END, SAME = "|", "="
FRAME_ENDS = (FRAME_END, SAME)
LOWEST, HIGHEST = 21, 108  # the 88 keys of a piano
KEYS = HIGHEST - LOWEST + 1
PITCHES = {pitch_name(pitch): pitch for pitch in range(LOWEST, HIGHEST + 1)}


@register
@dataclass(frozen=True)
class PianoRollEncoding(Encoding):
    """Frames on a fixed grid. What it loses: where a held key is struck again, loudness, metre.

    A note sounds in a frame if it sounds at the frame's beginning; `lost` counts the others.
    """

    name = "rolls"
    needs_grid = True
    frames: int = 2  # a quarter; the article's step of 0.5 quarters
    changes: bool = False  # write only what is not as in the frame before

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames is {self.frames}; a quarter needs at least 1")

    # ---- piece ↔ piano roll ↔ tokens

    def roll(self, piece: Piece) -> np.ndarray:
        """The piano roll of a piece: bool, shape (frames, 88), from its first quarter on.

        Notes outside of the 88 keys raise PieceError: a piano roll has no place for them.
        """
        pitch = piece.notes["pitch"]
        outside = (pitch < LOWEST) | (pitch > HIGHEST)
        if outside.any():
            raise PieceError(
                f"piece {piece.name!r}: {outside.sum()} notes lie outside of the 88 keys ({LOWEST} "
                f"to {HIGHEST}), the first is {pitch[outside][0]}. Transpose it or leave them out"
            )
        roll = np.zeros((-(-piece.end * self.frames // piece.ticks_per_quarter), KEYS), dtype=bool)
        for start, end, key in zip(*self.covered(piece), pitch.astype(int) - LOWEST):
            roll[start:end, key] = True
        return roll

    def covered(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """The first frame of each note, and the one after its last."""
        onset, tpq = piece.notes["onset"], piece.ticks_per_quarter
        ends = onset + piece.notes["duration"]
        return -(-onset * self.frames // tpq), -(-ends * self.frames // tpq)

    def lost(self, piece: Piece) -> int:
        """Notes that begin and end between two frames, and are in none."""
        first, last = self.covered(piece)
        return int((first == last).sum())

    def write(self, roll: np.ndarray) -> list[str]:
        """A roll (frames, 88) as tokens."""
        tokens, before = [BOS], []
        for frame in roll:
            pitches = (LOWEST + np.flatnonzero(frame)[::-1]).tolist()
            known = (n for n in range(len(pitches)) if pitches[n:] == kept(before, pitches[:n]))
            new = next(known, len(pitches)) if self.changes else len(pitches)  # must be written
            tokens += map(pitch_name, pitches[:new])
            tokens.append(FRAME_END if new == len(pitches) else SAME)
            before = pitches
        return tokens

    # ---- the interface of all encodings

    def encode(self, piece: Piece) -> list[str]:
        """The tokens of a piece's roll. Raises PieceError for notes outside of the 88 keys."""
        return self.write(self.roll(piece))

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """A key that sounds in neighbouring frames is one note. Any tokens give a piece."""
        tokens, frames, repaired = list(tokens), [[]], Counter()  # a frame is a list of pitches
        for token in tokens[int(tokens[:1] == [BOS]) :]:
            if token in FRAME_ENDS:
                if token == SAME and len(frames) > 1:
                    frames[-1] += kept(frames[-2], frames[-1])
                frames.append([])
            elif token in PITCHES:
                below = not frames[-1] or PITCHES[token] < frames[-1][-1]
                repaired["notes out of order"] += not below
                frames[-1].append(PITCHES[token])
            else:
                repaired["unreadable tokens"] += 1
        repaired["frames without an end"] += bool(frames[-1])
        rows, sounding = [], {}  # pitch → its first frame
        for time, frame in enumerate([*frames, []]):
            for pitch in sounding.keys() - {*frame}:
                start = sounding.pop(pitch)
                rows.append((start, time - start, pitch, VELOCITY))
            sounding = dict.fromkeys(frame, time) | sounding
        return two_hands(rows, self.frames, name, repaired)

    def transpose(self, token: str, semitones: int) -> str:
        """The same token, higher; a key that leaves the piano moves by an octave."""
        if token not in PITCHES:
            return token
        return pitch_name(shifted(PITCHES[token], semitones, LOWEST, HIGHEST))

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """The MIDI number of a note; a frame has no length of its own."""
        return ([PITCHES[token]] if token in PITCHES else []), 0

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """A note is made of its pitch class and its octave. Shape (V, 12 + 11), float32."""
        result = np.zeros((len(tokens), 23), dtype=np.float32)
        for row, token in zip(result, tokens):
            for pitch in self.notes_of(token)[0]:
                row[[pitch % 12, 12 + pitch // 12]] = 1.0
        return result

    def grammar(self, tokens: Sequence[str]) -> np.ndarray:
        """Which token may follow which: bool, shape (V, V), row by column.

        Within a frame it goes down: after a note come lower ones, or the end. So no sequence that
        can be drawn is malformed, and the probabilities of all frames sum to one.
        """
        pitches = np.array([PITCHES.get(token, 0) for token in tokens])
        before = np.where(pitches > 0, pitches, HIGHEST + 1)[:, None]  # a frame begins anywhere
        allowed = (pitches > 0) & (pitches < before)
        allowed |= np.array([token in FRAME_ENDS for token in tokens])
        known = self.all_tokens()
        allowed[[token not in known for token in tokens]] = True  # after <unk> anything
        return allowed

    def all_tokens(self) -> list[str]:
        """`<bos>`, the end of a frame and the 88 keys."""
        return [BOS, *FRAME_ENDS[: 1 + self.changes], *PITCHES]


def kept(before: Sequence[int], written: Sequence[int]) -> list[int]:
    """What `SAME` stands for, from the top: all of the frame before if nothing is written yet, else
    what lies below, without that frame's top note."""
    return [pitch for pitch in before[1:] if pitch < written[-1]] if written else list(before)
