"""From a prompt and seeds to finished pieces: read, generate, decode."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pianolstm.checkpoint import Checkpoint
from pianolstm.dataset import Dataset
from pianolstm.encodings import BOS, EOS, ArticleEncoding, Encoding, EventEncoding, RhythmEncoding
from pianolstm.encodings.event_tokens import BARS, opening, sounding_key
from pianolstm.encodings.rhythm import REST
from pianolstm.evaluation import fitted_bigram
from pianolstm.evaluation.statistics import key_fits, key_of, written_key
from pianolstm.folder import MIDI_SUFFIXES, OTHER_ENDINGS
from pianolstm.generation import Rule, generate
from pianolstm.grid import Quantised, quantise
from pianolstm.midi import read_midi
from pianolstm.piece import Piece, spoken_key
from pianolstm.rules import PartRules
from pianolstm.vocabulary import fill_unknown

LONGEST = 6000  # tokens, for a network that ends by itself
CHORDS = 120  # about 40 seconds, for one that does not
FIRST_BARS = 2  # that are taken from a MIDI file
USUAL_BARS = 16  # of a piece that a prompt begins
# The margin of `contradicts_its_key`: 367 of our 376 songs with a key signature stay below it. A
# C major signature above the 289 songs that are in other keys is found out in 81 %.
CLEARLY = 0.3
LOWEST = {40: 55, 41: 48, 42: 36}  # program of violin, viola, cello → pitch of its lowest string


def compose(
    network: Checkpoint,
    seeds: Sequence[int],
    prompts: Sequence[Sequence[int]] | None = None,
    length: int | None = None,
    temperature: float = 1.0,
    top_p: float | None = None,
    rules: Sequence[Rule] = (),
    bars: int | None = None,
) -> list[Piece]:
    """One piece for each seed, all side by side, of `length` tokens after the prompt at most.

    Unless given, the length is that of `usual_length`. prompts: one list of ids a piece; none is
    `<bos>`, a beginning of the network's own. A network that has a memory recalls what each piece
    has said, its prompt included. A piece whose prompt was told its `bars` (see `read_prompt`) does
    not end before the last of them, and is cut there. The other options are those of `generate`. A
    piece that did not end by itself says so in `repaired` ("no end"), if the network's encoding has
    an end at all. Raises ValueError as `generate` does, for a length below 1, and for a network
    that needs a prompt and gets none.
    """
    ids = network.vocabulary.ids
    if prompts is None and BOS not in ids:
        raise ValueError("this network knows no <bos>. Give each piece a prompt, see read_prompt")
    prompts = [[ids[BOS]]] * len(seeds) if prompts is None else prompts
    length = usual_length(network) if length is None else length
    if length < 1:
        raise ValueError(f"--length {length}: give at least 1")
    rules = [LastBar(ids) for _ in seeds] if bars else rules
    new = generate(network.predictor, prompts, length, seeds, temperature, top_p=top_p,
                   progress=True, stop=ids.get(EOS), counts=network.counts,
                   memory=network.memory, rules=rules)  # fmt: skip
    pieces = pieces_of(network, prompts, new, length)
    return [piece.bars(1, bars) for piece in pieces] if bars else pieces


def usual_length(network: Checkpoint) -> int:
    """Tokens of a piece at most, enough for a network that ends by itself."""
    return LONGEST if EOS in network.vocabulary else CHORDS


class LastBar:
    """A `Rule` for `generate`: a piece that counts its bars down does not end before the last."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.end, self.last, self.reached = ids[EOS], ids["bar:1"], False

    def __call__(self, token: int) -> list[int]:
        """Take in the next id; the ids that must not follow it."""
        self.reached |= token == self.last
        return [] if self.reached else [self.end]


def part_rules(network: Checkpoint, pieces: int) -> list[PartRules]:
    """A rule for each piece of four parts (notebook 10).

    No string instrument goes below its lowest string, and no two parts move in parallel fifths or
    octaves.
    """
    ranges = {(p, track): (low, 127) for p, low in LOWEST.items() for track in range(4)}
    return [PartRules(network.encoding, network.vocabulary, ranges) for _ in range(pieces)]


