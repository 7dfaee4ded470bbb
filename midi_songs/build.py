"""Builds the songs of this folder, and SOURCES.md, from the corpus of scores that music21 ships.

    python midi_songs/build.py               two-staff piano pieces, into midi_songs
    python midi_songs/build.py --ensemble    one track for each of four parts, into its `ensemble`
    python midi_songs/build.py --repeats     as the first, repeats written out, into its `repeats`

The candidates are Bach's four-part chorales and a few keyboard works; with `--ensemble`, the
chorales and string quartets. The same version of music21 gives the same files, byte for byte.

Which scores become songs:

* Bach scores and quartets must have exactly four parts.
* A score is left out if its rights line forbids copying.
* Every file is read back and its note-ons are counted a second time, by mido. A file that does not
  give the same piece again is left out.
* An unexpected error leaves out one score only. SOURCES.md lists what was left out, and why.

How a score becomes a song:

* A piano piece has two tracks: the upper half of the parts, and the lower half.
* Repeats are not expanded, except with `--repeats`: music21 then writes them out as they are sung,
  with first and second endings. A score whose marks it cannot follow stays as printed, counted.
  Bars are counted on from the beginning, also where a repeat ends within a bar.
* A pick-up bar keeps its place: the piece starts late in bar 1.
* Times are rounded to 1/480 quarter. Each time that this changes is counted.
* Tied notes become one note. Grace notes have no length of their own: they are left out, counted.
* On one track, notes of the same pitch never overlap. Voices in unison become one note, the
  longest; a note is cut where its pitch is struck again. Both are counted.
* Without a metronome mark the tempo is `DEFAULT_TEMPO`.
* The key is the printed signature. Of the two keys with that signature, the one that correlates
  better by music21's Krumhansl-Schmuckler analysis is taken.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from music21 import VERSION_STR, common, converter, corpus, key, meter, repeat, stream, tempo
from music21.corpus.chorales import ChoraleListRKBWV
from tqdm import tqdm

from pianolstm.midi import read_midi, write_midi
from pianolstm.midi_bytes import count_note_ons
from pianolstm.piece import DEFAULT_TEMPO, NOTE_DTYPE, Piece, key_name

HERE = Path(__file__).resolve().parent
CORPUS = Path(common.getCorpusFilePath())

TICKS = 480
VELOCITY = 80  # these scores carry no usable dynamics
PIANO = (("Upper staff", 0), ("Lower staff", 0))  # name of the track, program
CHOIR = (("Soprano", 52), ("Alto", 52), ("Tenor", 52), ("Bass", 52))
STRINGS = (("Violin I", 40), ("Violin II", 40), ("Viola", 41), ("Cello", 42))

T = TypeVar("T")
Notes = list[tuple[int, int, int]]  # (pitch, onset, duration), times in ticks

FORBIDS = re.compile(r"rights[^.]*reserved|non-?commercial|\bNC\b", re.IGNORECASE)
RIGHTS = re.compile(r"©|copyright|licen[sc]e|permission|public domain|\bCC\b|rights", re.IGNORECASE)

# The solo keyboard works of the corpus: entry → (file name, composer, catalogue number, title).
# verdi/laDonnaEMobile is not among them: this arrangement states neither rights nor licence.
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
}  # fmt: skip
for number, tonic in enumerate(("E-flat", "C", "D", "C"), start=1):
    KEYBOARD_WORKS[f"schumann_clara/polonaise_op1n{number}.mxl"] = (
        f"schumann_clara_polonaise_op1_no{number}",
        "Clara Schumann",
        f"Op. 1 No. {number}",
        f"Polonaise in {tonic} major",
    )
QUARTETS = {
    "haydn": "Joseph Haydn",
    "mozart": "Wolfgang Amadeus Mozart",
    "beethoven": "Ludwig van Beethoven",
}

CHORALES = ChoraleListRKBWV().byBWV  # number in the catalogue → what music21's list says of it

SOURCES = """# Where the songs come from

Made by `{command}` from the corpus of music21 {version}; do not edit by hand. \
Encoder and rights are quoted from the corpus files, in their own words; “not stated” means that \
the file says nothing. music21's corpus licence adds that some encodings may not be used \
commercially. The compositions are older than their encodings; whether they are free where you \
live is for you to check.

{songs} songs, {notes:,} notes. Tempo is {tempo:g} quarters a minute where the score names none.

| file | composer | catalogue | title | corpus entry | encoder or software | rights as stated \
| bars | notes | left out, merged or cut |
|---|---|---|---|---|---|---|---|---|---|
{rows}

## Left out

