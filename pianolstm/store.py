"""A folder of MIDI files of any size → a token store for training, with an account of every file.

A store is a folder with three files:

* `ids.bin`: the tokens of all pieces one after another (int32), as numbers of the header's tokens;
* `store.json`: encoding, tokens, vocabulary, names, lengths and parts of the pieces, the report;
* `report.csv`: a line for every file that was met, whatever became of it.

It is written beside its place and moved there when it is whole: what bears the name is complete.
`Dataset.load` reads it, memory-mapped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pianolstm.encodings import RESOLUTION, ArticleEncoding, Encoding, PieceError
from pianolstm.folder import PERFORMANCES, FileResult, FolderReport, find_midi_files, read_file
from pianolstm.grid import GRID, check_grid, quantise
from pianolstm.midi import programs_of
from pianolstm.parallel import map_files
from pianolstm.piece import listed, printable
from pianolstm.split import PARTS, soprano_line, split_groups
from pianolstm.vocabulary import Vocabulary

Kept = tuple[str, int, str]  # of a piece: its file, number of tokens, digest of the soprano line
COLUMNS = ("file", "status", "note_ons", "notes", "tokens", "dropped", "repaired", "joined",
           "message")  # fmt: skip


class StoreError(ValueError):
    """A folder that is no whole token store, or a place where none can be written."""


@dataclass(frozen=True)
class ReadConfig:
    """How the files of a folder become tokens."""

    encoding: Encoding = field(default_factory=ArticleEncoding)
    grid: tuple[int, ...] = GRID  # divisions of a quarter, see `quantise`
    instruments: str = "all"  # see `programs_of`
    performances: str = "keep"  # those without a beat: keep as played, drop, or bend to the grid
    audit: bool = False  # count every note-on a second time (slow)

    def __post_init__(self) -> None:
        programs_of(self.instruments)  # raises where it means nothing
        check_grid(self.grid)
        if self.performances not in PERFORMANCES:
            raise ValueError(
                f"performances={self.performances!r}; choose from {', '.join(PERFORMANCES)}"
            )
        fits = self.performances != "keep" and RESOLUTION % math.lcm(*self.grid) == 0
        if self.encoding.needs_grid and not fits:
            raise ValueError(
                f"the encoding {self.encoding.name!r} writes times in 1/{RESOLUTION} quarter: give "
                "a grid that divides it, such as (4, 3), and say what to do with performances, "
                "which have no beat: 'drop' or 'bend' (on the command line: --performances bend)"
            )


# ---- one file


def encode_file(path: Path, config: ReadConfig) -> FileResult:
    """Read, quantise and encode one file. Never raises for what the file holds."""
    try:
        result = read_file(path, config.instruments, config.audit)
        if result.piece is not None:
            _encode(result, config)
        return result
    except PieceError as error:
        return FileResult("failed", f"{printable(path.name)}: {error}")
    except Exception as error:  # a fault of ours, but no reason to lose the other files
        found = f"reading failed ({type(error).__name__}: {error}). Please report it"
        return FileResult("failed", f"{printable(path.name)}: {found}")


def _encode(result: FileResult, config: ReadConfig) -> None:
    """Put a piece on the grid and write its tokens; `result` takes in what came of it."""
    on_grid = quantise(result.piece, config.grid, bend=config.performances == "bend")
    piece, result.piece = on_grid.piece, None
    result.has_beat, result.joined = on_grid.has_beat, on_grid.joined
    result.dropped, result.notes = piece.dropped, len(piece)
    if not on_grid.has_beat:
        result.message = str(on_grid)
        if config.performances == "drop":
            result.leave_out("performance", "in performances without a beat")
            return
    result.tokens = " ".join(config.encoding.encode(piece))
    columns = [piece.notes[name].tobytes() for name in ("onset", "duration", "pitch", "program")]
    result.content = _digest(b"".join(columns))
    result.line = _digest(repr(soprano_line(piece)).encode())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


# ---- a store


def is_store(folder: str | Path) -> bool:
    """True for a folder that holds a token store, whole or not."""
    return (Path(folder) / "store.json").exists()


def open_store(folder: str | Path) -> tuple[dict, np.ndarray]:
    """Header and memory-mapped ids of a store. Raises StoreError where it is not whole."""
    folder = Path(folder)
    try:
        header = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        ids = np.memmap(folder / "ids.bin", np.int32, mode="c")
        if sum(header["lengths"]) != len(ids):
            raise ValueError(f"{sum(header['lengths']):,} tokens promised, {len(ids):,} are there")
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{folder}: no whole token store ({error}). Make one with "
            "`python -m pianolstm read FOLDER --out DATA`"
        ) from error
    return header, ids


def build_store(
    folder: str | Path,
    out: str | Path,
    config: ReadConfig | None = None,
    processes: int | None = None,
) -> FolderReport:
    """Read every MIDI file below `folder` into a token store at `out`, which must not exist yet.

    A second file with the same notes is a duplicate and left out. Pieces are split by groups, see
    `split_groups`. The vocabulary is that of the training pieces in all keys. Memory grows with the
    number of files and of classes, not of tokens. Stopped at any moment, it leaves nothing at
    `out`. `processes` and the main guard that a script needs with more than one: see `map_files`.

    Raises StoreError if `out` exists or nothing can be stored, OSError where it cannot be written,
    ValueError for fewer than three groups, and FileNotFoundError without MIDI files.
    """
    folder, out, config = Path(folder), Path(out), config or ReadConfig()
    if out.exists():
        raise StoreError(f"{out} exists already. Give another name, or delete it first")
    paths = find_midi_files(folder, recursive=True)
    names = [printable(path.relative_to(folder).as_posix()) for path in paths]
    report = FolderReport(config.instruments, config.grid, config.performances)
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what an interrupted run of this name left
    try:
        unfinished.mkdir(parents=True)
        results = map_files(partial(encode_file, config=config), paths, processes)
        tokens, pieces = _write_files(unfinished, zip(names, results), report)
        if not pieces:
            raise StoreError(f"{folder}: no notes to store. {report}")
        try:
            _write_header(unfinished, config, report, tokens, pieces)
        except ValueError as error:
            raise StoreError(f"{folder}: {error}. {report}") from error
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def _write_files(
    folder: Path, results: Iterable[tuple[str, FileResult | None]], report: FolderReport
) -> tuple[list[str], list[Kept]]:
    """Write ids.bin and report.csv while the results come, each with the name of its file.

    Tokens are numbered as they come. Returns all of them, and the pieces that are kept.
    """
    numbers: dict[str, int] = {}  # token → its number, by first appearance
    first_file: dict[str, str] = {}  # digest of notes → the first file that holds them
    pieces = []
    with (
        open(folder / "ids.bin", "wb") as ids,
        open(folder / "report.csv", "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for name, result in results:
            if result is None:
                result = FileResult("damaged", f"{Path(name).name}: the process that read it died")
            first = first_file.setdefault(result.content or name, name)
            if first != name:
                result.message = f"same notes as {first}"
                result.leave_out("duplicate", "in duplicate files")
            report.add(name, result)
            tokens = result.tokens.split()
            written = [numbers.setdefault(token, len(numbers)) for token in tokens]
            ids.write(np.array(written, dtype=np.int32).tobytes())
            if tokens:
                pieces.append((name, len(tokens), result.line))
            account = listed(result.dropped), listed(result.repaired)
            table.writerow([name, result.status, result.note_ons, result.notes, len(tokens),
                            *account, result.joined, result.message])  # fmt: skip
    return list(numbers), pieces


def _write_header(
    folder: Path, config: ReadConfig, report: FolderReport, tokens: list[str], pieces: list[Kept]
) -> None:
    """Split the pieces, make the vocabulary, write store.json."""
    names, lengths, lines = map(list, zip(*pieces))
    group_of: dict[str, str] = {}  # the first piece with each soprano line names its group
    for name, line in zip(names, lines):
        group_of.setdefault(line, Path(name).stem)
    part_of = dict(zip(group_of, split_groups(list(group_of.values()))))
    parts = np.array([part_of[line] for line in lines])
    ids = np.memmap(folder / "ids.bin", np.int32, mode="r")
    counts = np.zeros((len(PARTS), len(tokens)), dtype=int)  # of each token in each part
    for part, piece in zip(parts, np.split(ids, np.cumsum(lengths)[:-1])):
        np.add.at(counts[part], piece, 1)  # piece by piece, to spare memory
    training = {token: count for token, count in zip(tokens, counts[0].tolist()) if count}
    vocabulary = Vocabulary.for_training(config.encoding, training)
    unknown = counts[1:].sum(axis=0) @ [token not in vocabulary for token in tokens]
    sizes = ", ".join(f"{(parts == i).sum():,} {part}" for i, part in enumerate(PARTS))
    report.stored = (
        f"{len(ids):,} tokens, a vocabulary of {len(vocabulary):,}; pieces: {sizes}; "
        f"{unknown:,} valid and test tokens unknown"
    )
    header = {
        "read": asdict(config) | {"encoding": config.encoding.to_dict()},
        "tokens": tokens,
        "vocabulary": vocabulary.tokens[1:],
        "names": names,
        "lengths": lengths,
        "parts": parts.tolist(),
        "report": str(report),
    }
    (folder / "store.json").write_text(json.dumps(header), encoding="utf-8")
