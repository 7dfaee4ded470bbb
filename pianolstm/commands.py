"""What the command line offers, each command a function that a notebook can call as well.

    from pianolstm import commands
    commands.compose(seed=3, pieces=2)      # the same as `pianolstm compose --seed 3 --pieces 2`

Parameters before the star are given by place on the command line, the others as options, and the
comment behind a parameter is its help (see `__main__`). `settings` are fields of `TrainConfig` and
`NetworkConfig`; `command` is noted in what is written.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pianolstm import composing, harmonising, output
from pianolstm import evaluation as ev
from pianolstm.checkpoint import (
    Checkpoint,
    configure,
    load_checkpoint,
    load_pretrained,
    save_checkpoint,
)
from pianolstm.dataset import Dataset, load_songs
from pianolstm.distributed import process_group, rank
from pianolstm.encodings import BOS, EOS, ArticleEncoding, Encoding, PianoRollEncoding
from pianolstm.evaluation import benchmark as bm
from pianolstm.evaluation.judge import accuracy, long_enough, train_judge
from pianolstm.piece import Piece, spoken_key
from pianolstm.store import ReadConfig, build_store
from pianolstm.training import train as train_network
from pianolstm.vocabulary import UNK_ID

OUR_SONGS = Path("midi_songs")


def read(
    folder: Path,  # of MIDI files; its subfolders are read too
    *,
    out: Path,  # the token store, a new folder
    encoding: Encoding | None = None,  # how pieces become tokens (article)
    grid: Sequence[int] = (4, 3),  # divisions of a quarter that notes move to
    performances: str = "keep",  # recordings without a beat: keep, drop, or bend to the grid
    instruments: str = "all",  # all but drums, piano, a General MIDI name, or its number
    processes: int | None = None,  # one for each core unless given
) -> None:
    """turn a folder of MIDI files of any size into a token store for training"""
    began = time.perf_counter()
    config = ReadConfig(encoding or ArticleEncoding(), tuple(grid), instruments, performances)
    report = build_store(folder, out, config, processes)
    seconds = time.perf_counter() - began
    print(f"{report}\n{seconds:.1f} s, {report.files.total() / seconds:,.0f} files a second → "
          f"{out}: ids.bin, store.json, report.csv (a line for every file)")  # fmt: skip


def train(
    *,
    songs: Path = OUR_SONGS,  # a folder of MIDI files, or a token store
    only: Sequence[str] = (),  # such as 'bach_*'; else the chorales, or all if there are none
    encoding: Encoding | None = None,  # else the store's, or article
    at_least: int = 1,  # tokens seen less often become <unk>
    network: str = "note",  # which network
    out: Path = Path("runs/latest"),  # folder of the run; the same command goes on from there
    export: Path | None = None,  # also write the best epoch here, in half precision
    last: bool = False,  # export the last epoch, not the best
    command: str = "",
    **settings: object,
) -> Checkpoint:
    """train a network and write its checkpoints"""
    if last and not export:
        raise ValueError("last says which epoch export writes. Give export, or leave it out")
    data = load_songs(songs, encoding, None, only, at_least)
    learn, choose, measure = np.bincount(data.parts, minlength=3)
    print(f"{data.report}\n{len(data.parts):,} pieces: {learn:,} to train on, {choose:,} to choose "
          f"the best epoch (validation), {measure:,} for the test", file=sys.stderr)  # fmt: skip
    trained = _fit(data, network, out, command, settings, last)
    if export:
        print("half precision:", save_checkpoint(export, trained, dtype=torch.float16))
    return trained


def _fit(
    data: Dataset, network: str, out: Path, command: str, settings: dict, last: bool = False
) -> Checkpoint:
    """Train, and print the result. Returns the best epoch, or the last one."""
    model, config = configure(network, data.encoding, len(data.vocabulary), settings)
    last_epoch, begins = out / "last.safetensors", "begins from nothing"
    goes_on, new = f"goes on from {last_epoch}", []
    if config.start and (start := load_pretrained(config.start)).vocabulary == data.vocabulary:
        before = ev.nll(start.model, data.valid, config.steps).mean
        begins = f"begins from {config.start}, validation {before:.3f} nats a token"
    how = goes_on if last_epoch.exists() else begins
    print(f"training {how}; a line follows each epoch", file=sys.stderr, flush=True)
    try:
        with process_group():
            best = train_network(data, model, config, out, None,
                                 lambda row: new.append(_shown(row)), command)  # fmt: skip
            if rank():
                sys.exit(0)  # the first of several processes says the rest
    except KeyboardInterrupt:
        kept = goes_on if last_epoch.exists() else "starts again"
        raise KeyboardInterrupt(f"the epoch is lost. The same command {kept}") from None
    if not new:
        print("no epoch is left: give more --epochs or --seconds to go on", file=sys.stderr)
    trained = load_checkpoint(last_epoch) if last else best
    if config.memory:
        trained.keys = ev.best_keys(trained, data)
        trained.memory = ev.best_memory(trained, data)
        if not last:
            save_checkpoint(out / "best.safetensors", trained)
    row = min(best.history, key=lambda row: row["valid_loss"])
    print(f"best: epoch {row['epoch']}, {row['seconds'] / 60:.1f} min, validation "
          f"{row['valid_loss']:.3f} nats a token, {out}/best.safetensors")  # fmt: skip
    return trained


def _shown(row: dict) -> dict:
    """An epoch's row of the history, printed."""
    loss = f"training {row['train_loss']:.3f}, validation {row['valid_loss']:.3f} nats a token"
    print(f"epoch {row['epoch']:3}: {loss}, {row['seconds']:.0f} s", file=sys.stderr, flush=True)
    return row


