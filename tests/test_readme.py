"""What README.md tells people to type is run here, on small data, and its links lead somewhere.

Every line of a code block and every command between backticks runs in a temporary folder as it
stands there. `SHORTER` has the commands that would take too long, each with the form that runs
instead; `ELSEWHERE` those that another file of the project runs. A new command needs an entry only
if it is one of these.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pianolstm import commands
from pianolstm.__main__ import main, options, summaries
from pianolstm.encodings import PianoRollEncoding
from pianolstm.midi import read_midi

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = ("python", "python3", "pip", "uv", "pytest", "torchrun", "jupyter", "git")
TRAIN = "python -m pianolstm train --songs DATA --out runs/mine"

SHORTER = {
    "python3 -m venv .venv": "python3 -m venv --without-pip .venv",
    "uv venv --seed": "uv venv --offline",
    "jupyter lab notebooks/01_data_exploration.ipynb": "jupyter lab --version",
    f"{TRAIN} --set start=form --learning-rate 0.002 --seconds 300": (
        f"{TRAIN} --set start=form --learning-rate 0.002 --epochs 1"
    ),
    "torchrun --nproc-per-node=2 -m pianolstm train --songs DATA --out runs/two": (
        "torchrun --standalone --nproc-per-node=2 -m pianolstm train --songs midi_songs "
        "--out runs/two --epochs 1 --hidden 16"
    ),
    "pytest -m slow": "pytest -m slow --collect-only tests/test_speed.py",
    "pytest -m slow -s tests/test_speed.py": "pytest -m slow --collect-only tests/test_speed.py",
}
WORKFLOW = ".github/workflows/tests.yml"
ELSEWHERE = {
    "pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu": WORKFLOW,
    "pip install -r requirements.txt": WORKFLOW,
    "pytest": WORKFLOW,
    "pytest -m browser": WORKFLOW,
}


def blocks() -> list[tuple[str, str]]:
    """Language and text of each code block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def inline_commands() -> list[str]:
    """The commands that stand between backticks in tables and sentences."""
    found = []
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.S | re.M)):
        first, _, rest = span.partition(" ")
        if first in summaries() and rest:
            found.append(f"python -m pianolstm {span}")
        elif first in PROGRAMS and rest and span != "python -m pianolstm":
            found.append(span)
    return found


SHELL = [text.splitlines() for language, text in blocks() if language == "bash"]
COMMANDS = [*SHELL, *([command] for command in inline_commands())]


@pytest.fixture
def small_project(tmp_path, monkeypatch, mat_file):
    """A folder with what the commands name, all of it small; it is the working directory."""
    songs = sorted((ROOT / "midi_songs").glob("bach_bwv26*.mid"))
    for folder, chosen in (("midi_songs", songs), ("FOLDER", songs[:5])):
        (tmp_path / folder).mkdir()
        for song in chosen:
            shutil.copy(song, tmp_path / folder)
    (tmp_path / "FOLDER" / songs[0].name).rename(tmp_path / "FOLDER" / "some.mid")
    rolls = [PianoRollEncoding().roll(read_midi(song)) for song in songs[:4]]
    for name in ("JSB_Chorales.mat", "Nottingham.mat"):
        mat_file(name, traindata=rolls[:2], validdata=rolls[2:3], testdata=rolls[3:])
    for folder in ("images", "notebooks/templates"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("render.py", "glossary.md", "02_encoding.ipynb"):
        shutil.copy(ROOT / "notebooks" / name, tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, folder: Path) -> None:
    """Run one line, or its shorter form. Commands of the package run in this process: faster."""
    if command in ELSEWHERE:
        text = (ROOT / ELSEWHERE[command]).read_text(encoding="utf-8")
        assert re.search(rf"\b{re.escape(command)}(?!\S)", text), f"nothing runs {command}"
        return
    command = SHORTER.get(command, command)
    words = shlex.split(command)
    if words[:3] == ["python", "-m", "pianolstm"]:
        assert main(words[3:]) == 0, command
        return
    if words[0] == "uv" and not shutil.which("uv"):
        pytest.skip("uv is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, executable=shutil.which("bash"), capture_output=True, text=True,
        cwd=ROOT if words[0] == "pytest" else folder, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"


@pytest.mark.parametrize("lines", COMMANDS, ids=lambda lines: lines[-1][:60])
def test_commands_run_as_they_stand(lines, small_project):
    for line in lines:
        run(line, small_project)
    if any("compose" in line for line in lines):
        assert list(small_project.glob("*.mp3")) and list(small_project.glob("*.mid"))


@pytest.mark.skipif(os.name != "nt", reason="commands for Windows")
def test_commands_for_windows(small_project):
    (text,) = (text for language, text in blocks() if language == "bat")
    for line in text.splitlines():
        run(line, small_project)


def test_the_ten_lines_do_what_they_say(small_project, capsys):
    (text,) = (text for language, text in blocks() if language == "python")
    assert len([line for line in text.splitlines() if line]) == 10
    exec(compile(text, "README.md", "exec"), {})
    promised = re.findall(r"^print\(.*\)  # (.+)$", text, re.MULTILINE)
    assert promised == capsys.readouterr().out.splitlines()
    for path in re.findall(r'"(\w+\.(?:mid|mp3))"', text):
        assert (small_project / path).stat().st_size > 100


def test_no_block_and_no_entry_is_left_over():
    assert {language for language, _ in blocks()} == {"bash", "bat", "python"}
    assert README.count("```") == 2 * len(blocks())
    lines = {line for lines in COMMANDS for line in lines}
    assert {*SHORTER, *ELSEWHERE} <= lines
    assert not SHORTER.keys() & ELSEWHERE.keys()


def test_options_in_sentences_exist():
    flags = {flag for name in summaries() for flag in options(getattr(commands, name))}
    named = set(re.findall(r"`(--[a-z-]+)", README)) - {"--help"}
    assert named and named <= flags


def test_links_and_file_names():
    links = re.findall(r"\]\(([^)]+)\)", README)
    for link in links:
        assert link.startswith("http") or (ROOT / link).is_file(), link
    listed = [link for link in links if link.endswith(".ipynb")]
    notebooks = [f"notebooks/{path.name}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert sorted(set(listed)) == notebooks
    assert [link for link in listed if README.count(f"| [{link[10:12]} ")] == listed


def test_it_has_900_words_at_most():
    text = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)|https?://\S+", "", text)
    words = [word for word in text.split() if re.search(r"\w", word)]
    assert len(words) <= 900, f"{len(words)} words"