def pieces_of(
    network: Checkpoint,
    prompts: Sequence[Sequence[int]],
    new: Sequence[np.ndarray],
    length: int = LONGEST,
) -> list[Piece]:
    """Generated ids, each after its prompt, as pieces; a piece shorter than `length` has ended."""
    pieces = []
    for i, (prompt, ids) in enumerate(zip(prompts, new, strict=True)):
        tokens = network.vocabulary.decode([*prompt, *ids])
        if len(ids) < length and EOS in network.vocabulary:
            tokens.append(EOS)
        pieces.append(network.encoding.decode(tokens, name=f"piece {i}"))
    return pieces


def imitations(
    network: Checkpoint, data: Dataset, seed: int, by_bigram: bool = False
) -> list[list[Piece]]:
    """A piece for each training piece, and one for each held-out one, that begins as that does.

    They are the network's, or a bigram's in the network's tokens. Seeds count up from `seed`.
    """
    model, counts = (fitted_bigram(data), {}) if by_bigram else (network.predictor, network.counts)
    generated, length = [], usual_length(network)
    for part in (data.train_own_key, [*data.valid, *data.test]):
        starts = [ids[:1] for ids in part]
        seeds = range(seed, seed := seed + len(starts))
        new = generate(model, starts, length, seeds, progress=True, counts=counts,
                       stop=network.vocabulary.ids.get(EOS), memory=network.memory)  # fmt: skip
        generated.append(pieces_of(network, starts, new, length))
    return generated


# ---- prompts


def read_prompt(
    text: str | None, checkpoint: Checkpoint, bars: int | None = None
) -> tuple[np.ndarray, list[str]]:
    """Ids of a prompt, and notices of what was replaced in it or left out.

    The text is what `music_from` reads (of a MIDI file the first two sounding bars); None gives the
    network's own beginning. `bars` is how long the whole piece is told to become, for networks that
    count bars down; without it a prompt is told `USUAL_BARS`, and otherwise the network chooses. A
    notice says in a few words what can be heard; details, if any, follow a colon. Raises ValueError
    for what cannot be read, and for bars that the network cannot be told.
    """
    known, encoding = checkpoint.vocabulary, checkpoint.encoding
    counts = getattr(encoding, "countdown", False)
    if bars is not None and not counts:
        raise ValueError(f"--bars {bars}: this network does not count bars; leave it out")
    if bars is not None and not 1 <= bars < BARS:
        raise ValueError(f"--bars {bars}: give 1 to {BARS - 1}")
    if text is None:  # where there is no <bos>, a G major chord, or the first that is known
        begun = [next(token for token in (BOS, "7.11.2", known.tokens[1]) if token in known)]
        return known.encode([*begun, "metre:4/4", f"bar:{bars}"] if bars else begun), []
    piece, notices = prompt_piece(text, encoding)
    if not len(piece):
        raise ValueError(f"--prompt {text}: there is no note in it. Give at least one")
    tokens = encoding.encode(piece)
    given = sum(token.startswith("bar:") for token in tokens)
    if given and bars != given and text.lower().endswith(MIDI_SUFFIXES):  # whole bars: a new one
        tokens += [f"bar:{given + 1}", *[t for t in tokens if t[:6] in ("major:", "minor:")][:1]]
    if bars is not None and bars < given:
        raise ValueError(f"--bars {bars}: the prompt alone has {given}. Give as many or more")
    if counts:
        bars = bars or max(USUAL_BARS, given)
    filled = fill_unknown(opening(tokens, bars), encoding, known)
    if filled.replaced:
        notices.append(f"tokens were replaced, {filled}")
    return known.encode(filled.tokens, strict=True), notices


