"""A folder of MIDI files of any size → a token store for training, with an account of every file.

A store is a folder with three files:

* `ids.npy`: the tokens of all pieces one after another (int32), as numbers of the header's tokens;
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
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pianolstm.encodings import RESOLUTION, ArticleEncoding, Encoding, PieceError
from pianolstm.folder import PERFORMANCES, FileResult, FolderReport, find_midi_files, read_file
from pianolstm.grid import GRID, check_grid, quantise
from pianolstm.midi import programs_of
from pianolstm.parallel import map_files
from pianolstm.piece import listed, printable
from pianolstm.split import PARTS, soprano_line, split_groups
from pianolstm.vocabulary import Vocabulary

FORMAT = 3  # of store.json
BLOCK = 2**20  # tokens that are held in memory at a time
COLUMNS = ("file", "status", "note_ons", "notes", "tokens", "dropped", "repaired", "joined",
           "message")  # fmt: skip


class StoreError(ValueError):
    """A folder that is no whole token store, or a place where none can be written."""


@dataclass(frozen=True)
class ReadConfig:
    """How the files of a folder become tokens."""

    encoding: Encoding = field(default_factory=ArticleEncoding)
    grid: tuple[int, ...] = GRID  # divisions of a quarter, see `quantise`
    instruments: str | int = "all"  # see `programs_of`
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
        return _encode(result, config) if result.piece else result
    except PieceError as error:
        return FileResult("failed", f"{printable(path.name)}: {error}")
    except Exception as error:  # a fault of ours, but no reason to lose the other files
        found = f"reading failed ({type(error).__name__}: {error}). Please report it"
        return FileResult("failed", f"{printable(path.name)}: {found}")


def _encode(result: FileResult, config: ReadConfig) -> FileResult:
    on_grid = quantise(result.piece, config.grid, bend=config.performances == "bend")
    piece, result.piece = on_grid.piece, None
    result.has_beat, result.joined = on_grid.has_beat, on_grid.joined
    result.dropped, result.notes = dict(piece.dropped), len(piece)
    if not on_grid.has_beat:
        result.message = str(on_grid)
        if config.performances == "drop":
            result.leave_out("performance", "in performances without a beat")
            return result
    result.tokens = " ".join(config.encoding.encode(piece))
    columns = [piece.notes[name].tobytes() for name in ("onset", "duration", "pitch", "program")]
    result.content = _digest(b"".join(columns))
    result.line = _digest(repr(soprano_line(piece)).encode())
    return result


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
        ids = np.load(folder / "ids.npy", mmap_mode="c", allow_pickle=False)
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version reads {FORMAT}")
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
    recursive: bool = True,
) -> FolderReport:
    """Read every MIDI file under `folder` into a token store at `out`, which must not exist yet.

    A second file with the same notes is a duplicate and left out. Pieces are split by groups, see
    `split_groups`. The vocabulary is that of the training pieces in all keys. Memory grows with the
    number of files and of classes, not of tokens. Stopped at any moment, it leaves nothing at
    `out`. `processes` and the main guard that a script needs with more than one: see `map_files`.

    Raises StoreError if `out` exists or cannot be written or nothing can be stored, ValueError for
    fewer than three groups, and FileNotFoundError without MIDI files.
    """
    folder, out, config = Path(folder), Path(out), config or ReadConfig()
    if out.exists():
        raise StoreError(f"{out} exists already. Give another name, or delete it first")
    paths = find_midi_files(folder, recursive)
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what an interrupted run of this name left
    try:
        unfinished.mkdir(parents=True)
        writer = _StoreWriter(unfinished, config)
        names = [printable(path.relative_to(folder).as_posix()) for path in paths]
        writer.write(names, map_files(partial(encode_file, config=config), paths, processes))
        if not writer.names:
            raise StoreError(f"{folder}: no notes to store. {writer.report}")
        writer.finish()
        os.replace(unfinished, out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return writer.report


class _StoreWriter:
    """Numbers tokens as they come; the vocabulary is known when all files have been read."""

    def __init__(self, folder: Path, config: ReadConfig) -> None:
        self.folder, self.config = folder, config
        self.report = FolderReport(config.instruments, config.grid, config.performances)
        self.numbers: dict[str, int] = {}  # token → its number, by first appearance
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.lines: list[str] = []  # of each piece, the digest of its soprano line
        self.first_file: dict[str, str] = {}  # digest of notes → the first file that holds them

    def write(self, names: Sequence[str], results: Iterable[FileResult | None]) -> None:
        """Write ids.npy and report.csv while the results come."""
        with (
            open(self.folder / "ids.npy", "wb") as ids,
            open(self.folder / "report.csv", "w", newline="", encoding="utf-8") as table,
        ):
            _write_npy_header(ids, 0)
            rows = csv.writer(table)
            rows.writerow(COLUMNS)
            for name, result in zip(names, results):
                died = f"{Path(name).name}: the process that read it died"
                result = result or FileResult("damaged", died)
                ids.write(self.add(name, result))
                rows.writerow((
                    name, result.status, result.note_ons, result.notes,
                    len(result.tokens.split()), listed(result.dropped), listed(result.repaired),
                    result.joined, result.message,
                ))  # fmt: skip
            ids.seek(0)
            _write_npy_header(ids, sum(self.lengths))

    def add(self, name: str, result: FileResult) -> bytes:
        """Count one file; returns the bytes of its ids, which are none unless it is kept."""
        first = self.first_file.setdefault(result.content, name) if result.content else name
        if first != name:
            result.message = f"same notes as {first}"
            result.leave_out("duplicate", "in duplicate files")
        self.report.add(name, result)
        if result.status != "read":
            return b""
        number = self.numbers.setdefault
        ids = [number(token, len(self.numbers)) for token in result.tokens.split(" ")]
        self.names.append(name)
        self.lengths.append(len(ids))
        self.lines.append(result.line)
        return np.array(ids, dtype=np.int32).tobytes()

    def finish(self) -> None:
        """Split the pieces, make the vocabulary, write the header."""
        first_of_line: dict[str, str] = {}  # the first piece with each soprano line names its group
        for name, line in zip(self.names, self.lines):
            first_of_line.setdefault(line, Path(name).stem)
        part_of = dict(zip(first_of_line, split_groups(list(first_of_line.values()))))
        parts = np.array([part_of[line] for line in self.lines])
        training, held_out = self.count_tokens(np.repeat(parts != 0, self.lengths))
        vocabulary = Vocabulary.for_training(self.config.encoding, +training)
        unknown = sum(n for token, n in held_out.items() if token not in vocabulary)
        sizes = ", ".join(f"{(parts == i).sum():,} {part}" for i, part in enumerate(PARTS))
        self.report.stored = (
            f"{sum(self.lengths):,} tokens, a vocabulary of {len(vocabulary):,}; pieces: {sizes}; "
            f"{unknown:,} valid and test tokens unknown"
        )
        header = {
            "format": FORMAT,
            "read": asdict(self.config) | {"encoding": self.config.encoding.to_dict()},
            "tokens": list(self.numbers),
            "vocabulary": vocabulary.tokens[1:],
            "names": self.names,
            "lengths": self.lengths,
            "parts": parts.tolist(),
            "report": str(self.report),
        }
        (self.folder / "store.json").write_text(json.dumps(header), encoding="utf-8")

    def count_tokens(self, is_held_out: np.ndarray) -> list[Counter[str]]:
        """How often each token occurs in training pieces and in the others.

        is_held_out: bool (tokens,), False for tokens of training pieces.
        """
        ids, counts = np.load(self.folder / "ids.npy", mmap_mode="r"), 0
        for start in range(0, len(ids), BLOCK):
            block = slice(start, start + BLOCK)
            pairs = 2 * ids[block] + is_held_out[block]
            counts = counts + np.bincount(pairs, minlength=2 * len(self.numbers))
        return [Counter(dict(zip(self.numbers, counts[i::2].tolist()))) for i in (0, 1)]


def _write_npy_header(file: BinaryIO, tokens: int) -> None:
    """The header of ids.npy: NumPy leaves room in it for any number of tokens."""
    fields = {"descr": "<i4", "fortran_order": False, "shape": (tokens,)}
    np.lib.format.write_array_header_1_0(file, fields)
