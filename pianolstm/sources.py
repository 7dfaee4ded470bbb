"""Where each song comes from, in the words of its own score file.

Composer, encoder and rights of an entry of music21's corpus, and SOURCES.md, which lists them.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pianolstm.piece import DEFAULT_TEMPO, Piece

FORBIDS = re.compile(r"rights[^.]*reserved|non-?commercial|\bNC\b", re.IGNORECASE)
RIGHTS = re.compile(r"©|copyright|licen[sc]e|permission|public domain|\bCC\b|rights", re.IGNORECASE)


# The solo keyboard works of the corpus: entry → (file name, composer, catalogue number, title).
# Not among them: verdi/laDonnaEMobile, an arrangement that states neither rights nor licence.
KEYBOARD_WORKS = {
    "bach/bwv846.mxl": ("bach_bwv846_prelude", "Johann Sebastian Bach", "BWV 846",
                        "The Well-Tempered Clavier I, Prelude in C major"),
    "chopin/mazurka06-2.krn": ("chopin_mazurka_op06_no2", "Frédéric Chopin", "Op. 6 No. 2",
                               "Mazurka in C-sharp minor"),
    "cpebach/h186.mxl": ("cpebach_h186", "Carl Philipp Emanuel Bach", "H. 186, Wq. 55/4",
                         "Sonata in A major, second movement"),
    "joplin/maple_leaf_rag.mxl": ("joplin_maple_leaf_rag", "Scott Joplin", "", "Maple Leaf Rag"),
    "mozart/k545/movement1_exposition.mxl": ("mozart_k545_exposition", "Wolfgang Amadeus Mozart",
                                             "K. 545", "Sonata in C major, first exposition"),
    "schoenberg/opus19/movement2.mxl": ("schoenberg_op19_no2", "Arnold Schoenberg", "Op. 19 No. 2",
                                        "Little Piano Pieces"),
    "schoenberg/opus19/movement6.mxl": ("schoenberg_op19_no6", "Arnold Schoenberg", "Op. 19 No. 6",
                                        "Little Piano Pieces"),
    **{f"schumann_clara/polonaise_op1n{n}.mxl": (f"schumann_clara_polonaise_op1_no{n}",
                                                 "Clara Schumann", f"Op. 1 No. {n}",
                                                 f"Polonaise in {tonic}")
       for n, tonic in ((1, "E-flat major"), (2, "C major"), (3, "D major"), (4, "C major"))},
}  # fmt: skip


QUARTETS = {
    "haydn": "Joseph Haydn",
    "mozart": "Wolfgang Amadeus Mozart",
    "beethoven": "Ludwig van Beethoven",
}


@dataclass(frozen=True)
class Source:
    """Where one song comes from, as far as the source itself says."""

    file: str  # name in midi_songs, without ".mid"
    entry: str  # path in music21's corpus
    composer: str
    catalogue: str
    title: str
    encoder: str
    rights: str


def corpus_folder() -> Path:
    """The folder of music21's own corpus."""
    from music21 import common

    return Path(common.getCorpusFilePath())


def read_source(entry: str) -> Source:
    """Composer, encoder and rights of a corpus entry, in the words of its own file."""
    text = _raw_text(corpus_folder() / entry)
    if entry.endswith(".krn"):
        records = re.findall(r"^!!!(\w+):\s*(.*)$", text, re.MULTILINE)
        encoder = "; ".join(value for name, value in records if name in ("ENC", "EED"))
        rights = " ".join(value for name, value in records if name in ("YEC", "YEM"))
    else:
        software = re.findall(r"<(?:encoder|software)[^>]*>([^<]+)", text)
        origin = re.findall(r"<source>([^<]+)", text)
        encoder = "; ".join(s for s in [*software, *origin] if not s.startswith("music21"))
        words = re.findall(r"<(?:rights|credit-words)[^>]*>([^<]+)", text)
        rights = " / ".join(dict.fromkeys(" ".join(w.split()) for w in words if RIGHTS.search(w)))
    if entry.split("/")[0] in QUARTETS and entry not in KEYBOARD_WORKS:
        file, composer, catalogue, title = _quartet(entry)
    elif entry in KEYBOARD_WORKS:
        file, composer, catalogue, title = KEYBOARD_WORKS[entry]
    else:
        number = Path(entry).stem.removeprefix("bwv")
        digits = re.match(r"\d+", number).group()
        file = f"bach_bwv{digits.zfill(3)}{number[len(digits) :]}"
        composer, catalogue, title = (
            "Johann Sebastian Bach",
            f"BWV {number}",
            _chorale_titles().get(number, ""),
        )
    return Source(file, entry, composer, catalogue, title, encoder, rights)


