"""From a prompt and seeds to finished pieces: read, generate, decode."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np

from pianolstm.checkpoint import Checkpoint
from pianolstm.display import audio, roll, score, write_musicxml
from pianolstm.encodings import (
    BOS,
    EOS,
    ArticleEncoding,
    Encoding,
    EventEncoding,
    RhythmEncoding,
)
from pianolstm.encodings.event_tokens import BARS, number_bars, opening, sounding_key
from pianolstm.evaluation.statistics import key_fits, key_of, written_key
from pianolstm.folder import MIDI_SUFFIXES, OTHER_ENDINGS
from pianolstm.generation import Rule, generate
from pianolstm.grid import quantise
from pianolstm.harmonising import PARTICLES, TEMPERATURE, harmonise, read_melody  # noqa: F401
from pianolstm.midi import program_named, read_midi, write_midi
from pianolstm.piece import Piece, listed, spoken_key
from pianolstm.rules import PartRules
from pianolstm.vocabulary import fill_unknown

LONGEST = 6000  # tokens, for a network that ends by itself
CHORDS = 120  # about 40 seconds, for one that does not
SLOWEST, FASTEST = 4, 960  # quarters a minute that can be asked for
FIRST_BARS = 2  # that are taken from a MIDI file
USUAL_BARS = 16  # of a piece that a prompt begins
# The margin of `contradicts_its_key`: 367 of our 376 songs with a key signature stay below it. A
# C major signature above the 289 songs that are in other keys is found out in 81 %.
CLEARLY = 0.3
FORMATS = ("musicxml", "svg", "png")  # in which a score can be had
OUTPUTS = (".mid", ".mp3", ".png", ".musicxml", ".svg", "-score.png")  # endings of all files
LOWEST = {40: 55, 41: 48, 42: 36}  # program of violin, viola, cello → pitch of its lowest string


def compose(
    network: Checkpoint,
    seeds: Sequence[int],
    prompts: Sequence[Sequence[int]] | None = None,
    length: int | None = None,
    temperature: float = 1.0,
    top_p: float | None = None,
    progress: bool | None = False,
    rules: Sequence[Rule] = (),
) -> list[Piece]:
    """One piece for each seed, all side by side, of `length` tokens after the prompt at most.

    Unless given, the length is `LONGEST` for a network that ends by itself, else `CHORDS`.
    prompts: one list of ids a piece; none is `<bos>`, a beginning of the network's own. A network
    that has a memory recalls what each piece has said, its prompt included. The other options are
    those of `generate`. A piece that did not end by itself says so in `repaired` ("no end"), if the
    network's encoding has an end at all. Raises ValueError as `generate` does, and for a network
    that needs a prompt and gets none.
    """
    ids = network.vocabulary.ids
    if prompts is None and BOS not in ids:
        raise ValueError("this network knows no <bos>. Give each piece a prompt")
    if prompts is None:
        prompts = [[ids[BOS]]] * len(seeds)
    if not len(seeds):
        return []
    length = length or (LONGEST if EOS in ids else CHORDS)
    new = generate(network.model, prompts, length, seeds, temperature, top_p=top_p,
                   progress=progress, stop=ids.get(EOS), counts=network.counts,
                   memory=network.memory, rules=rules)  # fmt: skip
    return pieces_of(network, prompts, new, length)


class LastBar:
    """A `Rule` for `generate`: a piece that counts its bars down does not end before the last."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.end, self.last, self.reached = ids[EOS], ids["bar:1"], False

    def __call__(self, token: int) -> list[int]:
        """Take in the next id; the ids that must not follow it."""
        self.reached |= token == self.last
        return [] if self.reached else [self.end]