| corpus entry | reason |
|---|---|
{skipped}
"""


class UnsuitableError(Exception):
    """A score that is not made into a song; the message says why."""


@dataclass(frozen=True)
class Source:
    """Where one song comes from, as far as its score file says."""

    entry: str  # path in music21's corpus
    file: str  # name of the song, without ".mid"
    composer: str
    catalogue: str
    title: str
    encoder: str
    rights: str


@dataclass
class Report:
    """The songs that were written, and the corpus entries that were left out."""

    written: list[tuple[Source, Piece]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # corpus entry → reason

    @property
    def notes(self) -> int:
        return sum(len(piece) for _, piece in self.written)

    def __str__(self) -> str:
        lines = [
            f"{len(self.written)} songs written with {self.notes:,} notes, all of which mido "
            f"counted again; {len(self.skipped)} scores left out"
        ]
        for entry, reason in self.skipped.items():
            lines.append(f"  {entry}: {reason}")
        return "\n".join(lines)


def build_songs(
    folder: Path,
    ensemble: bool = False,
    entries: Sequence[str] | None = None,
    repeats: bool = False,
) -> Report:
    """Write the songs of `entries` (by default all candidates) and SOURCES.md into `folder`.

    Nothing is written before the last score has been read. Raises FileExistsError if the folder
    holds files that this script did not make.
    """
    refuse_other_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = Report()
    entries = entries or candidates(ensemble)
    with TemporaryDirectory() as temporary:
        for entry in tqdm(entries, desc="songs", unit="score", disable=None):
            try:
                report.written.append(build_song(entry, Path(temporary), ensemble, repeats))
            except UnsuitableError as error:
                report.skipped[entry] = str(error)
            except Exception as error:  # one faulty score must not stop the build
                report.skipped[entry] = f"{type(error).__name__}: {error}"
        for source, _ in report.written:
            shutil.copy(Path(temporary) / f"{source.file}.mid", folder)
    (folder / "SOURCES.md").write_text(sources_table(report, ensemble, repeats), encoding="utf-8")
    return report


def refuse_other_files(folder: Path) -> None:
    """Raise FileExistsError if `folder` holds anything but this script and files it made.

    Hidden files are ignored.
    """
    if not folder.exists():
        return
    own = {"build.py", "__pycache__", "ensemble", "repeats"}
    table = folder / "SOURCES.md"
    text = table.read_text(encoding="utf-8") if table.exists() else ""
    if text.startswith(SOURCES.splitlines()[0]):
        own.update(["SOURCES.md", *re.findall(r"^\| (\S+\.mid) \|", text, re.MULTILINE)])
    for path in sorted(folder.iterdir()):
        if path.name not in own and not path.name.startswith("."):
            raise FileExistsError(
                f"{path} was not made by this script. Move it away, or name another folder "
                "with --out"
            )


def candidates(ensemble: bool) -> list[str]:
    """Corpus entries: Bach's scores, then the string quartets or the keyboard works."""
    bach = entries_by("bach", (".mxl", ".xml", ".krn"))
    if not ensemble:
        return bach + sorted(KEYBOARD_WORKS)
    quartets = []
    for composer in QUARTETS:
        quartets += entries_by(composer, (".mxl",))
    return bach + sorted(quartets)


def entries_by(composer: str, suffixes: tuple[str, ...]) -> list[str]:
    """Entries of a composer with one of these file extensions, without the keyboard works."""
    entries = [Path(path).relative_to(CORPUS).as_posix() for path in corpus.getComposer(composer)]
    return sorted(e for e in entries if e.endswith(suffixes) and e not in KEYBOARD_WORKS)


def build_song(entry: str, folder: Path, ensemble: bool, repeats: bool) -> tuple[Source, Piece]:
    """Write the song of one corpus entry, and check the file by reading it back."""
    source = read_source(entry)
    if FORBIDS.search(source.rights):
        raise UnsuitableError(f"its rights line forbids it: {source.rights!r}")
    # forceSource: parse the score itself, not the pickled copy that music21 keeps of it
    score = converter.parse(CORPUS / entry, forceSource=True)
    if entry not in KEYBOARD_WORKS and len(score.parts) != 4:
        raise UnsuitableError(f"{len(score.parts)} parts, not 4")
    instruments = PIANO
    if ensemble:
        instruments = STRINGS if is_quartet(entry) else CHOIR
    piece = score_to_piece(score, source.file, instruments, repeats)
    path = write_midi(piece, folder / f"{source.file}.mid")
    if read_midi(path) != piece or count_note_ons(path) != len(piece):
        raise UnsuitableError("reads back as something else")
    return source, piece


