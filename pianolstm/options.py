"""The options of every command of `python -m pianolstm`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from pianolstm import __version__
from pianolstm.folder import PERFORMANCES

OUR_SONGS = Path("midi_songs")
SHIPPED = (
    "events",
    "rhythm",
    "ensemble",
    "voicing",
    "note",
    "article",
    "article_2019",
    "rolls",
    "jsb",
    "nottingham",
)
NETWORKS = ("note", "gru", "transformer", "article", "article_2019")
BOTH = argparse.BooleanOptionalAction  # --x and --no-x


def parser(commands: dict[str, Callable]) -> argparse.ArgumentParser:
    """All commands (name → function) and their options."""
    top = argparse.ArgumentParser("pianolstm", description="Write music, or learn to.")
    top.add_argument("--version", action="version", version=f"pianolstm {__version__}")
    subparsers = top.add_subparsers(dest="command", required=True)

    def add(name: str) -> argparse.ArgumentParser:
        function = commands[name]
        sub = subparsers.add_parser(
            name,
            help=function.__doc__,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        sub.set_defaults(function=function)
        return sub

    def add_songs(sub: argparse.ArgumentParser) -> None:
        songs_help = "folder of MIDI files, or a token store that `read` made"
        sub.add_argument("--songs", type=Path, default=OUR_SONGS, help=songs_help)
        add_choice(sub)

    def add_choice(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--recursive", action="store_true", help="its subfolders too")
        sub.add_argument("--all-pieces", action="store_true", help="not only the Bach chorales")
        only_help = "pieces whose names fit, such as 'bach_*', rather than the chorales"
        sub.add_argument("--only", nargs="+", metavar="PATTERN", help=only_help)

    def add_encoding(sub: argparse.ArgumentParser) -> None:
        encoding_help = "chords in even steps, chords with durations, or notes as events"
        choices = ("article", "rhythm", "events")
        sub.add_argument("--encoding", choices=choices, default="article", help=encoding_help)
        sub.add_argument("--voicing", action="store_true", help="article: keep chords' octaves")
        sub.add_argument("--tracks", action="store_true", help="events: name instrument and track")
        home_help = "events: write every piece as if in C major or A minor"
        sub.add_argument("--home", action="store_true", help=home_help)
        countdown_help = "events: bar lines say how many bars are left"
        sub.add_argument("--countdown", action="store_true", help=countdown_help)
        approach_help = "events: onsets so near to the last chord say how many quarters are left"
        sub.add_argument("--approach", type=int, default=0, metavar="QUARTERS", help=approach_help)

    sub = add("read")
    sub.add_argument("folder", type=Path, help="its subfolders are read too")
    sub.add_argument("--flat", action="store_true", help="not its subfolders")
    sub.add_argument("--out", type=Path, required=True, help="the token store, a new folder")
    add_encoding(sub)
    grid_help = "divisions of a quarter that notes move to; none: leave them"
    sub.add_argument("--grid", type=int, nargs="*", default=(4, 3), metavar="N", help=grid_help)
    beat_help = "recordings without a beat: keep as played, drop, or bend to the grid"
    sub.add_argument("--performances", choices=PERFORMANCES, default="keep", help=beat_help)
    music_help = "all (but drums), piano, a General MIDI name such as Violin, or its number"
    sub.add_argument("--instruments", default="all", help=music_help)
    sub.add_argument("--audit", action="store_true", help="count every note a second time (slow)")
    sub.add_argument("--processes", type=int, help="one for each core unless given")

    def add_training(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--hidden", type=int, nargs="+", help="units of each layer")
        sub.add_argument("--dropout", type=float)
        sub.add_argument("--shared", action=BOTH, help="tokens share the vectors of their features")
        sub.add_argument("--grammar", action=BOTH, help="no probability for what cannot follow")
        sub.add_argument("--epochs", type=int)
        sub.add_argument("--steps", type=int, help="length of a window or of a chunk, in tokens")
        sub.add_argument("--batch", type=int)
        sub.add_argument("--learning-rate", type=float)
        sub.add_argument("--warmup", type=float, help="share of the run in which the rate rises")
        sub.add_argument(
            "--final-rate", type=float, help="share of the rate at the end; 1: no fall"
        )
        sub.add_argument(
            "--optimizer",
            choices=("adamw", "rmsprop"),
            help="adamw, or rmsprop for article, unless given",
        )
        sub.add_argument("--weight-decay", type=float)
        noise_help = "share of the tokens read that are replaced by others of the batch"
        sub.add_argument("--noise", type=float, help=noise_help)
        sub.add_argument("--clip", type=float, help="largest norm of the gradient; 0: any")
        sub.add_argument("--transpose", action=BOTH, help="a random key for each piece")
        until_help = "share of the run after which pieces stay in their own keys"
        sub.add_argument("--transpose-until", type=float, help=until_help)
        sub.add_argument("--seconds", type=float, help="stop after so long")
        sub.add_argument("--seed", type=int)
        sub.add_argument("--out", type=Path, default=Path("runs/latest"), help="folder of the run")
        sub.add_argument("--log", type=Path, help="append a line with the command and its result")
        sub.add_argument("--export", type=Path, help="also write the best here, in half precision")
        sub.add_argument("--last", action="store_true", help="export the last epoch, not the best")

    sub = add("train")
    add_songs(sub)
    sub.add_argument("--network", choices=NETWORKS, default="note")
    add_encoding(sub)
    sub.add_argument("--at-least", type=int, default=1, metavar="N",
                     help="tokens seen less often become <unk>")  # fmt: skip
    add_training(sub)
    sub = add("benchmark")
    rolls_help = "JSB_Chorales.mat or another set of piano rolls, or a folder of MIDI files"
    sub.add_argument("rolls", type=Path, help=rolls_help)
    add_choice(sub)
    sub.add_argument("--frames", type=int, help="a quarter, for MIDI files; 2 unless given")
    sub.add_argument("--network", choices=NETWORKS[:3], help="note unless given")
    sub.add_argument("--no-baselines", action="store_true", help="train and measure only")
    sub.add_argument("--name", help="of the result in the log")
    sub.add_argument("--checkpoint", help="measure this one, a file or jsb, and train nothing")
    add_training(sub)
    sub = add("evaluate")
    add_songs(sub)
    sub.add_argument("checkpoints", nargs="*", default=["article", "note"],
                     help=f"files, or names of shipped ones: {', '.join(SHIPPED)}")  # fmt: skip
    sub = add("judge")
    add_songs(sub)
    sub.add_argument("composers", nargs="*", default=["bigram", "article", "events"],
                     help=f"bigram, or a network: a file, or {', '.join(SHIPPED)}")  # fmt: skip
    sub.add_argument("--seed", type=int, default=5000, help="of the first piece, and of the judge")
    sub.add_argument("--log", type=Path, help="append a line for each result")
    sub = add("compose")
    sub.add_argument("--length", type=int, metavar="TOKENS",
                     help="so many at most; otherwise the piece ends by itself")  # fmt: skip
    sub.add_argument("--temperature", type=float, default=1.0,
                     help="below 1 the music is more cautious, above it more daring")  # fmt: skip
    sub.add_argument("--top-p", type=float, default=0.95,
                     help="1 allows every chord, less only the likelier ones")  # fmt: skip
    sub.add_argument("--seed", type=int, default=1, help="another number, another piece")
    prompt_help = (
        "how it begins: a MIDI file (its first two bars), or chords and notes with their quarters, "
        "such as 'C3.G3.E4:1 D4:0.5 rest:0.5'; the network's own beginning unless given"
    )
    sub.add_argument("--prompt", help=prompt_help)
    sub.add_argument("--bars", type=int, help="length that the piece is told to have")
    sub.add_argument("--pieces", type=int, default=1, help="how many; seeds count up")
    sub.add_argument("--out", type=Path, default=Path(), help="folder for the files")
    sub.add_argument("--name", default="composition", help="name of the files, without ending")
    sub.add_argument("--force", action="store_true", help="overwrite files of that name")
    sub.add_argument("--checkpoint", default="events",
                     help=f"the network: a file, or {', '.join(SHIPPED)}")  # fmt: skip
    return top
