"""The command line: `pianolstm COMMAND`, or `python -m pianolstm COMMAND`.

Commands are the public functions of `commands`; their options are made from the signatures, and
from the fields of the configurations that these take as `settings`.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
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
KINDS = {  # part of an annotation → type, and what stands for a value in the help
    "int": (int, "N"), "float": (float, "X"), "Path": (Path, "PATH"), "": (str, "TEXT"),
}  # fmt: skip


def summaries() -> dict[str, str]:
    """Name and docstring of each command, without importing anything."""
    source = Path(__file__).with_name("commands.py").read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_docstring(node) for node in found if node.name[0] != "_"}


def options(function: Callable) -> dict[str, dict]:
    """What argparse needs to know of each option of a command, or argument, by its flag or name."""
    from pianolstm.checkpoint import train_config
    from pianolstm.networks import network_config

    parameters = inspect.signature(function).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    described, found = COMMENT.findall(inspect.getsource(function)), {}
    configs = (network_config("note", 0), train_config("note")) if "settings" in parameters else ()
    for config in configs:
        described += COMMENT.findall(inspect.getsource(type(config)))
        defaults |= {name: getattr(config, name) for name in SETTINGS if hasattr(config, name)}
    for name, kind, text in described:
        if name not in defaults:
            continue
        words = option(name, kind, text, defaults[name])
        if name in parameters and parameters[name].kind.name == "POSITIONAL_OR_KEYWORD":
            found[name] = words | {"metavar": name}
        else:
            words["required"] = defaults[name] is inspect.Parameter.empty
            found[f"--{name.replace('_', '-')}"] = words
    if "encoding" in parameters:
        text = "of events: home,countdown,approach or some of them (none)"
        found["--helpers"] = {"metavar": "TEXT", "help": text}
    if "encoding" in parameters or configs:
        text = "other fields of the encoding" + ", NetworkConfig, TrainConfig" * bool(configs)
        found["--set"] = {"action": "append", "metavar": "FIELD=VALUE", "help": text}
    return found


def option(name: str, kind: str, text: str, default: object) -> dict:
    """What argparse needs to know of a parameter or a field; `kind` is its annotation."""
    from pianolstm.encodings import ENCODINGS
    from pianolstm.networks import NETWORKS

    if kind == "bool":
        return {"action": "store_true", "help": text}
    if choices := {"encoding": ENCODINGS, "network": NETWORKS}.get(name):
        text += f"; one of {', '.join(choices)}"
    if default not in (None, (), inspect.Parameter.empty):
        text += f" ({' '.join(map(str, default)) if isinstance(default, tuple) else default})"
    of_type, metavar = next(found for part, found in KINDS.items() if part in kind)
    nargs = {"Sequence": "*", "tuple": "+"}.get(kind.partition("[")[0])
    return {"type": of_type, "metavar": metavar, "nargs": nargs, "help": text}


def parser(command: str) -> argparse.ArgumentParser:
    """All commands; options are made for the one that is called, and only given ones are found."""
    one_line = partial(argparse.HelpFormatter, max_help_position=30, width=100)  # for each option
    top = argparse.ArgumentParser("pianolstm", description="Write music, or learn to.")
    top.add_argument("--version", action="version", version=f"pianolstm {pianolstm.__version__}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in summaries().items():
        sub = subparsers.add_parser(
            name, help=summary, usage=f"pianolstm {name} …", formatter_class=one_line,
            argument_default=argparse.SUPPRESS,
        )  # fmt: skip
        if name == command:
            function = getattr(import_module("pianolstm.commands"), name)
            for name_or_flag, words in options(function).items():
                sub.add_argument(name_or_flag, **words)
    return top


def arguments(function: Callable, args: dict) -> dict:
    """What a command's function takes, from what was typed. Raises ValueError."""
    from pianolstm.encodings import ENCODINGS, encoding_named

    parameters, known = inspect.signature(function).parameters, set()
    helpers = args.pop("helpers", "").replace(",", " ").split()
    for pair in args.pop("set", ()):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: give FIELD=VALUE, such as clip=0 or transpose=false")
        args[name] = _value(value)
    if args.get("seed", 0) < 0:
        raise ValueError(f"--seed {args['seed']}: give 0 or more")
    if name := args.get("encoding") or ("events" if helpers else None):
        known = {f.name for f in fields(ENCODINGS[name])} if name in ENCODINGS else known
        own = {field: args.pop(field) for field in known & args.keys()}
        args["encoding"] = encoding_named(name, helpers, **own)
    unknown = args.keys() - parameters.keys()
    if unknown and "settings" not in parameters:
        names, fields_of = ", ".join(sorted(unknown)), ", ".join(sorted(known)) or "none"
        raise ValueError(f"--set {names}: no field of --encoding, whose fields are {fields_of}")
    return args


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def run(argv: Sequence[str]) -> object:
    """What the function of a command returns. Raises what it raises."""
    known, unknown = parser(argv[0] if argv else "").parse_known_args(argv)
    if unknown:
        quote = "Put notes, or a name with spaces, in quotation marks"
        hint = "See --help" if unknown[0].startswith("-") else quote
        raise ValueError(f"{unknown[0]} is not expected here. {hint}")
    args = vars(known)
    function = getattr(import_module("pianolstm.commands"), args.pop("command"))
    if "command" in inspect.signature(function).parameters:
        args["command"] = shlex.join(["python", "-m", "pianolstm", *argv])
    return function(**arguments(function, args))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Faults in what the user gave are one line on stderr, and exit status 2."""
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a character gets its number
        stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    try:
        run(argv)
    except (ValueError, KeyError, OSError) as error:
        print(f"pianolstm {argv[0]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        kept = "nothing was written" if argv[0] == "read" else "run it again"
        print("\nstopped;", stop if stop.args else kept, file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