def rules_for(network: Checkpoint, pieces: int, bars: int | None, parts: bool) -> list[Rule]:
    """A rule for each piece: of the last bar if it is told its `bars`, of four `parts`, or none.

    Of four parts no string instrument goes below its lowest string, and no two parts move in
    parallel fifths or octaves (notebook 10).
    """
    if bars:
        return [LastBar(network.vocabulary.ids) for _ in range(pieces)]
    if not parts:
        return []
    ranges = {(p, track): (low, 127) for p, low in LOWEST.items() for track in range(4)}
    return [PartRules(network.encoding, network.vocabulary, ranges) for _ in range(pieces)]


def pieces_of(
    network: Checkpoint,
    prompts: Sequence[Sequence[int]],
    new: Sequence[np.ndarray],
    length: int = LONGEST,
) -> list[Piece]:
    """Generated ids, each after its prompt, as pieces; a piece shorter than `length` has ended."""
    end = [EOS] if EOS in network.vocabulary else []
    pieces = []
    for i, (prompt, ids) in enumerate(zip(prompts, new, strict=True)):
        tokens = network.vocabulary.decode([*prompt, *ids])
        ended = end if len(ids) < length else []
        pieces.append(network.encoding.decode([*tokens, *ended], name=f"piece {i}"))
    return pieces