def read_source(entry: str) -> Source:
    """Composer, title, encoder and rights of a corpus entry."""
    text = raw_text(CORPUS / entry)
    if entry.endswith(".krn"):
        records = re.findall(r"^!!!(\w+):\s*(.*)$", text, re.MULTILINE)
        encoder = "; ".join(value for name, value in records if name in ("ENC", "EED"))
        rights = " ".join(value for name, value in records if name in ("YEC", "YEM"))
    else:
        software = re.findall(r"<(?:encoder|software)[^>]*>([^<]+)", text)
        software += re.findall(r"<source>([^<]+)", text)
        encoder = "; ".join(name for name in software if not name.startswith("music21"))
        lines = re.findall(r"<(?:rights|credit-words)[^>]*>([^<]+)", text)
        lines = [" ".join(line.split()) for line in lines if RIGHTS.search(line)]
        rights = " / ".join(dict.fromkeys(lines))  # each line once
    if entry in KEYBOARD_WORKS:
        names = KEYBOARD_WORKS[entry]
    elif is_quartet(entry):
        names = quartet_names(entry)
    else:
        names = chorale_names(entry)
    return Source(entry, *names, encoder, rights)


def raw_text(path: Path) -> str:
    """Text of a score file. An .mxl file is a zip archive that holds it."""
    if path.suffix != ".mxl":
        return path.read_text(encoding="utf-8", errors="replace")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith((".xml", ".musicxml")) and not name.startswith("META-INF"):
                return archive.read(name).decode("utf-8", errors="replace")
    raise UnsuitableError("an archive without a score")


def is_quartet(entry: str) -> bool:
    return entry.split("/")[0] in QUARTETS and entry not in KEYBOARD_WORKS


def quartet_names(entry: str) -> tuple[str, str, str, str]:
    """("haydn/opus74no1/movement2.mxl") → file name, composer, catalogue number, title."""
    composer, work, *movement = Path(entry).with_suffix("").parts
    catalogue = re.sub(r"^k(\d+)", r"K. \1", work)
    catalogue = re.sub(r"^opus(\d+)", r"Op. \1", catalogue)
    catalogue = re.sub(r"no(\d+)", r" No. \1", catalogue)
    title = "String quartet, all movements"
    if movement:
        title = f"String quartet, movement {movement[0].removeprefix('movement')}"
    file = "_".join([composer, work, *movement])
    file = file.replace("opus", "op").replace("movement", "mvt")
    return file, QUARTETS[composer], catalogue, title


def chorale_names(entry: str) -> tuple[str, str, str, str]:
    """("bach/bwv66.6.mxl") → file name, composer, catalogue number, German title."""
    number = Path(entry).stem.removeprefix("bwv")
    padded = re.sub(r"^\d+", lambda digits: digits[0].zfill(3), number)
    title = CHORALES.get(number, {}).get("title", "")
    return f"bach_bwv{padded}", "Johann Sebastian Bach", f"BWV {number}", title


def score_to_piece(
    score: stream.Score,
    name: str,
    instruments: Sequence[tuple[str, int]] = PIANO,
    repeats: bool = False,
) -> Piece:
    """Turn a music21 score into a `Piece` with a track for each instrument (name, program).

    The parts are shared out evenly: over two staves, or one to each of four players. With
    `repeats`, what is played twice is written twice.
    """
    counts: Counter[str] = Counter()
    key_of_piece = find_key(score)
    if repeats:
        try:
            score = score.expandRepeats()
        except repeat.ExpanderException:
            counts["score as printed, its repeats not understood"] += 1
    parts = list(score.parts)
    share = math.ceil(len(parts) / len(instruments))
    upper = parts[0].flatten()
    pickup = Fraction(parts[0].getElementsByClass(stream.Measure)[0].paddingLeft)
    rows = []
    for track, (_, program) in enumerate(instruments):
        notes = struck_notes(parts[track * share : (track + 1) * share], pickup, counts)
        for pitch, onset, duration in strike_once(notes, counts):
            rows.append((onset, duration, pitch, VELOCITY, program, track))

    def tick(event) -> int:  # an event at the very beginning stays there, before the pick-up
        return to_ticks(event.offset + pickup, counts) if event.offset else 0

    tempi = {0: DEFAULT_TEMPO}
    for mark in score.flatten().getElementsByClass(tempo.MetronomeMark):
        if mark.number:
            tempi[tick(mark)] = mark.getQuarterBPM()
    metres = {0: (4, 4)}
    for metre in upper.getElementsByClass(meter.TimeSignature):
        metres[tick(metre)] = (metre.numerator, metre.denominator)
    if repeats:  # a metre that is only said again would begin a bar at a repeated pick-up
        metres = dict(changes(metres))
    return Piece(
        notes=np.array(rows, dtype=NOTE_DTYPE),
        ticks_per_quarter=TICKS,
        tempi=changes(tempi),
        time_signatures=tuple((start, *metre) for start, metre in sorted(metres.items())),
        key=key_of_piece,
        track_names=tuple(track_name for track_name, _ in instruments),
        name=name,
        dropped=dict(+counts),
    )