def benchmark(
    rolls: Path,  # JSB_Chorales.mat or another set of piano rolls, or a folder of MIDI files
    *,
    checkpoint: str | None = None,  # measure this one, a file or jsb, and train nothing
    no_baselines: bool = False,  # train and measure only
    encoding: Encoding | None = None,  # how frames become tokens (rolls)
    network: str = "note",  # which network
    out: Path = Path("runs/latest"),  # folder of the run
    command: str = "",
    **settings: object,
) -> dict:
    """train on piano rolls and print test nats a frame beside baselines and published rows"""
    if checkpoint and (encoding or settings):
        raise ValueError(f"{', '.join(settings) or 'encoding'}: a checkpoint is not trained")
    trained = load_pretrained(checkpoint) if checkpoint else None
    encoding = trained.encoding if trained else encoding or PianoRollEncoding()
    if not isinstance(encoding, PianoRollEncoding):
        raise ValueError(f"{encoding} writes no piano rolls. Use rolls, or what benchmark trained")
    data = bm.roll_data(rolls, encoding)
    print(data.report, end="\n" * bool(data.report), file=sys.stderr)
    trained = trained or _fit(data, network, out, command, settings)
    entry = bm.measure(trained, data)
    rows = {} if no_baselines else bm.baseline_rows(data)
    rows[checkpoint or f"this {network}, {entry['minutes']:.1f} min"] = entry["test"]
    rows |= {f"{row}: {nats['less']} less": nats["test"] for row, nats in entry["with"].items()}
    print(bm.table(rolls.stem, rows))
    return entry


def evaluate(
    checkpoints: Sequence[str] = ("article", "note"),  # files, or names of shipped networks
    *,
    songs: Path = OUR_SONGS,  # a folder of MIDI files, or a token store
) -> None:
    """held-out likelihood of checkpoints beside the baselines"""
    loaded = {Path(name).stem: load_pretrained(name) for name in checkpoints}
    first = next(iter(loaded.values()))
    data = load_songs(songs, first.encoding, first.vocabulary)
    print(data.report, file=sys.stderr)
    V, held_out = len(data.vocabulary), data.test
    counted = np.concatenate([ids[1:] for ids in held_out])
    print(f"{len(counted):,} tokens of {len(held_out)} test pieces, {V} classes, "
          f"{np.mean(counted == UNK_ID):.2%} unknown")  # fmt: skip
    print(f"{'uniform':<28}{np.log(V):8.3f} nats a token")
    print(f"{'unigram':<28}{ev.unigram_nll(data.train_all_keys, held_out, V):8.3f}")
    rows, past = {"bigram": ev.fitted_bigram(data).losses(held_out)}, data.train_own_key
    for name, network in loaded.items():
        if network.vocabulary != data.vocabulary:
            print(f"{name:<28} has another vocabulary: evaluate it on its own")
            continue
        steps = network.train_config.steps
        rows[name] = ev.nll(network.model, held_out, steps, np.concatenate(past)).per_piece
    for name, losses in rows.items():
        note = ""
        if BOS in data.vocabulary and data.split:
            paid = ev.note_likelihood(losses, data.split.test, data.encoding, data.vocabulary)
            note = f"{paid.mean:12.3f} nats a note"
        print(f"{name:<28}{np.concatenate(losses).mean():8.3f}{note}")


def judge(
    composers: Sequence[str] = ("bigram", "article", "events"),  # or files of networks
    *,
    songs: Path = OUR_SONGS,  # a folder of MIDI files
    seed: int = 5000,  # of the first piece, and of the judge
) -> list[dict]:
    """train a network to tell human from generated pieces, and print how well it can"""
    entries = []
    for name in composers:
        network = load_pretrained("events" if name == "bigram" else name)
        data = load_songs(songs, network.encoding, network.vocabulary)
        print(data.report, file=sys.stderr)
        if data.split is None:
            raise ValueError(f"{songs}: a token store has no pieces; give a folder of MIDI files")
        generated = composing.imitations(network, data, seed, by_bigram=name == "bigram")
        # What the encoding cannot write must not give the human pieces away
        code, human = network.encoding, []
        for part in (data.split.train, [*data.split.valid, *data.split.test]):
            human.append([code.decode(code.encode(piece)) for piece in part])
        found = accuracy(train_judge(human[0], generated[0], seed), human[1], generated[1])
        judged = [len(long_enough(kind[1])) for kind in (human, generated)]
        entries.append({"composer": Path(name).stem, "accuracy": found.value,
                        "interval": [found.low, found.high], "judged": judged})  # fmt: skip
        print(f"{Path(name).stem:12} told from human in {found} of cases; judged on "
              f"{judged[0]} human and {judged[1]} generated pieces")  # fmt: skip
    return entries


