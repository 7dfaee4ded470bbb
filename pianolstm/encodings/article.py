"""The article's encoding, in which time is left out, and its own reading loop.

Everything that starts together is one token. A note is its name ("E5"); a chord is its pitch
classes in normal order ("4.9"), or, with `voicing=True`, all its notes from the bottom up
("C3.E4.G5").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from pianolstm.encodings.base import Encoding, register
from pianolstm.encodings.spelling import pitch_numbers, shifted
from pianolstm.hands import MIDDLE_C, two_hands
from pianolstm.piece import VELOCITY, Piece, pitch_name

RESOLUTION = 480  # ticks a quarter of decoded pieces
STEP = RESOLUTION // 2  # ticks from one token to the next when decoding, as in the article
LONGEST_HOLD = 2 * RESOLUTION  # ticks
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

    return min(rotations, key=spread, default=())


@lru_cache(maxsize=100_000)  # a large collection has millions of different chords
def chord_token(pitches: bytes, voicing: bool) -> str:
    """The token of pitches (MIDI numbers, one byte each) that start together."""
    distinct = sorted(set(pitches))
    if len(distinct) == 1 or voicing:
        return ".".join(map(pitch_name, distinct))
    return classes_token(distinct)


def classes_token(pitches: Sequence[int]) -> str:
    """Pitch classes in normal order, also of a single one."""
    return ".".join(map(str, normal_order(frozenset(pitch % 12 for pitch in pitches))))


@register
@dataclass(frozen=True)
class ArticleEncoding(Encoding):
    """The article's tokens, one for all notes that start together, on all tracks.

    Decoding places one token every half quarter, as the article does. A hand holds what it plays
    until it plays again, two quarters at most. (The article's notes all last 1.0, music21's
    default, and so overlap.)
    """

    name = "article"
    voicing: bool = False  # keep the octaves of chords

    @property
    def shares(self) -> bool:
        """Only with octaves: pitch classes say too little of what a chord is made of."""
        return self.voicing

    def encode(self, piece: Piece) -> list[str]:
        """One token an onset, in time order."""
        if not len(piece):
            return []
        onsets, pitches = piece.notes["onset"], piece.notes["pitch"].tobytes()  # one byte a pitch
        changes = (onsets[1:] != onsets[:-1]).nonzero()[0] + 1
        bounds = [0, *changes.tolist(), len(piece)]
        return [chord_token(pitches[a:b], self.voicing) for a, b in pairwise(bounds)]

    def transpose(self, token: str, semitones: int) -> str:
        """The token of the same notes `semitones` higher; `<unk>` stays what it is.

        A note that would leave 0 to 127 moves by an octave to stay there.
        """
        pitches = [shifted(pitch, semitones) for pitch in self.notes_of(token)[0]]
        if not pitches:
            return token
        if token[0].isdigit():  # pitch classes stay what they are: "0" alone stands for octaves
            return classes_token(pitches)
        return chord_token(bytes(pitches), self.voicing)

    def notes_of(self, token: str) -> tuple[list[int], int]:
        """MIDI numbers of a token; it has no duration.

        A chord of pitch classes is put into the octave of middle C. Octaves of one pitch class
        ("0") come back as a single note, as in the article.
        """
        parts = token.split(".")
        if all(part in PITCH_CLASSES for part in parts):
            return [MIDDLE_C + int(part) for part in parts], 0
        return pitch_numbers(parts), 0

    def decode(self, tokens: Sequence[str], name: str = "decoded") -> Piece:
        """Tokens → a piece for two hands, split at middle C. Raises ValueError for other text."""
        rows, plays_again = [], [len(tokens)] * 2  # right and left: the hand's next token
        for index in reversed(range(len(tokens))):  # backwards, so that it is known
            pitches, _ = self.notes_of(tokens[index])
            if not pitches:
                raise ValueError(f"{tokens[index]!r} is no token such as 'C4', 'F#3' or '0.4.7'")
            steps = [plays_again[pitch < MIDDLE_C] - index for pitch in pitches]
            for pitch, number in zip(pitches, steps):
                rows.append((STEP * index, min(STEP * number, LONGEST_HOLD), pitch, VELOCITY))
                plays_again[pitch < MIDDLE_C] = index
        return two_hands(rows, RESOLUTION, name, at_middle_c=True)


def article_tokens(path: str | Path, cache: bool = False) -> list[str]:
    """The article's reading loop as printed, kept for comparison with `read_midi`.

    As printed, music21 also writes a pickled copy of what it parsed and takes that the next time;
    here it always reads the file itself, unless `cache` says otherwise.

    Source: Skúli, "How to Generate Music using a LSTM Neural Network in Keras" (2017), section
    "Preparing the Data". `midi.flat` is `midi.flatten()` in music21 today; nothing else is changed.
    It reads the first instrument part only, and counts tie continuations as fresh notes.
    """
    from music21 import chord, converter, instrument, note

    notes = []
    midi = converter.parse(path, forceSource=not cache)
    parts = instrument.partitionByInstrument(midi)
    notes_to_parse = parts.parts[0].recurse() if parts else midi.flatten().notes
    for element in notes_to_parse:
        if isinstance(element, note.Note):
            notes.append(str(element.pitch))
        elif isinstance(element, chord.Chord):
            notes.append(".".join(str(n) for n in element.normalOrder))
    return notes
