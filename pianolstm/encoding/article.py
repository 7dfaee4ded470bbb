"""The article's encoding, in which time is left out.

Everything that starts together is one token. A note is its name ("E5"); a chord is its pitch
classes in normal order ("4.9"), or, with `voicing=True`, all its notes from the bottom up
("C3.E4.G5").
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from pianolstm.decoding import MIDDLE_C
from pianolstm.encoding.base import HANDS, TokenError, pitch_number, shifted
from pianolstm.piece import Piece, pitch_name

LONGEST_HOLD = 2.0  # quarters
PITCH_CLASSES = tuple(map(str, range(12)))


@lru_cache(maxsize=4096)
def normal_order(pitch_classes: frozenset[int]) -> tuple[int, ...]:
    """The most tightly packed ordering of a set of pitch classes (0 = C … 11 = B).

    Of all rotations the one with the smallest span; ties are broken by packing towards the
    bottom, as music21's `Chord.normalOrder` does (Forte, The Structure of Atonal Music, 1973).
    """
    ordered = sorted(pitch_classes)
    rotations = [tuple(ordered[i:] + ordered[:i]) for i in range(len(ordered))]

    def spread(rotation: tuple[int, ...]) -> tuple[int, ...]:
        steps = [(pc - rotation[0]) % 12 for pc in rotation]
        return (steps[-1], *steps[1:-1], rotation[0])

    return min(rotations, key=spread) if rotations else ()


class _Tokens(dict):
    """The token of notes that start together, by their pitches, one byte each; made once."""

    def __init__(self, voicing: bool) -> None:
        self.voicing = voicing

    def __missing__(self, pitches: bytes) -> str:
        distinct = sorted(set(pitches))
        if len(distinct) == 1 or self.voicing:
            token = ".".join(map(pitch_name, distinct))
        else:
            token = _chord(distinct)
        if len(self) > 100_000:  # a large collection has millions of different chords
            self.clear()
        self[pitches] = token
        return token


_TOKENS = {voicing: _Tokens(voicing) for voicing in (False, True)}


def _chord(pitches: Sequence[int]) -> str:
    return ".".join(map(str, normal_order(frozenset(p % 12 for p in pitches))))


@dataclass(frozen=True)
class ArticleEncoding:
    """The article's tokens, one for all notes that start together, on all tracks.

    Decoding places one token every `step` quarters, as the article does. A note lasts
    `note_length` quarters; None means that a hand holds what it plays until it plays again, two
    quarters at most. (The article's notes all last 1.0, music21's default, and so overlap.)
    """

    voicing: bool = False  # keep the octaves of chords
    step: float = 0.5  # quarters from one token to the next
    note_length: float | None = None  # quarters

    def encode(self, piece: Piece) -> list[str]:
        """One token an onset, in time order."""
        if not len(piece):
            return []
        onsets, pitches = piece.notes["onset"], piece.notes["pitch"].tobytes()  # one byte a pitch
        starts = (np.flatnonzero(onsets[1:] != onsets[:-1]) + 1).tolist()
        tokens = _TOKENS[self.voicing]
        return [tokens[pitches[a:b]] for a, b in zip([0, *starts], [*starts, len(piece)])]

    def token(self, pitches: Sequence[int]) -> str:
        """The token of pitches (MIDI numbers) that start together."""
        return _TOKENS[self.voicing][bytes(pitches)]

    def transpose(self, token: str, semitones: int) -> str:
        """The token of the same notes `semitones` higher; `<unk>` stays what it is.

        A note that would leave 0 to 127 moves by an octave to stay there.
        """
        try:
            pitches = [p + semitones for p in self.pitches(token)]
        except TokenError:
            return token
        if token[0].isdigit():  # pitch classes, where "0" alone stands for octaves
            return _chord(pitches)
        return self.token([shifted(p, 0) for p in pitches])

    def pitches(self, token: str) -> list[int]:
        """MIDI numbers of a token. A chord of pitch classes is put into the octave of middle C.

        Octaves of one pitch class ("0") come back as a single note, as in the article.
        Raises `TokenError` for a string that is neither a note nor a chord.
        """
        parts = token.split(".")
        if all(part in PITCH_CLASSES for part in parts):
            return [MIDDLE_C + int(part) for part in parts]
        return [pitch_number(part) for part in parts]

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """Tokens → a piece for two hands, split at middle C. Raises `TokenError`."""
        last_played: dict[int, int] = {}  # hand → index of its latest token
        until: dict[tuple[int, int], int] = {}  # (hand, token index) → index of its next token
        rows = []
        for index, token in enumerate(tokens):
            for pitch in self.pitches(token):
                hand = int(pitch < MIDDLE_C)
                previous = last_played.get(hand, index)
                if previous != index:
                    until[hand, previous] = index
                last_played[hand] = index
                rows.append((index, pitch, hand))
        hands = sorted(last_played)  # a hand that never plays has no track
        notes = []
        for index, pitch, hand in rows:
            held = self.step * (until.get((hand, index), len(tokens)) - index)
            length = min(held, LONGEST_HOLD) if self.note_length is None else self.note_length
            notes.append((index * self.step, length, pitch, hands.index(hand)))
        names = tuple(HANDS[hand] for hand in hands)
        return Piece.from_quarters(notes, track_names=names, name=name)

    def features(self, tokens: Sequence[str]) -> np.ndarray:
        """What each token is made of: a 1 for each of its pitches, shape (V, 128), float32.

        A token that the encoding cannot read (`<unk>`) is made of nothing.
        """
        result = np.zeros((len(tokens), 128), dtype=np.float32)
        for row, token in zip(result, tokens):
            with suppress(TokenError):
                row[self.pitches(token)] = 1.0
        return result

    def grammar(self, tokens: Sequence[str]) -> None:
        """Any token may follow any."""

    def counting(self) -> dict[str, str]:
        """Nothing is numbered."""
        return {}

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers of a token; it has no duration."""
        try:
            return self.pitches(token), 0
        except TokenError:
            return [], 0

    def hides(self, token: str) -> tuple[int, int]:
        """As many notes as the token has; durations are not written."""
        return len(self.notes_of(token)[0]), 0

    def all_tokens(self) -> None:
        """Without a bound: there are as many classes as chords."""
        return None

    def to_dict(self) -> dict:
        """Name and settings, for a checkpoint's header."""
        return {"encoding": type(self).__name__, **asdict(self)}