def compose(
    *,
    checkpoint: str = "form",  # the network: a file, or the name of a shipped one
    prompt: str | None = None,  # how it begins: a MIDI file, or notes: 'C3.G3.E4:1 D4:0.5 rest:1'
    bars: int | None = None,  # of the whole piece; about 16 after a prompt, or as it comes
    length: int | None = None,  # tokens at most; otherwise the piece ends by itself
    temperature: float = 1.0,  # below 1 the music is more cautious, above it more daring
    top_p: float = 0.95,  # 1 allows every chord, less only the likelier ones
    seed: int | None = None,  # repeats a piece; drawn and printed unless given
    pieces: int = 1,  # how many; seeds count up
    tempo: float | None = None,  # quarters a minute; otherwise the prompt's, or 90
    instrument: str | None = None,  # a General MIDI name such as 'church organ'; usually the piano
    format: Sequence[str] = (),  # the score, too: musicxml, svg, png or some of them
    out: Path = Path(),  # folder for the files
    name: str = "composition",  # of the files; a number is added to a name in use
    verbose: bool = False,  # say in detail what was changed
) -> list[Piece]:
    """write a new piece: as MIDI, as sound and as a picture"""
    output.check_wishes(format, tempo, instrument)
    names = output.free_names(out, name, pieces)
    network, seeds = load_pretrained(checkpoint), _seeds(seed, pieces)
    begun, notices = composing.read_prompt(prompt, network, bars)
    _say("prompt", notices, verbose)
    length = composing.usual_length(network) if length is None else length
    # Four parts keep the rules of four-part writing. Other music may double its parts.
    rules = composing.part_rules(network, pieces) if checkpoint == "ensemble" else ()
    written = composing.compose(
        network, seeds, [begun] * pieces, length, temperature, top_p, rules, bars
    )
    written = composing.like_its_prompt(written, prompt, network.encoding)
    written = [output.played(*each, tempo, instrument) for each in zip(written, names)]
    for piece, number in zip(written, seeds):
        ended = EOS in network.vocabulary and "no end" not in piece.repaired
        how = "ended by itself" if ended else f"cut off after {length:,} tokens"
        if not len(piece):
            print(f"{piece.name}: no note was written. Try another seed or length", file=sys.stderr)
            continue
        files = output.write_files(piece, out, format)
        print(f"{files}, {how}; network '{checkpoint}', --seed {number} repeats it")
        _say(piece.name, output.corrections(piece), verbose)
    return written


def _seeds(seed: int | None, pieces: int) -> range:
    """A seed for each piece, the first one drawn unless given."""
    first = secrets.randbelow(1_000_000) if seed is None else seed
    return range(first, first + pieces)


def _say(what: str, notices: Sequence[str], verbose: bool) -> None:
    """Print notices; the details, which follow a colon, only if asked for."""
    for notice in notices:
        print(f"{what}: {notice if verbose else notice.partition(': ')[0]}", file=sys.stderr)


def harmonise(
    melody: str,  # a MIDI file, or notes with their quarters: 'C4:1 D4:0.5 E4:0.5 rest:1'
    *,
    track: int | None = None,  # of the MIDI file, counted from 1; otherwise its top line
    checkpoint: str = "rolls",  # the network: a file, or the name of a shipped one
    particles: int = harmonising.PARTICLES,  # harmonisations kept alive; more are better and slower
    temperature: float = harmonising.TEMPERATURE,  # below 1 it is more cautious, above more daring
    seed: int | None = None,  # repeats a piece; drawn and printed unless given
    pieces: int = 1,  # how many; seeds count up
    out: Path = Path(),  # folder for the files
    name: str = "harmonisation",  # of the files; a number is added where there are such files
    verbose: bool = False,  # say in detail what was changed
) -> list[Piece]:
    """set voices below a melody: as MIDI, sound, score and MusicXML"""
    names = output.free_names(out, name, pieces)
    tune, notices = harmonising.read_melody(melody, track)
    _say("melody", notices, verbose)
    network, seeds = load_pretrained(checkpoint), _seeds(seed, pieces)
    options = {"particles": particles, "temperature": temperature}
    written = harmonising.harmonise(tune, network, seeds[0], pieces, **options)
    written = [output.played(*each) for each in zip(written, names)]
    for piece, number in zip(written, seeds):
        files = output.write_files(piece, out, ("musicxml",), notation=True)
        print(f"{files}, in {spoken_key(piece.key)}; network '{checkpoint}', --seed {number} "
              "repeats it")  # fmt: skip
    return written