def _quartet(entry: str) -> tuple[str, str, str, str]:
    """("haydn/opus74no1/movement2.mxl") → file name, composer, catalogue number, title."""
    composer, *work = Path(entry).with_suffix("").parts
    opus = re.sub(r"opus(\d+)(?:no(\d+))?", r"Op. \1 No. \2", work[0]).removesuffix(" No. ")
    catalogue = re.sub(r"^k(\d+)", r"K. \1", opus)
    movement = work[1].removeprefix("movement") if len(work) > 1 else ""
    title = "String quartet" + (f", movement {movement}" if movement else ", all movements")
    file = "_".join([composer, *work]).replace("opus", "op").replace("movement", "mvt")
    return file, QUARTETS[composer], catalogue, title


@lru_cache(maxsize=1)
def _chorale_titles() -> dict[str, str]:
    """BWV number → German title, from music21's own list of chorales."""
    from music21.corpus import chorales

    return {bwv: row["title"] for bwv, row in chorales.ChoraleListRKBWV().byBWV.items()}


def _raw_text(path: Path) -> str:
    """Text of a score file; of a compressed .mxl the score inside it."""
    if path.suffix != ".mxl":
        return path.read_text(encoding="utf-8", errors="replace")
    with zipfile.ZipFile(path) as archive:
        inner = [n for n in archive.namelist() if not n.startswith("META-INF")]
        score = next(n for n in inner if n.endswith((".xml", ".musicxml")))
        return archive.read(score).decode("utf-8", errors="replace")


def sources_table(
    written: list[tuple[Source, Piece]], skipped: dict[str, str], command: str
) -> str:
    """SOURCES.md: one row a song, and what was left out with the reason."""
    from music21 import VERSION_STR

    rows = [
        f"| {s.file}.mid | {s.composer} | {s.catalogue or '–'} | {s.title or '–'} | {s.entry} "
        f"| {s.encoder or 'not stated'} | {s.rights or 'not stated'} | {len(p.bar_starts())} "
        f"| {len(p)} | {', '.join(f'{n} {why}' for why, n in p.dropped.items()) or '–'} |"
        for s, p in written
    ]
    return "\n".join(
        [
            "# Where the songs come from",
            "",
            f"Made by `{command}` from the corpus of music21 {VERSION_STR}; do "
            "not edit by hand. Encoder and rights are quoted from the corpus files, in their own "
            "words; “not stated” means that the file says nothing. music21's corpus licence adds "
            "that some encodings may not be used commercially. The compositions are older than "
            "their encodings; whether they are free where you live is for you to check.",
            "",
            f"{len(rows)} songs, {sum(len(p) for _, p in written):,} notes. Tempo is "
            f"{DEFAULT_TEMPO:g} quarters a minute where the score names none.",
            "",
            "| file | composer | catalogue | title | corpus entry | encoder or software "
            "| rights as stated | bars | notes | left out, merged or cut |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## Left out",
            "",
            "| corpus entry | reason |",
            "|---|---|",
            *[f"| {entry} | {why} |" for entry, why in skipped.items()],
            "",
        ]
    )
