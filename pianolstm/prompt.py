"""How a new piece begins: a prompt, as people write it, → ids that a network can read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pianolstm.checkpoint import Checkpoint
from pianolstm.encodings import BOS, ArticleEncoding, Encoding, RhythmEncoding
from pianolstm.encodings.event_tokens import BARS, number_bars, opening, sounding_key
from pianolstm.evaluation.statistics import key_of
from pianolstm.grid import quantise
from pianolstm.midi import read_midi
from pianolstm.piece import Piece
from pianolstm.vocabulary import fill_unknown

FIRST_BARS = 2  # that are taken from a MIDI file
USUAL_BARS = 16  # of a piece that a prompt begins
MIDI_ENDINGS = (".mid", ".midi", ".kar")
OTHER_ENDINGS = (".musicxml", ".mxl", ".xml", ".abc", ".krn", ".mp3", ".wav")


def read_prompt(
    text: str | None, checkpoint: Checkpoint, bars: int | None = None
) -> tuple[np.ndarray, list[str]]:
    """Ids of a prompt, and notices of what was replaced in it or left out.

    A network that writes everything in C major or A minor is given the likeliest key of a prompt
    that names none. `bars` is how long the whole piece is told to become, for networks that count
    bars down; given none, a prompt is told `USUAL_BARS`, and without a prompt the network chooses.
    Raises ValueError for bars that another network cannot be told.

    The text is the name of a MIDI file (its first two sounding bars), or chords and notes with
    their quarters and spaces between, such as "C3.G3.E4:1 D4:0.5 rest:0.5". None gives the
    network's own beginning. Raises ValueError for what cannot be read.
    """
    known, encoding = checkpoint.vocabulary, checkpoint.encoding
    counts = getattr(encoding, "countdown", False)
    if bars is not None and not (counts and 1 <= bars < BARS):
        why = (
            f"give 1 to {BARS - 1}" if counts else "this network does not count bars; leave it out"
        )
        raise ValueError(f"--bars {bars}: {why}")
    if text is None and BOS in known:
        return known.encode([BOS, "metre:4/4", f"bar:{bars}"] if bars else [BOS]), []
    if text is None:  # a G major chord in the network's own words, or the first that it knows
        chord = next((t for t in ("G2.D4.G4.B4", "7.11.2") if t in known), known.tokens[1])
        return known.encode([chord]), []
    piece, notices = prompt_piece(text, encoding)
    if getattr(encoding, "home", False) and not piece.key and len(piece):
        tonic, mode = key_of(piece)
        if tonic >= 0:  # without a key the network would not know where home is
            piece = replace(piece, key=sounding_key(tonic, mode == "minor"))
        notices.append(f"no key given, taken to be {piece.key or 'C major'}")
    tokens = opening(encoding.encode(piece))
    if counts:
        given = sum(token.startswith("bar:") for token in tokens)
        if not given:
            raise ValueError(f"--prompt {text}: there is no note in it. Give at least one")
        if bars is not None and bars < given:
            raise ValueError(f"--bars {bars}: the prompt alone has {given}. Give as many or more")
        number_bars(tokens, bars or max(USUAL_BARS, given))
    filled = fill_unknown(tokens, encoding, known)
    if filled.replaced:
        notices.append(str(filled))
    return known.encode(filled.tokens, strict=True), notices


def prompt_piece(text: str, encoding: Encoding) -> tuple[Piece, list[str]]:
    """The piece that a prompt describes, and notices of what is left out for this encoding."""
    if text.lower().endswith(MIDI_ENDINGS):
        result = quantise(read_midi(text), bend=True)
        starts = result.piece.bar_starts()
        first = int(np.searchsorted(starts, result.piece.notes["onset"][0], side="right"))
        last = min(first + FIRST_BARS - 1, len(starts))
        return result.piece.bars(first, last), [f"bars {first} to {last} of {result}"]
    if text.lower().endswith(OTHER_ENDINGS):
        raise ValueError(f"--prompt {text}: only MIDI files are read. Export it as MIDI first")
    if isinstance(encoding, ArticleEncoding):
        chords = [t.partition(":")[0] for t in text.split() if not t.startswith("rest")]
        left_out = ["durations and rests left out, which this network has not"]
        return ArticleEncoding(voicing=True).decode(chords), left_out * (chords != text.split())
    tokens = [token if ":" in token else f"{token}:1" for token in text.split()]
    rhythm = RhythmEncoding()
    pitches = [rhythm.pitches(token)[0] for token in tokens]  # raises for what cannot be read
    rest_at_end = ["a rest at its end is left out; the network decides"]
    return rhythm.decode(tokens), rest_at_end * (not pitches or not pitches[-1])