def read_prompt(
    text: str | None, checkpoint: Checkpoint, bars: int | None = None
) -> tuple[np.ndarray, list[str]]:
    """Ids of a prompt, and notices of what was replaced in it or left out.

    A notice says in a few words what can be heard; details, if any, follow a colon.

    `with_likely_key` settles its key. `bars` is how long the whole piece is told to become, for
    networks that count bars down; given none, a prompt is told `USUAL_BARS`, and without a prompt
    the network chooses. Raises ValueError for bars that another network cannot be told.

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
        number = len(filled.replaced)
        notices.append(f"{number} tokens that the network does not know were replaced: {filled}")
    return known.encode(filled.tokens, strict=True), notices


def prompt_piece(text: str, encoding: Encoding) -> tuple[Piece, list[str]]:
    """The piece that a prompt describes, and notices of what is left out for this encoding."""
    if text.lower().endswith(MIDI_SUFFIXES):
        result = quantise(read_midi(text), bend=True)
        starts = result.piece.bar_starts()
        first = int(np.searchsorted(starts, result.piece.notes["onset"][0], side="right"))
        last = min(first + FIRST_BARS - 1, len(starts))
        piece, notices = with_likely_key(result.piece, encoding)
        return piece.bars(first, last), [f"bars {first} to {last} of {result}", *notices]
    if text.lower().endswith(OTHER_ENDINGS) or os.path.exists(text):
        raise ValueError(f"--prompt {text}: only MIDI files are read. Export it as MIDI first")
    try:
        return written_notes(text, encoding)
    except ValueError as error:
        raise ValueError(f"--prompt {text}: {error}, or give the name of a MIDI file") from error


def written_notes(text: str, encoding: Encoding) -> tuple[Piece, list[str]]:
    """The piece that is written as chords and notes, and notices of what is left out of it."""
    if isinstance(encoding, ArticleEncoding):
        chords = [t.partition(":")[0] for t in text.split() if not t.startswith("rest")]
        left_out = ["durations and rests left out, which this network has not"]
        return ArticleEncoding(voicing=True).decode(chords), left_out * (chords != text.split())
    tokens = [token if ":" in token else f"{token}:1" for token in text.split()]
    rhythm = RhythmEncoding()
    pitches = [rhythm.pitches(token)[0] for token in tokens]  # raises for what cannot be read
    rest_at_end = ["a rest at its end is left out; the network decides"]
    piece, notices = with_likely_key(rhythm.decode(tokens), encoding)
    return piece, rest_at_end * (not pitches or not pitches[-1]) + notices


def with_likely_key(piece: Piece, encoding: Encoding) -> tuple[Piece, list[str]]:
    """The piece in the likeliest key, where its signature contradicts its notes; and a notice.

    An encoding that writes everything in C major or A minor needs a key, so that a piece without a
    signature is given one, too. Encodings that do not write keys need none.
    """
    writes_keys = isinstance(encoding, EventEncoding) and len(piece)
    if not writes_keys or (piece.key and not contradicts_its_key(piece)):
        return piece, []
    if not piece.key and not encoding.home:
        return piece, []
    signature = f"the notes contradict the key signature, {spoken_key(piece.key)}"
    found = signature if piece.key else "no key given"
    tonic, mode = key_of(piece)
    if tonic >= 0:
        piece = replace(piece, key=sounding_key(tonic, mode == "minor"))
    return piece, [f"{found}, taken to be {spoken_key(piece.key or 'C major')}"]


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


def played(piece: Piece, tempo: float | None = None, instrument: str | None = None) -> Piece:
    """The piece at another tempo (quarters a minute), or on another General MIDI instrument."""
    notes = piece.notes.copy()
    if instrument is not None:
        notes["program"] = program_named(instrument)
    return replace(piece, notes=notes, tempi=((0, tempo),) if tempo else piece.tempi)


def free_names(out: Path, name: str, pieces: int) -> list[str]:
    """A name for each piece of which there is no file yet: "name", "name-2", "name-3" and so on."""
    for ending in OUTPUTS:
        name = name.removesuffix(ending)
    if Path(name).name != name or not name:
        raise ValueError(f"--name {name!r} must be a file's name; give the folder with --out")
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    free = (n for n in names if not any((out / f"{n}{ending}").exists() for ending in OUTPUTS))
    return list(islice(free, pieces))


def check_wishes(
    pieces: int,
    length: int | None,
    formats: Sequence[str],
    tempo: float | None,
    instrument: str | None,
) -> None:
    """Raise ValueError for what cannot be had."""
    if pieces < 1 or (length is not None and length < 1):
        raise ValueError(f"--pieces {pieces}, --length {length}: give at least 1 of each")
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"--format {' '.join(unknown)}: choose from {', '.join(FORMATS)}")
    if tempo is not None and not SLOWEST <= tempo <= FASTEST:
        raise ValueError(f"--tempo {tempo:g}: give {SLOWEST} to {FASTEST} quarters a minute")
    if instrument is not None:
        program_named(instrument)


def corrections(piece: Piece) -> list[str]:
    """A notice of what was repaired in a generated piece, if anything was."""
    repaired = {what: number for what, number in piece.repaired.items() if what != "no end"}
    number = sum(repaired.values())
    errors = "small error was" if number == 1 else "small errors were"
    return [f"{number} {errors} corrected in it: {listed(repaired)}"] if number else []


def write_files(
    piece: Piece, out: Path, formats: Sequence[str] = (), notation: bool = False
) -> str:
    """Write MIDI, sound and picture of a piece; says what was written.

    The picture is a piano roll, with `notation` a score. `formats`: the score as such files, too.
    """
    sound, endings = audio(piece), [".mid", ".mp3", ".png"]
    write_midi(piece, out / f"{piece.name}.mid")
    sound.save(out / f"{piece.name}.mp3")
    engraved = score(piece) if notation or {"svg", "png"} & {*formats} else None
    (engraved if notation else roll(piece)).save(out / f"{piece.name}.png")
    if "musicxml" in formats:
        endings.append(write_musicxml(piece, out / f"{piece.name}.musicxml").suffix)
    if "svg" in formats:
        (out / f"{piece.name}.svg").write_text(engraved.svg, encoding="utf-8")
        endings.append(".svg")
    if "png" in formats:
        engraved.save(out / f"{piece.name}-score.png")
        endings.append("-score.png")
    heard = f" (the MP3 holds its first {sound.seconds:.0f} s)" if sound.is_cut else ""
    return (
        f"{out / piece.name}{', '.join(endings)}: {len(piece)} notes, "
        f"{len(piece.bar_starts())} bars, {piece.seconds:.0f} s{heard}"
    )
