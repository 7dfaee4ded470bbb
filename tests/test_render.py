"""The web pages that `notebooks/render.py` makes, and the glossary."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """File name → text, as the script writes them."""
    out = tmp_path_factory.mktemp("page")
    command = [sys.executable, str(NOTEBOOKS / "render.py"), str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"open {out / 'index.html'}" in result.stdout
    return {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}


def test_every_notebook_has_a_page_with_its_neighbours(page):
    stems = [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    assert {f"{stem}.html" for stem in stems} < set(page)
    for before, stem in pairwise(stems):
        assert f'href="{before}.html">← ' in page[f"{stem}.html"]
        assert f'href="{stem}.html"' in page[f"{before}.html"]
        assert f'href="{stem}.html"' in page["index.html"]


def test_pages_need_nothing_from_elsewhere(page):
    for name, text in page.items():
        needed = re.findall(r'<(?:script|img|link|audio)[^>]*(?:src|href)="([^"]{1,80})', text)
        assert all(n.startswith("data:") or n == "page.css" for n in needed), name


def test_every_link_between_pages_leads_somewhere(page):
    for name, text in page.items():
        for target, place in re.findall(r'href="(\w+\.html)(?:#([^"]+))?"', text):
            assert target in page, f"{name} links to {target}"
            if place:
                assert f'id="{place}"' in page[target], f"{name} links to {target}#{place}"
        assert ".ipynb" not in "".join(re.findall(r'href="([^"]+)"', text))


def test_every_picture_has_words(page):
    for name, text in page.items():
        for tag in re.findall(r"<img[^>]*>", text, re.DOTALL):
            words = re.search(r'alt="([^"]+)"', tag)
            assert words and "No description" not in words[1], f"{name}: {tag[-200:]}"


def test_solutions_stay_folded_away(page):
    for name in sorted(set(page) - {"page.css", "index.html", "glossary.html"}):
        solutions = re.findall(r"<details>.*?</summary>(.*?)</details>", page[name], re.DOTALL)
        assert solutions, name
        assert all(solution.strip() for solution in solutions), name


@pytest.fixture
def half_executed(tmp_path):
    """A folder with two notebooks, in the second of which a cell has not been executed."""
    for name, count in (("01_done", 1), ("02_open", None)):
        title = nbformat.v4.new_markdown_cell(f"# {name}")
        cell = nbformat.v4.new_code_cell("x = 1\nx + 1", execution_count=count)
        notebook = nbformat.v4.new_notebook(cells=[title, cell])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    return tmp_path


def test_a_cell_that_was_not_executed_is_named_and_earlier_pages_stay(render, half_executed):
    out = half_executed / "out"
    message = r"02_open\.ipynb: cell 2, which begins with 'x = 1', has not been executed"
    for _ in range(2):  # what stays does not stand in the way of a second run
        with pytest.raises(ValueError, match=message):
            render.render(out, half_executed)
        assert sorted(path.name for path in out.iterdir()) == ["01_done.html", "page.css"]


@pytest.mark.parametrize("name", ["index.html", "page.css", "photo.png"])
def test_a_folder_with_other_files_is_refused(render, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(SystemExit) as stop:
        render.main([str(tmp_path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"render.py: {tmp_path / name} was not made by this script. Move it")
    assert error.count("\n") == 1
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_glossary_explains_every_linked_term_and_links_every_term():
    glossary = (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^## (.+)\n\n\*\*(.+)\*\* · (.+)$", glossary, re.MULTILINE)
    assert len(entries) == glossary.count("## ") >= 60
    terms = [term.replace(" ", "-") for term, _, _ in entries]
    assert len(set(terms)) == len(terms)
    for term, japanese, sentence in entries:
        assert sentence.endswith(".") and len(sentence) > 20, term
        known = {"RMSprop", "AdamW", "top-k", "top-p"}  # written alike in Japanese
        assert re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", japanese) or term in known, term
    linked = set()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
        linked |= set(re.findall(r"\(glossary\.md#([^)]+)\)", text))
    assert linked == set(terms)
