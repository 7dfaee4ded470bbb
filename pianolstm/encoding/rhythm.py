"""The article's own proposal for rhythm: a class for each chord with its duration, and for rests.

"E4.G4:0.5" are two notes for half a quarter, "rest:1" is a quarter of silence, and one token begins
where the one before it ends. So each chord has one duration: as long as its longest note, or until
the next chord begins. A note that would sound on beneath the next chord is cut there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pianolstm.encoding.base import (
    BOS,
    EOS,
    RESOLUTION,
    TokenError,
    built,
    on_grid,
    pitch_number,
    quarters_text,
    shifted,
    ticks_of,
)
from pianolstm.piece import Piece, pitch_name

REST = "rest"
VELOCITY = 80


def as_chords(notes: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Notes (sorted by onset) as chords: (onset, length, indices of its notes).

    A chord is as long as its longest note, or until the next chord begins.
    """
    starts, first = np.unique(notes["onset"], return_index=True)
    groups = np.split(np.arange(len(notes)), first[1:])
    for onset, after, group in zip(starts, [*starts[1:], None], groups):
        length = notes["duration"][group].max()
        yield int(onset), int(length if after is None else min(length, after - onset)), group


@dataclass(frozen=True)
class RhythmEncoding:
    """One token for a chord and its duration, between `<bos>` and `<eos>`."""

    resolution: int = RESOLUTION  # ticks a quarter that times are multiples of

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise ValueError(f"{self}: resolution, in ticks a quarter, must be at least 1")

    def encode(self, piece: Piece) -> list[str]:
        """Tokens of a piece on the grid (`quantise`); raises ValueError for any other."""
        notes = on_grid(piece, self.resolution)
        tokens, time = [BOS], 0
        for onset, length, chord in as_chords(notes):
            if onset > time:
                tokens.append(f"{REST}:{quarters_text(onset - time, self.resolution)}")
            tokens.append(self.token(notes["pitch"][chord].tolist(), length))
            time = onset + length
        return [*tokens, EOS]

    def token(self, pitches: Sequence[int], ticks: int) -> str:
        """The token of notes (MIDI numbers) that sound for `ticks`."""
        names = ".".join(map(pitch_name, sorted(set(pitches))))
        return f"{names}:{quarters_text(ticks, self.resolution)}"

    def pitches(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers (none for a rest) and ticks of a token. Raises `TokenError`."""
        notes, _, time = token.rpartition(":")
        ticks = ticks_of(time, self.resolution)
        if not notes or not ticks:
            raise TokenError(
                f"{token!r} is no chord with a duration in 1/{self.resolution} quarter, such as "
                "'E4.G4:0.5' or 'E4:1/3'"
            )
        return ([] if notes == REST else [pitch_number(n) for n in notes.split(".")]), ticks

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """A piece for two hands. What cannot be read is passed over and counted in `repaired`."""
        rows, time, mended = [], 0, Counter()
        for index, token in enumerate(tokens):
            if token == EOS:
                mended["tokens after the end"] += len(tokens) - index - 1
                break
            if token == BOS:
                mended["beginnings in the middle"] += index > 0
                continue
            try:
                pitches, ticks = self.pitches(token)
            except TokenError:
                mended["unreadable tokens"] += 1
                continue
            rows.extend((time, ticks, pitch, VELOCITY) for pitch in pitches)
            time += ticks
        else:
            mended["no end"] += 1
        return built(rows, self.resolution, name, mended)

    def transpose(self, token: str, semitones: int) -> str:
        """The same chord, `semitones` higher; rests, ends and `<unk>` stay what they are."""
        try:
            pitches, ticks = self.pitches(token)
        except TokenError:
            return token
        return self.token([shifted(p, semitones) for p in pitches], ticks) if pitches else token

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """A 1 for each pitch, and one for the duration: shape (V, 128 + durations), float32."""
        read = [self.notes_of(token) for token in tokens]
        durations = sorted({ticks for _, ticks in read if ticks})
        result = np.zeros((len(tokens), 128 + len(durations)), dtype=np.float32)
        for row, (pitches, ticks) in zip(result, read):
            row[pitches] = 1.0
            if ticks:
                row[128 + durations.index(ticks)] = 1.0
        return result

    def grammar(self, tokens: Sequence[str]) -> None:
        """Any token may follow any."""

    def counting(self) -> dict[str, str]:
        """Nothing is numbered."""
        return {}

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers and ticks of a token; nothing for what is no chord and no rest."""
        try:
            return self.pitches(token)
        except TokenError:
            return [], 0

    def hides(self, token: str) -> tuple[int, int]:
        """Each note of a chord counts with a duration of its own; a rest is a duration alone."""
        pitches, ticks = self.notes_of(token)
        return len(pitches), max(1, len(pitches)) if ticks else 0

    def all_tokens(self) -> None:
        """Without a bound: there are as many classes as chords and durations."""
        return None

    def to_dict(self) -> dict:
        """Name and settings, for a checkpoint's header."""
        return {"encoding": type(self).__name__, **asdict(self)}
