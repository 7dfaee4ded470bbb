"""The command line: `python -m pianolstm COMMAND`. One thin function a command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import fields, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pianolstm.encodings import BOS, EOS
from pianolstm.options import parser
from pianolstm.piece import listed

# PyTorch's threads wait for one another by spinning. Where another process keeps a core busy, each
# wait then lasts until the scheduler takes the core away: commands took 3 to 10 times as long as
# with one thread. After so few turns they sleep instead. It must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "300")


def read(args: argparse.Namespace) -> None:
    """turn a folder of MIDI files of any size into a token store for training"""
    from pianolstm.store import ReadConfig, build_store

    config = ReadConfig(
        _encoding(args), tuple(args.grid), args.instruments, args.performances, args.audit
    )
    report = build_store(args.folder, args.out, config, args.processes, recursive=not args.flat)
    print(report)
    rate = report.files.total() / report.seconds
    print(
        f"{report.seconds:.1f} s, {rate:,.0f} files a second → {args.out}: ids.npy, store.json, "
        "report.csv (a line for every file)"
    )


def _encoding(args: argparse.Namespace):
    """The encoding that --encoding and its options name."""
    from pianolstm.encodings import ENCODINGS

    kind = ENCODINGS[args.encoding]
    settings = {}
    for name in ("voicing", "tracks", "home", "countdown", "approach"):
        if given := getattr(args, name):
            if name not in {field.name for field in fields(kind)}:
                raise ValueError(
                    f"--{name} means nothing to --encoding {args.encoding}. Leave it out"
                )
            settings[name] = given
    if getattr(args, "at_least", 1) > 1 and kind(**settings).all_tokens():
        raise ValueError(f"--at-least means nothing to --encoding {args.encoding}. Leave it out")
    return kind(**settings)


def _dataset(args: argparse.Namespace, encoding, vocabulary=None):
    from pianolstm.dataset import Dataset, prepare
    from pianolstm.folder import read_folder
    from pianolstm.grid import quantise
    from pianolstm.store import is_store

    if is_store(args.songs):
        ignored = {
            "--only": args.only,
            "--all-pieces": args.all_pieces,
            "--recursive": args.recursive,
            "--at-least": getattr(args, "at_least", 1) > 1,
        }
        if any(ignored.values()):
            names = ", ".join(name for name, given in ignored.items() if given)
            raise ValueError(f"{args.songs} is a token store, in which {names} cannot be chosen")
        data = Dataset.load(args.songs)
        print(data.report, file=sys.stderr)
        if data.encoding != encoding or vocabulary not in (None, data.vocabulary):
            raise ValueError(
                f"{args.songs}: a store of {data.encoding} with {len(data.vocabulary):,} classes "
                "does not fit. Give the options of --encoding that `read` had, or read again, and "
                "evaluate only what was trained on it"
            )
        return data
    report = read_folder(args.songs, recursive=args.recursive)
    print(report, file=sys.stderr)
    pieces = report.pieces
    if encoding.needs_grid:
        moved = [quantise(piece, bend=True) for piece in pieces]
        counts = {
            "notes were merged on the grid": sum(result.merged for result in moved),
            "moments were joined by the grid": sum(result.joined for result in moved),
            "pieces without a beat were bent to it": sum(not r.has_beat for r in moved),
        }
        for what, number in counts.items():
            if number:
                print(f"{number:,} {what}", file=sys.stderr)
        pieces = [result.piece for result in moved]
    if args.only:
        pieces = [p for p in pieces if any(fnmatch(p.name, pattern) for pattern in args.only)]
    at_least = getattr(args, "at_least", 1)
    only_chorales = not args.all_pieces and not args.only
    return prepare(pieces, encoding, vocabulary, only_chorales, at_least)


def train(args: argparse.Namespace) -> None:
    """train a network and write its checkpoints"""
    from pianolstm.networks import NETWORKS

    encoding = _encoding(args)
    data = _dataset(args, encoding)
    streams = NETWORKS[args.network].build.reads == "streams"
    _, entry = _fit(args, data, shared=streams and (args.voicing or args.encoding != "article"))
    _log(args.log, entry)


def _fit(args: argparse.Namespace, data, shared: bool):
    """Train on `data` as the options say, print the result, log and export it if asked."""
    import torch

    from pianolstm.checkpoint import load_checkpoint, save_checkpoint, train_config
    from pianolstm.distributed import process_group, rank
    from pianolstm.networks import NETWORKS, network_config
    from pianolstm.training import train as run

    network = args.network or "note"
    config = train_config(network)
    ignored = [*NETWORKS[network].build.ignores]
    ignored += ["warmup", "final_rate"] if config.constant_rate else []
    useless = [name for name in ignored if getattr(args, name, None) is not None]
    if useless:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in useless)
        raise ValueError(f"{options} means nothing to --network {network}. Leave it out")
    if (args.optimizer or config.optimizer) == "rmsprop" and args.weight_decay:
        raise ValueError("RMSprop knows no --weight-decay. Leave it out, or use --optimizer adamw")
    if args.last and not args.export:
        raise ValueError("--last says which epoch --export writes. Give --export, or leave it out")
    if args.transpose_until is not None and not 0 <= args.transpose_until <= 1:
        raise ValueError(f"--transpose-until {args.transpose_until}: a share is between 0 and 1")
    model = network_config(network, len(data.vocabulary), shared=shared)
    given = {f.name: getattr(args, f.name, None) for f in (*fields(config), *fields(model))}
    given = {name: value for name, value in given.items() if value is not None}
    if "hidden" in given:
        given["hidden"] = tuple(given["hidden"])
    if getattr(data.encoding, "home", False) and "transpose_until" not in given:
        given.setdefault("transpose", False)  # which would lead away from home
    given.pop("name", None)  # of a benchmark's result
    config = replace(config, **{k: v for k, v in given.items() if hasattr(config, k)})
    model = replace(model, **{k: v for k, v in given.items() if hasattr(model, k)})
    command = " ".join(["python -m pianolstm", *sys.argv[1:]])
    with process_group():
        best = run(data, model, config, args.out, on_epoch=_print_epoch, command=command)
        if rank():
            sys.exit(0)  # the first of several processes says the rest
    row = min(best.history, key=lambda h: h["valid_loss"])
    print(
        f"best: epoch {row['epoch']}, {row['seconds'] / 60:.1f} min, "
        f"validation {row['valid_loss']:.3f} nats a token, {args.out}/best.safetensors"
    )
    entry = {
        "command": command,
        "valid_loss": row["valid_loss"],
        "epoch": row["epoch"],
        "minutes": round(best.history[-1]["seconds"] / 60, 2),
        "parameters": best.model.parameter_count(),
    }
    if args.export:
        chosen = load_checkpoint(args.out / "last.safetensors") if args.last else best
        print("half precision:", save_checkpoint(args.export, chosen, dtype=torch.float16))
    return best, entry


def _print_epoch(row: dict) -> None:
    print(
        f"epoch {row['epoch']:3}: training {row['train_loss']:.3f}, validation "
        f"{row['valid_loss']:.3f} nats a token, {row['seconds']:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _log(path: Path | None, entry: dict) -> None:
    if path is not None:
        with open(path, "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")


def benchmark(args: argparse.Namespace) -> None:
    """train on piano rolls and print test nats a frame beside baselines and published rows"""
    from pianolstm.checkpoint import load_pretrained
    from pianolstm.encodings import PianoRollEncoding
    from pianolstm.evaluation import benchmark as bm
    from pianolstm.evaluation import nll

    _refuse_useless(args)
    best, frames = None, 2 if args.frames is None else args.frames
    if args.checkpoint:  # nothing is trained
        best = load_pretrained(args.checkpoint)
        if not isinstance(best.encoding, PianoRollEncoding):
            raise ValueError(
                f"{args.checkpoint} writes no piano rolls. Use one that benchmark trained"
            )
    encoding = best.encoding if best else PianoRollEncoding(frames)
    if args.rolls.is_dir():
        args.songs = args.rolls
        split = _dataset(args, encoding).split
        parts = [[encoding.roll(piece) for piece in part] for part in split]
        lost = sum(encoding.lost(piece) for part in split for piece in part)
        print(f"{lost:,} notes lie between the frames and are in none", file=sys.stderr)
    else:
        parts = bm.load_rolls(args.rolls)
    data = bm.roll_dataset(*parts, encoding)
    if best:
        entry, label = {}, args.checkpoint
    else:
        best, entry = _fit(args, data, shared=True)
        label = f"this {best.model.config.name}, {entry['minutes']:.1f} min"
    losses, valid = (nll(best.model, part) for part in (data.test, data.valid))
    valid_nats = bm.frame_nll(valid.per_piece, data, data.valid)
    if not args.checkpoint:
        tokens_a_frame = valid_nats / valid.mean
        rates = [row["tokens_per_second"] for row in best.history]
        entry["tokens_per_second"] = int(np.median(rates))
        entry["curve"] = [  # minutes and validation nats a frame
            (round(row["seconds"] / 60, 2), round(row["valid_loss"] * tokens_a_frame, 3))
            for row in best.history
        ]
    entry |= {
        "name": args.name or args.rolls.stem,
        "data": args.rolls.stem,
        "network": best.model.config.name,
        "valid": valid_nats,
        "test": bm.frame_nll(losses.per_piece, data, data.test),
        "kinds": bm.copying(losses.per_piece, data, data.test),
    }
    rows = {} if args.no_baselines else bm.baseline_rows(data)
    entry |= {"baselines": rows} if rows else {}
    print(bm.table(args.rolls.stem, rows | {label: entry["test"]}))
    _log(args.log, entry)


def _refuse_useless(args: argparse.Namespace) -> None:
    """Raises ValueError for options that would change nothing."""
    from pianolstm.networks import NetworkConfig
    from pianolstm.training import TrainConfig

    flags = ("last", "recursive", "all_pieces")  # False unless given, the others None
    given = {n for n, v in vars(args).items() if v is not None and not (v is False and n in flags)}
    training = {f.name for f in (*fields(TrainConfig), *fields(NetworkConfig))} | {"export", "last"}
    training -= {"name"}  # here, that of the result
    measured = training | {"frames"} if args.checkpoint else set()
    folders = set() if args.rolls.is_dir() else {"frames", *flags[1:], "only"}
    for useless, reason in (
        (given & measured, "with --checkpoint nothing is trained and nothing can be chosen"),
        (given & folders, f"means nothing for {args.rolls.name}, only for a folder of MIDI files"),
    ):
        if useless:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(useless))
            raise ValueError(f"{options}: {reason}. Leave it out")


def evaluate(args: argparse.Namespace) -> None:
    """held-out likelihood of checkpoints beside the baselines"""
    from pianolstm import evaluation as ev
    from pianolstm.checkpoint import load_pretrained

    checkpoints = {name: load_pretrained(name) for name in args.checkpoints}
    first = next(iter(checkpoints.values()))
    data = _dataset(args, first.encoding, first.vocabulary)
    held_out, everything = data.test, data.train_all_keys
    V = len(data.vocabulary)
    print(f"{sum(len(p) - 1 for p in held_out):,} tokens of {len(held_out)} test pieces, "
          f"{V} classes, {ev.unknown_share(held_out):.2%} unknown")  # fmt: skip
    paid = BOS in data.vocabulary and data.split is not None

    def line(name: str, losses: list[np.ndarray]) -> None:
        note = ""
        if paid:
            likelihood = ev.note_likelihood(losses, data.split.test, data.encoding, data.vocabulary)
            note = f"{likelihood.mean:12.3f} nats a note"
        print(f"{name:<28}{np.concatenate(losses).mean():8.3f}{note}")

    print(f"{'uniform':<28}{ev.uniform_nll(V):8.3f} nats a token")
    print(f"{'unigram':<28}{ev.unigram_nll(everything, held_out, V):8.3f}")
    line("bigram", ev.fitted_bigram(data).losses(held_out))
    before = np.concatenate(data.train_own_key)
    for name, checkpoint in tqdm(checkpoints.items(), "evaluate", unit="network", disable=None):
        if checkpoint.vocabulary != data.vocabulary:
            print(f"{name:<28} has another vocabulary: evaluate it on its own")
            continue
        steps = checkpoint.train_config.steps
        line(Path(name).stem, ev.nll(checkpoint.model, held_out, steps, before).per_piece)


def judge(args: argparse.Namespace) -> None:
    """train a network to tell human from generated pieces, and print how well it can"""
    from pianolstm.checkpoint import load_pretrained
    from pianolstm.composing import LONGEST, pieces_of
    from pianolstm.composing import compose as write
    from pianolstm.evaluation import fitted_bigram
    from pianolstm.evaluation.judge import accuracy, long_enough, train_judge

    for name in args.composers:
        network = load_pretrained("events" if name == "bigram" else name)
        data = _dataset(args, network.encoding, network.vocabulary)
        if data.split is None:
            raise ValueError(
                f"{args.songs}: a token store has no pieces; give a folder of MIDI files"
            )
        human = [data.split.train, [*data.split.valid, *data.split.test]]
        starts = [[ids[:1] for ids in data.train_own_key],
                  [ids[:1] for ids in (*data.valid, *data.test)]]  # fmt: skip
        end = network.vocabulary.ids.get(EOS)
        generated, seed = [], args.seed
        for part in starts:
            seeds = range(seed, seed := seed + len(part))
            if name == "bigram":
                new = fitted_bigram(data).generate(int(part[0][0]), LONGEST, seeds, end)
                generated.append(pieces_of(network, part, new))
            else:
                generated.append(write(network, seeds, part, progress=None))
        # What the encoding cannot write must not give the human pieces away
        human = [[network.encoding.decode(network.encoding.encode(p)) for p in h] for h in human]
        found = accuracy(train_judge(human[0], generated[0], args.seed), human[1], generated[1])
        entry = {
            "composer": Path(name).stem,
            "accuracy": found.value,
            "interval": [float(found.low), float(found.high)],
            "trained_on": [len(long_enough(pieces[0])) for pieces in (human, generated)],
            "judged": [len(long_enough(pieces[1])) for pieces in (human, generated)],
            "command": " ".join(["python -m pianolstm", *sys.argv[1:]]),
        }
        print(
            f"{entry['composer']:12} told from human in {found} of cases; judged on "
            f"{' human and '.join(map(str, entry['judged']))} generated pieces"
        )
        _log(args.log, entry)


def compose(args: argparse.Namespace) -> None:
    """write a new piece: as MIDI, as sound and as a picture"""
    from pianolstm.checkpoint import load_pretrained
    from pianolstm.composing import CHORDS, LONGEST
    from pianolstm.composing import compose as write
    from pianolstm.display import audio, roll
    from pianolstm.midi import write_midi
    from pianolstm.prompt import read_prompt

    if args.pieces < 1 or (args.length is not None and args.length < 1):
        raise ValueError(f"--pieces {args.pieces} --length {args.length}: give at least 1 of each")
    if not args.temperature > 0:
        raise ValueError(
            f"--temperature {args.temperature} must be above 0; 0.1 is very cautious, 1 natural"
        )
    name = args.name
    for ending in (".mid", ".mp3", ".png"):
        name = name.removesuffix(ending)
    if Path(name).name != name or not name:
        raise ValueError(f"--name {args.name!r} must be a file's name; give the folder with --out")
    names = [name] if args.pieces == 1 else [f"{name}_{i + 1}" for i in range(args.pieces)]
    files = [args.out / f"{name}{ending}" for name in names for ending in (".mid", ".mp3", ".png")]
    taken = [path.name for path in files if path.exists()]
    if taken and not args.force:
        raise FileExistsError(
            f"{', '.join(taken)} would be overwritten. Say --force, or give another --name or --out"
        )
    loaded = load_pretrained(args.checkpoint)
    prompt, notices = read_prompt(args.prompt, loaded, args.bars)
    for notice in notices:
        print(f"prompt: {notice}", file=sys.stderr)
    seeds = [args.seed + i for i in range(args.pieces)]
    end = loaded.vocabulary.ids.get(EOS)
    length = args.length or (LONGEST if end else CHORDS)
    prompts = [prompt] * args.pieces
    written = write(loaded, seeds, prompts, length, args.temperature, args.top_p, progress=None)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, seed, piece in zip(names, seeds, written):
        finished = end is not None and "no end" not in piece.repaired
        piece = replace(piece, name=name)
        if not len(piece):
            print(f"{name}: the network wrote no note. Try another --seed", file=sys.stderr)
            continue
        sound = audio(piece)
        write_midi(piece, args.out / f"{name}.mid")
        sound.save(args.out / f"{name}.mp3")
        roll(piece).save(args.out / f"{name}.png")
        ending = "ended by itself" if finished else f"cut off after {length:,} tokens"
        print(
            f"{args.out / name}.mid, .mp3, .png: a new piece, {len(piece)} notes, "
            f"{len(piece.bar_starts())} bars, {piece.seconds:.0f} s, {ending}; written by the "
            f"network '{args.checkpoint}' (temperature {args.temperature}, top-p {args.top_p}, "
            f"seed {seed})"
            + (f"; the MP3 holds its first {sound.seconds:.0f} s" if sound.is_cut else "")
        )
        mended = {k: v for k, v in piece.repaired.items() if finished or k != "no end"}
        if mended:
            print(f"mended in {name}: {listed(mended)}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run a command. Faults in what the user gave are one line on stderr, and exit status 2."""
    commands = (read, train, benchmark, evaluate, judge, compose)
    args = parser({function.__name__: function for function in commands}).parse_args(argv)
    try:
        args.function(args)
    except (ValueError, KeyError, OSError) as error:
        print(f"pianolstm {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = {"train": "the same command goes on from the last epoch",
                "read": "nothing was written"}  # fmt: skip
        print(f"\nstopped; {hint.get(args.command, 'run it again')}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
