"""Rules of the house, measured: sizes, what imports what, and that everything is explained."""

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pianolstm"
MEASURED = [  # in this order: a module imports only from those above it
    "piece",
    "midi_events",
    "midi_bytes",
    "midi",
    "grid",
    "hands",
    "encodings.base",
    "encodings.spelling",
    "encodings.article",
    "encodings.rhythm",
    "encodings.rolls",
    "encodings.event_tokens",
    "encodings.events",
    "encodings",
    "vocabulary",
    "split",
    "parallel",
    "folder",
    "store",
    "dataset",
    "networks.base",
    "networks.article",
    "networks.note",
    "networks.keys",
    "networks",
    "memory",
    "checkpoint",
    "generation",
    "rules",
    "particles",
    "evaluation.statistics",
    "evaluation.copying",
    "evaluation.baselines",
    "evaluation.likelihood",
    "evaluation.fitting",
    "evaluation.benchmark",
    "evaluation.judge",
    "evaluation",
    "distributed",
    "batches",
    "training",
    "display.roll",
    "display.notation",
    "display.staves",
    "display.score",
    "display.soundfont",
    "display.sound",
    "display.player",
    "display",
    "output",
    "composing",
    "harmonising",
    "commands",
    "__main__",
]
LINES, FUNCTION_LINES = 300, 45
LONGER = {"midi": 340}  # lines of a module
DOCSTRINGS = 0.15  # of all lines of the package
CODE_LINES_OF_ALL, LINES_OF_ALL = 5208, 8100  # of the package: numbers that may only fall
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip
EXPLAINED_WHERE_THEY_ARE_FIRST = {  # methods of networks that override documented ones
    "embed", "head", "step", "train", "zero_state",
    "hidden_states", "forward",
}  # fmt: skip
HEAVY = {"music21", "pretty_midi", "scipy"}  # may be imported where they are used
LAZY = {"__main__": {"pianolstm"}}  # `pianolstm --help` loads neither torch nor music21
KNOWS_IDS_ONLY = sorted((PACKAGE / "networks").glob("*.py"))
NOTES_AND_TOKENS = {
    "piece", "midi_events", "midi_bytes", "midi", "grid", "hands", "encodings", "folder", "store",
}  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef


def path_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(node: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import below a node, and the name of the module that it is of."""
    for child in ast.walk(node):
        if isinstance(child, ast.ImportFrom) and child.module != "pianolstm":
            assert child.level == 0, "import by the full name"
            yield child, child.module
        elif isinstance(child, ast.Import | ast.ImportFrom):
            package = f"{child.module}." if isinstance(child, ast.ImportFrom) else ""
            yield from ((child, package + alias.name) for alias in child.names)


def own_imports(path: Path) -> set[str]:
    """The modules of ours that a file imports from."""
    names = {name for _, name in imports_of(tree_of(path))}
    return {name.removeprefix("pianolstm.") for name in names if name.startswith("pianolstm.")}


def docstring_lines(tree: ast.Module) -> set[int]:
    """Numbers of the lines of all docstrings of a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            found |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    return found


def code_lines(path: Path) -> int:
    """Lines of a module without blanks, comments and docstrings."""
    text, found = path.read_text(encoding="utf-8"), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            found |= {*range(token.start[0], token.end[0] + 1)}
    return len(found - docstring_lines(ast.parse(text)))


@pytest.mark.parametrize("module", MEASURED)
def test_a_module_fits_on_a_few_screens(module):
    lines = len(path_of(module).read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER.get(module, LINES)


@pytest.mark.parametrize("module", MEASURED)
def test_a_function_fits_on_one_screen(module):
    functions = [n for n in ast.walk(tree_of(path_of(module))) if isinstance(n, Function)]
    lengths = [(node.end_lineno - node.lineno + 1, node.name) for node in functions]
    assert not [found for found in lengths if found[0] > FUNCTION_LINES]


@pytest.mark.parametrize("module", MEASURED)
def test_imports_stand_at_the_top(module):
    tree = tree_of(path_of(module))
    at_the_top = []
    for statement in tree.body[1:]:  # the docstring comes first
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            break
        at_the_top.append(statement)
    later = {name for node, name in imports_of(tree) if node not in at_the_top}
    assert {name.partition(".")[0] for name in later} <= HEAVY | LAZY.get(module, set())


@pytest.mark.parametrize("module", MEASURED)
def test_a_module_imports_only_from_those_above_it(module):
    assert own_imports(path_of(module)) <= set(MEASURED[: MEASURED.index(module)])


@pytest.mark.parametrize("module", MEASURED)
def test_what_is_public_is_explained(module):
    tree = tree_of(path_of(module))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    members = [node for owner in classes if owner.name[0] != "_" for node in owner.body]
    named = [n for n in tree.body + members if isinstance(n, Function | ast.ClassDef)]
    silent = [n.name for n in named if n.name[0] != "_" and not ast.get_docstring(n)]
    assert ast.get_docstring(tree) and not set(silent) - EXPLAINED_WHERE_THEY_ARE_FIRST


def test_every_module_of_a_measured_package_is_measured():
    packages = {module.partition(".")[0] for module in MEASURED if path_of(module).name[0] == "_"}
    files = {path for package in packages for path in (PACKAGE / package).glob("*.py")}
    assert packages and files <= {path_of(module) for module in MEASURED}


def test_reading_and_encoding_need_no_torch():
    code = "import sys, pianolstm.encodings, pianolstm.store; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("path", KNOWS_IDS_ONLY, ids=lambda path: path.stem)
def test_networks_know_ids_only(path):
    assert not {name.partition(".")[0] for name in own_imports(path)} & NOTES_AND_TOKENS


def test_the_package_is_small_and_docstrings_are_not_saved_on():
    files = sorted(PACKAGE.rglob("*.py"))
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert sum(map(code_lines, files)) <= CODE_LINES_OF_ALL
    assert total <= LINES_OF_ALL
    assert sum(len(docstring_lines(tree_of(path))) for path in files) >= DOCSTRINGS * total
