"""The committed notebooks → a folder of static HTML that works offline. Nothing is executed."""

from __future__ import annotations

import base64
import html
import re
from importlib import resources
from pathlib import Path

from tqdm import tqdm

PROLOGUE = """# How a neural network learns to write piano music

Each page is a notebook with its results; press play on a piano roll to hear it. To run the code
yourself, see the README of the project.

"""


def build_page(out: str | Path, notebooks: str | Path = "notebooks") -> list[Path]:
    """Render every notebook, the glossary and a contents page into the folder `out`.

    Returns the files written. Raises FileNotFoundError if there are no notebooks, and ValueError
    for one that has not been executed.
    """
    import nbformat

    out, notebooks = Path(out), Path(notebooks)
    sources = sorted(notebooks.glob("[0-9]*.ipynb"))
    if not sources:
        raise FileNotFoundError(f"{notebooks}: no notebooks. Run this where the project lies")
    out.mkdir(parents=True, exist_ok=True)
    opened = {path.stem: nbformat.read(path, as_version=4) for path in sources}
    titles = {stem: _title(notebook) for stem, notebook in opened.items()}
    names = ["index", *opened]
    glossary = notebooks / "glossary.md"
    if (out / "index.html").exists() and not (out / "page.css").exists():
        raise FileExistsError(f"{out} holds other pages. Give a folder of its own")
    written = []
    for stem, notebook in tqdm(opened.items(), desc="page", unit="notebook", disable=None):
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
        if not all(cell.execution_count for cell in cells):
            raise ValueError(
                f"{stem}.ipynb has not been executed. Run it, or take the committed one"
            )
        notebook.metadata["title"] = titles[stem]
        written.append(out / f"{stem}.html")
        body = _render(notebook, notebooks, _navigation(stem, names, titles, glossary.exists()))
        written[-1].write_text(_linked(body), encoding="utf-8")
    rows = [f"| [{titles[stem]}]({stem}.html) | {_question(nb)} |" for stem, nb in opened.items()]
    contents = "\n".join([PROLOGUE + "| page | the question |", "|---|---|", *rows])
    if glossary.exists():
        contents += "\n\n[Glossary](glossary.html): each term in a sentence, and in Japanese."
        text = _japanese(glossary.read_text(encoding="utf-8"))
        written.append(_text_page(out / "glossary.html", text, _navigation("", names, titles)))
    written.append(_text_page(out / "index.html", contents, ""))
    style = (resources.files("pianolstm") / "templates" / "page.css").read_text("utf-8")
    (out / "page.css").write_text(style, encoding="utf-8")
    return [*written, out / "page.css"]


def _render(notebook, folder: Path, navigation: str) -> str:
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    template = (resources.files("pianolstm") / "templates" / "page.html.j2").read_text("utf-8")
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"page.html.j2": template})],
        template_file="page.html.j2",
    )
    where = {"metadata": {"path": str(folder), "name": notebook.metadata["title"]}}
    body = exporter.from_notebook_node(notebook, where | {"navigation": navigation})[0]
    return re.sub(r'src="(\.\./images/[^"]+)\.png"', lambda m: _embedded(folder, m[1]), body)


def _embedded(folder: Path, name: str) -> str:
    data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode("ascii")
    return f'src="data:image/png;base64,{data}"'


def _title(notebook) -> str:
    return next(iter(notebook.cells[0].source.splitlines()), "Untitled").lstrip("# ")


def _question(notebook) -> str:
    bold = re.search(r"\*\*(.+?)\*\*", notebook.cells[0].source, re.DOTALL)
    return re.sub(r"^The question[^:]*: ", "", bold[1].replace("\n", " ")) if bold else ""


def _navigation(stem: str, names: list[str], titles: dict[str, str], glossary=True) -> str:
    links = ['<a href="index.html">Contents</a>']
    if stem:
        place = names.index(stem)
        for step, arrow in ((-1, "← {}"), (1, "{} →")):
            other = names[place + step] if 0 < place + step < len(names) else None
            if other:
                text = arrow.format(html.escape(titles[other]))
                links.append(f'<a href="{other}.html">{text}</a>')
    if glossary:
        links.append('<a href="glossary.html">Glossary</a>')
    return f'<nav class="pages" aria-label="Pages">{" ".join(links)}</nav>'


def _japanese(glossary: str) -> str:
    """The Japanese terms marked as such, for fonts and for readers aloud."""
    marked = r'\1\n\n<strong lang="ja">\2</strong> · '
    return re.sub(r"^(## .+)\n\n\*\*(.+?)\*\* · ", marked, glossary, flags=re.MULTILINE)


def _linked(body: str) -> str:
    """Links between notebooks become links between pages."""
    return re.sub(r'href="((?:\d\d_\w+)|glossary)\.(?:ipynb|md)', r'href="\1.html', body)


def _text_page(path: Path, text: str, navigation: str) -> Path:
    from nbconvert.filters import markdown2html

    title = html.escape(text.splitlines()[0].lstrip("# "))
    path.write_text(
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="stylesheet" href="page.css"></head><body>{navigation}'
        f'<main class="text">{_linked(markdown2html(text))}</main></body></html>',
        encoding="utf-8",
    )
    return path