def prompt_piece(text: str, encoding: Encoding) -> tuple[Piece, list[str]]:
    """The piece that a prompt describes, and notices of what is left out for this encoding."""
    article, words, notices = isinstance(encoding, ArticleEncoding), text.split(), []
    piece, read = music_from(text)
    of_key = []
    if isinstance(encoding, EventEncoding):  # it writes keys, or everything in C major or A minor
        piece, of_key = with_likely_key(piece, encoding.home)
    if read is not None:
        starts = piece.bar_starts()
        first = int(np.searchsorted(starts, piece.notes["onset"][0], side="right"))
        piece = piece.bars(first, min(first + FIRST_BARS - 1, len(starts)))
        last = first + len(piece.bar_starts()) - 1  # with notes
        notices.append(f"bars {first} to {last} of {read}")
    elif article and any(":" in word or word == REST for word in words):
        notices.append("durations and rests left out, which this network has not")
    elif words[-1:] and words[-1].startswith(REST):
        notices.append("a rest at its end is left out; the network decides")
    return piece, notices + of_key


def music_from(text: str) -> tuple[Piece, Quantised | None]:
    """The piece of a MIDI file, on the grid, and what that took; or one that is written out.

    Written are notes, chords and rests with their quarters and spaces between, for example
    "C3.G3.E4:1 D4:0.5 rest:0.5". Raises ValueError for what cannot be read.
    """
    if text.lower().endswith(MIDI_SUFFIXES):
        found = quantise(read_midi(text), bend=True)
        return found.piece, found
    if os.path.isdir(text):
        raise ValueError(f"{text}: a folder. Give one of its MIDI files")
    if text.lower().endswith(OTHER_ENDINGS) or os.path.exists(text):
        raise ValueError(f"{text}: only MIDI files are read. Export it as MIDI first")
    try:
        return RhythmEncoding().typed(text, name="melody"), None
    except ValueError as error:
        raise ValueError(f"{text}: {error}, or give the name of a MIDI file") from error


def with_likely_key(piece: Piece, needed: bool = False) -> tuple[Piece, list[str]]:
    """The piece in the likeliest key, where its signature contradicts its notes; and a notice.

    Where a key is `needed`, a piece without a signature is given one, too.
    """
    if not (contradicts_its_key(piece) if piece.key else needed):
        return piece, []
    signature = f"the notes contradict the key signature, {spoken_key(piece.key)}"
    found = signature if piece.key else "no key given"
    piece = replace(piece, key=likeliest_key(piece) or piece.key)
    return piece, [f"{found}, taken to be {spoken_key(piece.key or 'C major')}"]


def likeliest_key(piece: Piece) -> str | None:
    """The name of the key that fits the notes best; None where no key can be told."""
    tonic, mode = key_of(piece)
    return sounding_key(tonic, mode == "minor") if tonic >= 0 else None


def contradicts_its_key(piece: Piece) -> bool:
    """Whether the notes fit another key better than the key signature, by more than `CLEARLY`.

    A signature stands for a major key and its relative minor; the better of the two counts.
    """
    fits, (tonic, mode) = key_fits(piece), written_key(piece)
    if not fits or tonic < 0:
        return False
    relative = ((tonic - 3) % 12, "minor") if mode == "major" else ((tonic + 3) % 12, "major")
    return max(fits.values()) - max(fits[tonic, mode], fits[relative]) > CLEARLY


def like_its_prompt(pieces: Sequence[Piece], text: str | None, encoding: Encoding) -> list[Piece]:
    """Pieces at the tempo and the loudness of the MIDI file that they continue.

    The notes of the prompt are as loud as they were, the others as its median note. Other prompts
    have neither tempo nor loudness.
    """
    if text is None or not text.lower().endswith(MIDI_SUFFIXES):
        return list(pieces)
    prompt, _ = prompt_piece(text, encoding)
    velocities = prompt.notes["velocity"]
    loud = dict(zip(zip(prompt.onsets, prompt.notes["pitch"]), velocities))
    result = []
    for piece in pieces:
        scale = piece.ticks_per_quarter / prompt.ticks_per_quarter
        tempi = tuple((round(tick * scale), bpm) for tick, bpm in prompt.tempi)
        notes, usual = piece.notes.copy(), np.median(velocities)
        notes["velocity"] = [loud.get(at, usual) for at in zip(piece.onsets, notes["pitch"])]
        result.append(replace(piece, notes=notes, tempi=tempi))
    return result