def struck_notes(parts: list[stream.Part], pickup: Fraction, counts: Counter[str]) -> Notes:
    """All notes in these parts, grace notes left out."""
    notes: Notes = []
    for part in parts:
        for element in part.flatten().stripTies().notes:
            if element.duration.isGrace or not element.quarterLength:
                counts["grace notes"] += len(element.pitches)
                continue
            onset = to_ticks(element.offset + pickup, counts)
            duration = to_ticks(element.quarterLength, counts)
            notes += [(pitch.midi, onset, duration) for pitch in element.pitches]
    return notes


def strike_once(notes: Notes, counts: Counter[str]) -> Notes:
    """Merge unisons and cut notes that are struck again, so that no pitch overlaps itself."""
    kept: Notes = []
    for pitch, onset, duration in sorted(notes, key=lambda note: (note[0], note[1], -note[2])):
        if kept and kept[-1][0] == pitch:
            _, last_onset, last_duration = kept[-1]
            if last_onset == onset:
                counts["unisons merged"] += 1
                continue
            if last_onset + last_duration > onset:
                counts["notes cut where struck again"] += 1
                kept[-1] = (pitch, last_onset, onset - last_onset)
        kept.append((pitch, onset, duration))
    return kept


def to_ticks(quarters: float | Fraction, counts: Counter[str]) -> int:
    """Quarters → ticks. Rounding (by at most half a tick, 1/960 quarter) is counted.

    A triplet that the score itself has rounded is restored first: 683/1024 is meant as 2/3.
    """
    exact = Fraction(quarters).limit_denominator(64) * TICKS
    counts["times rounded to a tick"] += exact.denominator != 1
    return round(exact)


def changes(marks: dict[int, T]) -> tuple[tuple[int, T], ...]:
    """(tick, tempo or metre) in order of time, without marks that only repeat the one before."""
    result: list[tuple[int, T]] = []
    for start, mark in sorted(marks.items()):
        if not result or mark != result[-1][1]:
            result.append((start, mark))
    return tuple(result)


def find_key(score: stream.Score) -> str:
    """Name of the key with the score's first signature that fits the notes better."""
    signature = score.parts[0].flatten().getElementsByClass(key.KeySignature).first()
    best = score.analyze("key.krumhanslschmuckler")
    for candidate in [best, *best.alternateInterpretations]:
        if candidate.sharps == signature.sharps:
            return key_name(signature.sharps, candidate.mode == "minor")
    return key_name(signature.sharps, minor=False)


def sources_table(report: Report, ensemble: bool, repeats: bool) -> str:
    """Text of SOURCES.md: a row for each song, and a row for each score that was left out."""
    rows = []
    for source, piece in report.written:
        cells = [
            f"{source.file}.mid",
            source.composer,
            source.catalogue or "–",
            source.title or "–",
            source.entry,
            source.encoder or "not stated",
            source.rights or "not stated",
            str(len(piece.bar_starts())),
            str(len(piece)),
            ", ".join(f"{number} {what}" for what, number in piece.dropped.items()) or "–",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    skipped = [f"| {entry} | {reason} |" for entry, reason in report.skipped.items()]
    return SOURCES.format(
        command="python midi_songs/build.py" + " --ensemble" * ensemble + " --repeats" * repeats,
        version=VERSION_STR,
        songs=len(rows),
        notes=report.notes,
        tempo=DEFAULT_TEMPO,
        rows="\n".join(rows),
        skipped="\n".join(skipped),
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out_help = "a new or empty folder, or one this script made; otherwise the script's own folder"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=out_help)
    ensemble_help = "four parts: chorales for choir, and string quartets; in its `ensemble` folder"
    repeats_help = "the piano pieces with repeats written out; in its `repeats` folder"
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--ensemble", action="store_true", help=ensemble_help)
    kind.add_argument("--repeats", action="store_true", help=repeats_help)
    args = parser.parse_args(argv)
    folder = HERE
    if args.ensemble or args.repeats:
        folder = HERE / ("ensemble" if args.ensemble else "repeats")
    try:
        print(build_songs(args.out or folder, args.ensemble, repeats=args.repeats))
    except OSError as error:
        parser.exit(2, f"build.py: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "build.py: stopped; nothing was written\n")


if __name__ == "__main__":
    main()
