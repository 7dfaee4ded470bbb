import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from pianolstm.__main__ import main
from pianolstm.page import build_page

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    return {path.name: path.read_text(encoding="utf-8") for path in build_page(out, NOTEBOOKS)}


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


def test_a_notebook_that_was_not_executed_is_refused(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01 · x"),
                                               nbformat.v4.new_code_cell("1 + 1")])  # fmt: skip
    nbformat.write(notebook, tmp_path / "01_x.ipynb")
    with pytest.raises(ValueError, match=r"01_x\.ipynb has not been executed"):
        build_page(tmp_path / "out", tmp_path)


def test_other_pages_are_not_overwritten(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other pages"):
        build_page(tmp_path, NOTEBOOKS)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_the_command_says_what_to_open(tmp_path, capsys, monkeypatch):
    assert main(["page", str(tmp_path / "out"), "--notebooks", str(NOTEBOOKS)]) == 0
    assert "index.html" in capsys.readouterr().out
    assert main(["page", str(tmp_path / "out"), "--notebooks", str(tmp_path)]) == 2
    assert "no notebooks. Run this where the project lies" in capsys.readouterr().err


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
