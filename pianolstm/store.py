"""A folder of MIDI files of any size → a token store for training, with an account of every file.

A store is a folder with three files:

* `ids.npy`: the tokens of all pieces one after another as ids (int32), in their own keys;
* `store.json`: encoding, vocabulary, names, lengths and parts of the pieces, and the report;
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
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pianolstm.encodings import RESOLUTION, ArticleEncoding, Encoding, PieceError
from pianolstm.folder import (
    PERFORMANCES,
    FileResult,
    FolderReport,
    find_midi_files,
    or_crash,
    read_file,
)
from pianolstm.grid import GRID, check_grid, quantise
from pianolstm.midi import programs_of
from pianolstm.parallel import CrashError, map_files
from pianolstm.piece import listed, printable
from pianolstm.split import PARTS, soprano_line, split_groups
from pianolstm.vocabulary import UNK_ID, Vocabulary

FORMAT = 2  # of store.json
BLOCK = 2**20  # tokens that are held in memory at a time
COLUMNS = ("file", "status", "notes", "tokens", "note_ons", "dropped", "repaired", "beat",
           "moved_mean", "moved_max", "joined", "message")  # fmt: skip


class StoreError(ValueError):
    """A folder that is no whole token store, or a place where none can be written."""


@dataclass(frozen=True)
class ReadConfig:
    """How the files of a folder become tokens."""

    encoding: Encoding = field(default_factory=ArticleEncoding)
    grid: tuple[int, ...] = GRID  # divisions of a quarter, see `quantise`; () leaves times alone
    instruments: str | int = "all"  # see `programs_of`
    performances: str = "keep"  # those without a beat: keep as played, drop, or bend to the grid
    audit: bool = False  # count every note-on a second time (slow)

    def __post_init__(self) -> None:
        programs_of(self.instruments)  # raises where it means nothing
        if self.grid:
            check_grid(self.grid)
        if self.performances not in PERFORMANCES:
            raise ValueError(
                f"performances={self.performances!r}; choose from {', '.join(PERFORMANCES)}"
            )
        if self.encoding.needs_grid and (
            self.performances == "keep" or not self.grid or RESOLUTION % math.lcm(*self.grid)
        ):
            raise ValueError(
                f"the encoding {self.encoding.name!r} writes times in 1/{RESOLUTION} quarter: give "
                "a grid that divides it, such as (4, 3), and say what to do with performances, "
                "which have no beat: 'drop' or 'bend' (on the command line: --performances bend)"
            )


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
    piece, result.piece = result.piece, None
    if config.grid:
        on_grid = quantise(piece, config.grid, bend=config.performances == "bend")
        piece, result.has_beat, result.joined = on_grid.piece, on_grid.has_beat, on_grid.joined
        result.dropped, result.notes = dict(piece.dropped), len(piece)
        result.moved = (float(on_grid.moved.mean()), float(on_grid.moved.max()))
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


def is_store(folder: str | Path) -> bool:
    """True for a folder that holds a token store, whole or not."""
    return (Path(folder) / "store.json").exists()


def open_store(folder: str | Path) -> tuple[dict, np.ndarray]:
    """Header and memory-mapped ids of a store. Raises StoreError where it is not whole."""
    folder = Path(folder)
    try:
        header = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        ids = np.load(folder / "ids.npy", mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder}: no whole token store ({error}). Make one with "
            "`python -m pianolstm read FOLDER --out DATA`"
        ) from error
    if header.get("format") != FORMAT:
        found = header.get("format")
        raise StoreError(f"{folder}: a store of format {found}; this version reads {FORMAT}")
    if sum(header["lengths"]) != len(ids):
        raise StoreError(
            f"{folder}: store.json speaks of {sum(header['lengths']):,} tokens, ids.npy holds "
            f"{len(ids):,}. Make the store again"
        )
    return header, ids


def build_store(
    folder: str | Path,
    out: str | Path,
    config: ReadConfig | None = None,
    processes: int | None = None,
    progress: bool | None = None,
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
    began = time.perf_counter()
    paths = find_midi_files(folder, recursive)
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what an interrupted run of this name left
    try:
        unfinished.mkdir(parents=True)
        writer = _StoreWriter(unfinished, config)
        results = map_files(partial(encode_file, config=config), paths, processes, progress)
        names = [printable(path.relative_to(folder).as_posix()) for path in paths]
        writer.write(names, results)
        if not writer.names:
            raise StoreError(f"{folder}: no notes to store. {writer.report}")
        writer.finish(began)
        os.replace(unfinished, out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return writer.report


def _row(name: str, result: FileResult) -> dict:
    """A line of report.csv."""
    mean, furthest = result.moved
    return {
        "file": name, "status": result.status, "notes": result.notes,
        "tokens": len(result.tokens.split()),
        "note_ons": "not audited" if result.note_ons is None else result.note_ons,
        "dropped": listed(result.dropped), "repaired": listed(result.repaired),
        "beat": "yes" if result.has_beat else "no", "moved_mean": f"{mean:.4f}",
        "moved_max": f"{furthest:.4f}", "joined": result.joined, "message": result.message,
    }  # fmt: skip


class _StoreWriter:
    """Numbers tokens as they come; what is final is known when all files have been read."""

    def __init__(self, folder: Path, config: ReadConfig) -> None:
        self.folder, self.config = folder, config
        self.report = FolderReport(config.instruments, config.grid, config.performances)
        self.provisional: dict[str, int] = {}  # token → its number by first appearance
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.groups: list[int] = []  # of each piece
        self.lines: dict[str, int] = {}  # digest of a soprano line → its group
        self.group_names: list[str] = []  # of its first piece
        self.content: dict[str, str] = {}  # digest → first file with these notes

    def write(self, names: Sequence[str], results: Iterable[FileResult | CrashError]) -> None:
        """Write ids.raw and report.csv while the results come."""
        with (
            open(self.folder / "ids.raw", "wb") as raw,
            open(self.folder / "report.csv", "w", newline="", encoding="utf-8") as table,
        ):
            rows = csv.DictWriter(table, COLUMNS)
            rows.writeheader()
            for name, result in zip(names, map(or_crash, results)):
                raw.write(self.add(name, result))
                rows.writerow(_row(name, result))

    def add(self, name: str, result: FileResult) -> bytes:
        """Count one file; returns the bytes of its ids, which are none unless it is kept."""
        first = self.content.setdefault(result.content, name) if result.content else name
        if first != name:
            result.message = f"same notes as {first}"
            result.leave_out("duplicate", "in duplicate files")
        self.report.add(name, result)
        if result.status != "read":
            return b""
        group = self.lines.setdefault(result.line, len(self.lines))
        if group == len(self.group_names):
            self.group_names.append(Path(name).stem)
        number = self.provisional.setdefault
        ids = [number(token, len(self.provisional)) for token in result.tokens.split(" ")]
        self.names.append(name)
        self.lengths.append(len(ids))
        self.groups.append(group)
        return np.array(ids, dtype=np.int32).tobytes()

    def finish(self, began: float) -> None:
        """Split the pieces, number the tokens for good, write ids and header."""
        report, total = self.report, sum(self.lengths)
        of_group = split_groups(self.group_names)
        parts = np.array([of_group[group] for group in self.groups])
        vocabulary, unknown = self._write_ids(np.repeat(parts == 0, self.lengths))
        sizes = ", ".join(f"{(parts == i).sum():,} {part}" for i, part in enumerate(PARTS))
        report.stored = (
            f"{total:,} tokens, a vocabulary of {len(vocabulary):,}; pieces: {sizes}; "
            f"{unknown:,} valid and test tokens unknown"
        )
        report.seconds = time.perf_counter() - began
        header = {
            "format": FORMAT,
            "read": asdict(self.config) | {"encoding": self.config.encoding.to_dict()},
            "vocabulary": vocabulary.tokens[1:],
            "names": self.names,
            "lengths": self.lengths,
            "parts": parts.tolist(),
            "report": str(report),
        }
        (self.folder / "store.json").write_text(json.dumps(header), encoding="utf-8")

    def _write_ids(self, is_training: np.ndarray) -> tuple[Vocabulary, int]:
        """ids.raw → ids.npy; the vocabulary, and how many tokens are unknown to it.

        is_training: bool (tokens,), True for tokens of training pieces.
        """
        total, tokens = len(is_training), list(self.provisional)
        raw = np.memmap(self.folder / "ids.raw", dtype=np.int32, mode="r", shape=(total,))
        counts = np.zeros(len(tokens), dtype=np.int64)
        for start in range(0, total, BLOCK):
            block = slice(start, start + BLOCK)
            counts += np.bincount(raw[block][is_training[block]], minlength=len(tokens))
        trained = {token: int(count) for token, count in zip(tokens, counts) if count}
        vocabulary = Vocabulary.for_training(self.config.encoding, trained)
        final = np.array([vocabulary.ids.get(token, UNK_ID) for token in tokens], dtype=np.int32)
        ids = np.lib.format.open_memmap(self.folder / "ids.npy", "w+", np.int32, (total,))
        unknown = 0
        for start in range(0, total, BLOCK):
            block = slice(start, start + BLOCK)
            ids[block] = final[raw[block]]
            unknown += int((ids[block] == UNK_ID).sum())
        ids.flush()
        del ids, raw  # closes the files
        (self.folder / "ids.raw").unlink()
        return vocabulary, unknown
