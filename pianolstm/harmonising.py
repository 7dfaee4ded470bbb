"""The voices below a melody: what is known of them, and particles that fill in the rest.

A melody is a `Piece` with one note at a time. The network is one of `PianoRollEncoding`: its frames
are written from the top voice down, so that the melody's note is the first of each, and is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pianolstm.checkpoint import Checkpoint
from pianolstm.composing import likeliest_key, music_from, with_likely_key
from pianolstm.encodings import BOS, RESOLUTION, PianoRollEncoding
from pianolstm.encodings.rolls import FRAME_END, PITCHES
from pianolstm.encodings.spelling import on_grid
from pianolstm.hands import two_hands
from pianolstm.particles import Frame, Particles, run_particles
from pianolstm.piece import NOTE_DTYPE, VELOCITY, Piece, pitch_name
from pianolstm.split import top_line

SUNG = range(51, 88)  # MIDI numbers of a melody: the sopranos of the chorales in all keys
NO_BOUND = 128
PARTICLES, TEMPERATURE = 64, 0.7  # chosen on validation, see notebooks/harmonies.py


def harmonise(
    melody: Piece, network: Checkpoint, seed: int = 0, pieces: int = 1, **options
) -> list[Piece]:
    """The melody with other voices below it, as pieces for two hands; seeds count up from `seed`.

    The melody's notes come back as they were. It must stand on the grid (`quantise`), and its notes
    must lie in `SUNG`. `options` are those of `fill_in`. Raises ValueError for a melody or a
    network that cannot be used.
    """
    runs = (fill_in(melody, network, seed=n, **options) for n in range(seed, seed + pieces))
    return [with_voices(melody, network, run.path(run.chosen)) for run in runs]


def fill_in(
    melody: Piece,
    network: Checkpoint,
    particles: int = PARTICLES,
    seed: int = 0,
    temperature: float = TEMPERATURE,
) -> Particles:
    """All particles that harmonise a melody, with their genealogy. See `harmonise`.

    More `particles` find better voices and take longer.
    """
    frames, ids = known_frames(melody, network), network.vocabulary.ids
    start, end = ids[BOS], ids[FRAME_END]
    return run_particles(network.predictor, frames, start, end, particles, seed, temperature)


# ---- melodies


def read_melody(text: str, track: int | None = None) -> tuple[Piece, list[str]]:
    """A melody on the grid, and notices of what was changed to make it one.

    The text is what `music_from` reads; the top line is taken, of a MIDI file that of a `track`
    (counted from 1) if given. C major, which programs write unasked, gives way to notes that
    contradict it; what no voice can sing is moved. Raises ValueError for what cannot be read.
    """
    piece, read = music_from(text)
    piece, notices = with_likely_key(piece) if piece.key == "C major" else (piece, [])
    every = piece.notes
    if moved := 0 if read is None else int((read.moved > 1e-9).sum()):
        notices.append(f"{moved} of {len(read.moved)} notes were moved to the grid: {read}")
    if track is not None and read is None:
        raise ValueError("a track is part of a MIDI file; leave it out for notes")
    if track is not None:
        if not 1 <= track <= len(piece.track_names):
            names = ", ".join(f"{i} {name!r}" for i, name in enumerate(piece.track_names, 1))
            raise ValueError(f"{text} has no track {track}. Choose from {names or 'none'}")
        every = every[every["track"] == track - 1]
    melody = melody_of(replace(piece, notes=every))
    if len(melody) < len(every):
        notices.append(f"the top line is taken, {len(melody)} of {len(every)} notes")
    if move := move_to_sing(melody):
        height = "low" if move > 0 else "high"
        notices.append(f"moved by {move:+} semitones, as no voice sings so {height}")
        melody = replace(melody.transpose(move), key=None if move % 12 else melody.key)
    return melody, notices


def move_to_sing(melody: Piece) -> int:
    """By how many semitones a melody must move to lie in `SUNG`: octaves if they do, else the
    fewest that do. 0 where it lies there already, or spans too much."""
    pitches = melody.notes["pitch"].tolist() or SUNG
    fitting = range(SUNG[0] - min(pitches), SUNG[-1] - max(pitches) + 1)
    return min(fitting, key=lambda move: (move % 12 > 0, abs(move)), default=0)


def melody_of(piece: Piece) -> Piece:
    """The top line of a piece as a piece of its own; a note is cut where the next one begins."""
    line = top_line(piece.notes)
    stops = [*(onset for onset, _, _ in line[1:]), piece.end]
    rows = [(onset, min(length, stop - onset), pitch, VELOCITY, 0, 0)
            for (onset, length, pitch), stop in zip(line, stops)]  # fmt: skip
    return replace(piece, notes=np.array(rows, dtype=NOTE_DTYPE), track_names=("Melody",))


# ---- from a melody to frames, and back


def known_frames(melody: Piece, network: Checkpoint) -> list[Frame]:
    """What a melody says about each frame: its own note, if any, and which notes lie below it.

    Raises ValueError as `harmonise` does.
    """
    if not isinstance(network.encoding, PianoRollEncoding) or network.encoding.changes:
        raise ValueError(f"{network.encoding} cannot be told a melody. Use the network rolls")
    if not len(melody):
        raise ValueError("there is no note in the melody. Give at least one")
    lowest, highest = int(melody.notes["pitch"].min()), int(melody.notes["pitch"].max())
    if lowest not in SUNG or highest not in SUNG:
        raise ValueError(
            f"the melody goes from {pitch_name(lowest)} to {pitch_name(highest)}; a voice sings "
            f"{pitch_name(SUNG[0])} to {pitch_name(SUNG[-1])}. Give a melody that spans less, such "
            "as one --track of a file"
        )
    known = network.vocabulary
    heights = np.array([PITCHES.get(t, 0 if t == FRAME_END else np.inf) for t in known.tokens])
    frames = []
    for pitch, bound in zip(*melody_frames(melody, network.encoding.frames)):
        tokens = [] if pitch is None else [pitch_name(pitch)]
        frames.append(Frame(known.encode(tokens, strict=True).tolist(), heights < bound))
    return frames


def melody_frames(melody: Piece, frames: int) -> tuple[list[int | None], list[int]]:
    """For each frame the pitch that sounds when it begins (None: a rest), and what others must stay
    below: the lowest pitch until the next frame, or in a rest that of the note before."""
    tpq = melody.ticks_per_quarter
    number = -(-melody.end * frames // tpq)
    pitches: list[int | None] = [None] * number
    bounds = [NO_BOUND] * number
    for onset, length, pitch in melody.notes[["onset", "duration", "pitch"]].tolist():
        first, last = -(-onset * frames // tpq), -(-(onset + length) * frames // tpq)
        pitches[first:last] = [pitch] * (last - first)
        for t in range(onset * frames // tpq, last):
            bounds[t] = min(bounds[t], pitch)
    for t in range(1, number):
        bounds[t] = bounds[t - 1] if bounds[t] == NO_BOUND else bounds[t]
    return pitches, bounds


def with_voices(melody: Piece, network: Checkpoint, path: Sequence[np.ndarray]) -> Piece:
    """The melody, and below it the voices that a particle has drawn, for two hands.

    Nothing lasts longer than the melody. A frame does not say whether a note that stays is held or
    struck again. Bach's voices strike it in 80 % of the cases where the melody begins a note on a
    beat, and in 1 % of all other frames: so do these. A piece without a key signature gets the
    likeliest key.
    """
    below = network.encoding.decode(network.vocabulary.decode(np.concatenate(path)))
    rows = [tuple(note)[:4] for note in on_grid(melody).tolist()]
    end = max(onset + length for onset, length, *_ in rows)
    beats = [onset for onset, *_ in rows if onset % RESOLUTION == 0]
    for onset, length, pitch, velocity, *_ in on_grid(below).tolist():
        stop = min(onset + length, end)
        cuts = [onset, *(beat for beat in beats if onset < beat < stop), stop]
        rows += [(a, b - a, pitch, velocity) for a, b in pairwise(cuts)]
    scale = RESOLUTION / melody.ticks_per_quarter
    tempi = tuple((round(tick * scale), bpm) for tick, bpm in melody.tempi)
    metres = tuple((round(tick * scale), *rest) for tick, *rest in melody.time_signatures)
    piece = two_hands(rows, RESOLUTION, melody.name, tempi=tempi, time_signatures=metres)
    return replace(piece, key=melody.key or likeliest_key(piece))
