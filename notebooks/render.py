"""Renders the notebooks of this folder, with their results, as web pages that work offline.

    python notebooks/render.py OUT

Nothing is executed. OUT gets a page for each notebook, the glossary and a contents page,
`index.html`. At a cell that has not been executed it stops; the pages written so far stay.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
import shutil
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE / "templates"
OUR_MARKS = {".html": 'href="page.css"', ".css": "nav.pages"}  # what our own files contain

CONTENTS = """# How a neural network learns to write piano music

Each page is a notebook with its results; press play on a piano roll to hear it. To run the code
yourself, see the README of the project.

| page | the question |
|---|---|
{rows}

[Glossary](glossary.html): each term in a sentence, and in Japanese."""

TEXT_PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>\
<meta name="viewport" content="width=device-width, initial-scale=1">\
<link rel="stylesheet" href="page.css"></head><body>{navigation}\
<main class="text">{body}</main></body></html>"""


def render(out: Path, notebooks: Path = HERE) -> list[Path]:
    """Render the notebooks, the glossary and a contents page into the folder `out`.

    Returns the files written. Raises FileExistsError if the folder holds other files, and
    ValueError at a cell that has not been executed.
    """
    refuse_other_files(out)
    out.mkdir(parents=True, exist_ok=True)
    written = [Path(shutil.copy(TEMPLATES / "page.css", out))]
    opened = {}
    for path in sorted(notebooks.glob("[0-9]*.ipynb")):
        opened[path.stem] = nbformat.read(path, as_version=4)
    titles = {stem: title_of(notebook.cells[0].source) for stem, notebook in opened.items()}
    exporter = HTMLExporter(template_file=str(TEMPLATES / "page.html.j2"))
    rows = []
    for stem, notebook in tqdm(opened.items(), desc="page", unit="notebook", disable=None):
        check_executed(notebook, f"{stem}.ipynb", len(rows))
        notebook.metadata["title"] = titles[stem]
        resources = {"navigation": navigation(titles, stem)}
        body, _ = exporter.from_notebook_node(notebook, resources)
        written.append(out / f"{stem}.html")
        written[-1].write_text(link_pages(embed_images(body, notebooks)), encoding="utf-8")
        rows.append(f"| [{titles[stem]}]({stem}.html) | {question_of(notebook.cells[0].source)} |")
    glossary = mark_japanese((notebooks / "glossary.md").read_text(encoding="utf-8"))
    contents = CONTENTS.format(rows="\n".join(rows))
    written.append(write_text_page(out / "glossary.html", glossary, navigation(titles)))
    written.append(write_text_page(out / "index.html", contents, ""))
    return written


def refuse_other_files(out: Path) -> None:
    """Raise FileExistsError if `out` holds anything but pages of ours. Hidden files are ignored."""
    for path in sorted(out.iterdir()) if out.exists() else []:
        if path.name.startswith("."):
            continue
        mark = OUR_MARKS.get(path.suffix)
        if mark is None or mark not in path.read_text(encoding="utf-8", errors="replace"):
            raise FileExistsError(
                f"{path} was not made by this script. Move it away, or name another folder"
            )


def check_executed(notebook: nbformat.NotebookNode, name: str, before: int = 0) -> None:
    """Raise ValueError at the first code cell that has not been executed."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source and not cell.execution_count:
            first_line = cell.source.splitlines()[0]
            raise ValueError(
                f"{name}: cell {number}, which begins with {first_line!r}, has not been executed. "
                f"Run the notebook and save it. The pages written so far, {before}, stay"
            )


def title_of(first_cell: str) -> str:
    """The heading of a notebook."""
    return first_cell.splitlines()[0].lstrip("# ")


def question_of(first_cell: str) -> str:
    """The question that a notebook asks: what its first cell has in bold type."""
    bold = re.search(r"\*\*(.+?)\*\*", first_cell, re.DOTALL)
    if not bold:
        return ""
    return re.sub(r"^The question[^:]*: ", "", bold[1].replace("\n", " "))


def navigation(titles: dict[str, str], stem: str | None = None) -> str:
    """Links to the contents, to the notebooks before and after `stem`, and to the glossary."""
    links = [("index", "Contents")]
    if stem:
        stems = list(titles)
        place = stems.index(stem)
        for before in stems[:place][-1:]:
            links.append((before, f"← {titles[before]}"))
        for after in stems[place + 1 :][:1]:
            links.append((after, f"{titles[after]} →"))
    links.append(("glossary", "Glossary"))
    anchors = [f'<a href="{page}.html">{html.escape(text)}</a>' for page, text in links]
    return f'<nav class="pages" aria-label="Pages">{" ".join(anchors)}</nav>'


def embed_images(body: str, notebooks: Path) -> str:
    """Put the pictures of the folder `images` into the page itself.

    `HTMLExporter(embed_images=True)` does not do: it leaves out files from other folders than the
    notebook's own, and it closes `<details>` before the solution that should be folded away.
    """

    def embedded(match: re.Match) -> str:
        data = base64.b64encode((notebooks / match[1]).read_bytes()).decode("ascii")
        return f'src="data:image/png;base64,{data}"'

    return re.sub(r'src="(\.\./images/[^"]+\.png)"', embedded, body)


def link_pages(body: str) -> str:
    """Turn links between notebooks into links between pages."""
    return re.sub(r'href="((?:\d\d_\w+)|glossary)\.(?:ipynb|md)', r'href="\1.html', body)


def mark_japanese(glossary: str) -> str:
    """Mark the Japanese terms as such, for fonts and screen readers."""
    marked = r'\1\n\n<strong lang="ja">\2</strong> · '
    return re.sub(r"^(## .+)\n\n\*\*(.+?)\*\* · ", marked, glossary, flags=re.MULTILINE)


def write_text_page(path: Path, text: str, links: str) -> Path:
    """Write a page from Markdown; the links of `navigation` stand above it."""
    title = html.escape(title_of(text))
    body = link_pages(markdown2html(text))
    path.write_text(TEXT_PAGE.format(title=title, navigation=links, body=body), encoding="utf-8")
    return path


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out_help = "folder for the pages: new, empty, or written by this script before"
    parser.add_argument("out", type=Path, metavar="OUT", help=out_help)
    out = parser.parse_args(argv).out
    try:
        written = render(out)
    except (OSError, ValueError) as error:
        parser.exit(2, f"render.py: {error}\n")
    print(f"{len(written)} files written; open {out / 'index.html'}")


if __name__ == "__main__":
    main()
