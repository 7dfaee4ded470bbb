"""The command line: `pianolstm COMMAND`, or `python -m pianolstm COMMAND`.

Commands are the public functions of `commands`; their options are made from the signatures, and
from the fields of the configurations that these take as `settings`.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pianolstm

# PyTorch's threads wait for one another by spinning. Where another process keeps a core busy, each
# wait then lasts until the scheduler takes the core away: commands took 3 to 10 times as long as
# with one thread. After so few turns they sleep instead. It must be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "300")

SETTINGS = (  # that have an option of their own; the others are given with --set
    "hidden", "dropout", "epochs", "seconds", "batch", "steps", "learning_rate", "final_rate",
    "noise", "transpose_until", "seed",
)  # fmt: skip
COMMENT = re.compile(r"^    (\w+): ([^=\n]+?)(?: = [^\n]*?)?,?  # (.+)$", re.MULTILINE)


def summaries() -> dict[str, str]:
    """Name and docstring of each command, without importing anything."""
    source = Path(__file__).with_name("commands.py").read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {f.name: ast.get_docstring(f) for f in found if f.name[0] != "_" if f.args.kwonlyargs}


def options(function: Callable) -> Iterator[tuple[str, dict]]:
    """The options of a command: each its flag, or its name where the place counts, and its rest."""
    from pianolstm.checkpoint import train_config
    from pianolstm.networks import network_config

    parameters = inspect.signature(function).parameters
    for name, kind, text in COMMENT.findall(source_of(function)):
        parameter = parameters[name]
        required = parameter.default is parameter.empty
        words = option(name, kind, text, None if required else parameter.default)
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            yield name, words
        else:
            yield flag(name), words | {"required": required}
        if name == "encoding":
            yield "--helpers", {"help": "of events: home,countdown,approach or some of them (none)"}
    configs = (network_config("note", 0), train_config("note")) if "settings" in parameters else ()
    for config in configs:
        for name, kind, text in COMMENT.findall(source_of(type(config))):
            if name in SETTINGS:
                words = option(name, kind, text, getattr(config, name))
                yield flag(name), words | {"default": None}  # what is not given stays as it is
    if {"settings", "encoding"} & parameters.keys():
        text = "other fields of the encoding" + ", NetworkConfig, TrainConfig" * bool(configs)
        yield "--set", {"action": "append", "default": [], "metavar": "FIELD=VALUE", "help": text}


def source_of(thing: Callable) -> str:
    """Source of a function's signature, or of a dataclass."""
    return inspect.getsource(thing).partition('"""')[0 if inspect.isfunction(thing) else 2]


def flag(name: str) -> str:
    """A name as an option: "top_p" → "--top-p"."""
    return f"--{name.replace('_', '-')}"


def option(name: str, kind: str, text: str, default: object) -> dict:
    """What argparse needs to know of a parameter or a field; `kind` is its annotation."""
    from pianolstm.encodings import ENCODINGS
    from pianolstm.networks import NETWORKS

    if kind == "bool":
        return {"action": "store_true", "help": text}
    if choices := {"encoding": ENCODINGS, "network": NETWORKS}.get(name):
        text += f"; one of {', '.join(choices)}"
    if default not in (None, ()):
        text += f" ({' '.join(map(str, default)) if isinstance(default, tuple) else default})"
    basic = re.search("int|float|Path|str|$", kind).group()
    words = {"type": {"int": int, "float": float, "Path": Path}.get(basic, str)}
    if kind.startswith(("Sequence", "tuple")):
        words["nargs"] = "*" if kind.startswith("Sequence") else "+"
    return words | {"default": default, "help": text}


def parser(command: str) -> argparse.ArgumentParser:
    """All commands; options are made for the one that is called."""
    top = argparse.ArgumentParser("pianolstm", description="Write music, or learn to.")
    top.add_argument("--version", action="version", version=f"pianolstm {pianolstm.__version__}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in summaries().items():
        sub = subparsers.add_parser(
            name, help=summary, usage=f"pianolstm {name} …", formatter_class=OneLine
        )
        if name == command:
            function = getattr(import_module("pianolstm.commands"), name)
            sub.set_defaults(function=function)
            for name_or_flag, words in options(function):
                sub.add_argument(name_or_flag, **words)
    return top


class OneLine(argparse.HelpFormatter):
    """Help with a line for each option, where the terminal is wide enough."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        """A letter for a number: long names would push the descriptions to lines of their own."""
        return {int: "N", float: "X", Path: "PATH"}.get(action.type, "TEXT")


def arguments(function: Callable, args: dict) -> dict:
    """What a command's function takes, from what was typed. Raises ValueError."""
    from pianolstm.encodings import ENCODINGS, encoding_named

    parameters = inspect.signature(function).parameters
    found = {k: v for k, v in args.items() if k in parameters and k != "encoding"}
    settings = {k: v for k, v in args.items() if k in SETTINGS and k not in found and v is not None}
    if (args.get("seed") or 0) < 0:
        raise ValueError(f"--seed {args['seed']}: give 0 or more")
    for pair in args.get("set", ()):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: give FIELD=VALUE, such as clip=0 or transpose=false")
        settings[name] = _value(value)
    helpers = [helper for helper in (args.get("helpers") or "").split(",") if helper]
    known: set[str] = set()
    if name := args.get("encoding") or ("events" if helpers else None):
        known = {f.name for f in fields(ENCODINGS[name])} if name in ENCODINGS else set()
        own = {field: settings.pop(field) for field in known & settings.keys()}
        found["encoding"] = encoding_named(name, helpers, **own)
    if settings and "settings" not in parameters:
        unknown, fields_of = ", ".join(settings), ", ".join(sorted(known)) or "none"
        raise ValueError(f"--set {unknown}: no field of --encoding, whose fields are {fields_of}")
    return found | settings


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main(argv: list[str] | None = None) -> int:
    """Run a command. Faults in what the user gave are one line on stderr, and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a character gets its number
            stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    args = vars(parser(argv[0] if argv else "").parse_args(argv))
    command, function = args.pop("command"), args.pop("function")
    if "command" in inspect.signature(function).parameters:
        args["command"] = shlex.join(["python", "-m", "pianolstm", *argv])
    try:
        function(**arguments(function, args))
    except (ValueError, KeyError, OSError) as error:
        print(f"pianolstm {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = {
            "train": "the same command goes on from the last epoch",
            "read": "nothing was written",
        }
        print(f"\nstopped; {hint.get(command, 'run it again')}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
