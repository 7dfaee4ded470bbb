"""The notebooks as committed: executed, compared, short cells, small files, few words."""

import ast
import re
import statistics
import textwrap
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


def code_cells(path):
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def words_and_cells(path):
    """How many words there are to read, and how many code cells to run.

    Code blocks, HTML tags and addresses are no words. Folded solutions count as words, the code
    cells below the heading "Exercises" do not count as cells.
    """
    words, cells, heading = 0, 0, ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            cells += heading != "Exercises"
            continue
        text = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
        headings = re.findall(r"^#+ (.+)", text, re.MULTILINE)
        heading = headings[-1] if headings else heading
        text = re.sub(r"\]\([^)]*\)|<[^>]+>|https?://\S+", "", text)
        words += sum(bool(re.search(r"\w", word)) for word in text.split())
    return words, cells


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_all_are_there():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{i:02}" for i in range(1, 15)]


def test_the_first_six_are_read_in_an_evening():
    sizes = {path.stem: words_and_cells(path) for path in NOTEBOOKS[:6]}
    words, cells = map(sum, zip(*sizes.values()))
    assert words <= 6500 and cells <= 100, f"{words} words and {cells} code cells: {sizes}"


@pytest.mark.parametrize("path", NOTEBOOKS[6:], ids=lambda path: path.stem)
def test_a_later_notebook_is_short(path):
    words, cells = words_and_cells(path)
    assert words <= 1200
    assert cells <= 14 or path.stem != "11_benchmark"


def test_only_what_is_read_and_run_is_counted(tmp_path):
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [
        markdown("# Two words\n\n```python\nno = 'words'\n```"),
        code("1"),
        markdown("[*one*](page.md#of-three) – <b>two</b> https://a.b/c three\n\n## Exercises"),
        code("2"),
        markdown("<details><summary>Solution</summary>\n\nseven\n</details>"),
        code("3"),
        markdown("## References"),
        code("4"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "some.ipynb")
    assert words_and_cells(tmp_path / "some.ipynb") == (9, 2)


def test_every_cell_has_been_executed_in_order_and_without_error(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]


def test_cells_are_short_and_explained(notebook):
    cells = code_cells(notebook)
    lines = [cell.source.count("\n") + 1 for cell in cells]
    assert max(lines) <= 25
    assert statistics.median(lines) <= 10
    prose = sum(len(cell.source.split()) for cell in nbformat.read(notebook, 4).cells
                if cell.cell_type == "markdown")  # fmt: skip
    assert prose / len(cells) >= 40


def test_the_file_is_small_and_has_sound_and_pictures(notebook):
    assert notebook.stat().st_size <= 1_500_000
    outputs = [o for cell in code_cells(notebook) for o in cell.outputs]
    text = "".join(str(o.get("data", "")) for o in outputs)
    assert "data:audio/mpeg" in text
    assert "image/png" in text


def test_no_path_of_the_machine_that_ran_it(notebook):
    text = re.sub(r"[A-Za-z0-9+/=]{200,}", "", notebook.read_text(encoding="utf-8"))
    assert not re.findall(r"/(?:home|root|Users|work|tmp)/\w+", text)


def test_outputs_are_compared_nearly_everywhere():
    """Strict nbval compares the text outputs of at least 85 % of the cells that print."""
    printing = ignored = 0
    for path in NOTEBOOKS:
        for cell in code_cells(path):
            shown = [o for o in cell.outputs if o.output_type == "stream" or "data" in o]
            printing += bool(shown)
            skipped = re.search(r"NBVAL_(IGNORE_OUTPUT|SKIP)|nbval-(ignore|skip)", str(cell))
            ignored += bool(shown and skipped)
            assert "NBVAL_SKIP" not in cell.source
            if skipped:
                assert "assert " in cell.source, f"{path.name}: an ignored output must assert"
    assert ignored / printing <= 0.15


def assigned(node):
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {part.id for target in targets if target for part in ast.walk(target)
            if isinstance(part, ast.Name)}  # fmt: skip


def solved(exercise, solution):
    """The exercise's code, the solution behind what it fills in."""
    for line in exercise.splitlines():
        if "# change this" in line:
            indent = line[: len(line) - len(line.lstrip())]
            return exercise.replace(line, textwrap.indent(solution, indent))
    names = set().union(*map(assigned, ast.parse(solution).body))
    last = max(node.end_lineno for node in ast.parse(exercise).body if names & assigned(node))
    lines = exercise.splitlines()
    return "\n".join([*lines[:last], solution, *lines[last:]])


@pytest.mark.slow
def test_the_solutions_are_right(notebook):
    """An exercise that trains for two minutes depends on the machine, and is left out."""
    book = nbformat.read(notebook, as_version=4)
    exercises = {}  # place in the notebook → its code with the solution
    for place, cell in enumerate(book.cells):
        for text in re.findall(r"Solution</summary>(.*?)</details>", cell.source, re.DOTALL):
            code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
            if cell.cell_type == "markdown" and code and "seconds" not in code[1]:
                exercises[place - 1] = solved(book.cells[place - 1].source, code[1])
    for place, source in exercises.items():
        book.cells[place].source = source
    NotebookClient(book, timeout=300, resources={"metadata": {"path": notebook.parent}}).execute()
    for place in exercises:
        told = "".join(o.get("text", "") for o in book.cells[place].outputs)
        assert told and not re.search("not yet|not answered", told), (place, told)
