"""Many MIDI files → pieces in memory, or a token store on disk; one report of what became of each.

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
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pianolstm.encodings import RESOLUTION, ArticleEncoding, Encoding, PieceError
from pianolstm.grid import GRID, check_grid, quantise
from pianolstm.midi import MidiParseError, NoNotesError, programs_of, read_midi
from pianolstm.parallel import CrashError, map_files
from pianolstm.piece import Piece, listed
from pianolstm.split import PARTS, soprano_line, split_groups
from pianolstm.vocabulary import UNK_ID, Vocabulary

MIDI_SUFFIXES = (".mid", ".midi")
PERFORMANCES = {  # what to do with pieces without a beat → the words for it
    "keep": "left as played",
    "drop": "left out",
    "bend": "bent to the grid",
}
STATUSES = ("read", "empty", "damaged", "duplicate", "performance", "failed")
FORMAT = 2  # of store.json
BLOCK = 2**20  # tokens that are held in memory at a time


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


@dataclass
class FileResult:
    """What became of one file."""

    status: str  # one of STATUSES
    message: str = ""
    piece: Piece | None = None  # where it is kept in memory
    tokens: str = ""  # where it goes to a store: with spaces between
    notes: int = 0
    note_ons: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    has_beat: bool = True
    moved: tuple[float, float] = (0.0, 0.0)  # mean and maximum, quarters
    joined: int = 0  # moments that the grid put together
    content: str = ""  # digest of the notes
    line: str = ""  # digest of the soprano line: equal for settings of one tune

    def leave_out(self, status: str, reason: str) -> None:
        """Count all notes as dropped."""
        self.status, self.tokens = status, ""
        self.dropped, self.notes = self.dropped | {reason: self.notes}, 0


# ---- one file


def read_file(path: Path, instruments: str | int, audit: bool) -> FileResult:
    """Read one file. Never raises for what the file holds."""
    try:
        piece = read_midi(path, instruments, audit)
    except NoNotesError as error:
        return FileResult("empty", str(error), note_ons=error.note_ons, dropped=error.dropped)
    except MidiParseError as error:
        return FileResult("damaged", str(error))
    return FileResult("read", "", piece, "", len(piece), piece.note_ons,
                      dict(piece.dropped), dict(piece.repaired))  # fmt: skip


def encode_file(path: Path, config: ReadConfig) -> FileResult:
    """Read, quantise and encode one file. Never raises for what the file holds."""
    try:
        result = read_file(path, config.instruments, config.audit)
        return _encode(result, config) if result.piece else result
    except PieceError as error:
        return FileResult("failed", f"{path.name}: {error}")
    except Exception as error:  # a fault of ours, but no reason to lose the other files
        message = f"{path.name}: reading failed ({type(error).__name__}: {error}). Please report it"
        return FileResult("failed", message)


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


# ---- the report


@dataclass
class FolderReport:
    """What a folder gave: every file by what became of it, every note by where it went."""

    instruments: str | int = "all"  # what counted as music, see `programs_of`
    config: ReadConfig | None = None  # of a store
    pieces: list[Piece] = field(default_factory=list)  # kept in memory
    files: Counter[str] = field(default_factory=Counter)  # by status
    messages: dict[str, str] = field(default_factory=dict)  # file → why it gave nothing
    notes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # notes left out, by reason
    repaired: Counter[str] = field(default_factory=Counter)
    audited: int = 0  # files with notes
    note_ons: int = 0  # in audited files
    unaccounted: int = 0  # of these
    performances: int = 0  # pieces without a beat, whatever was done with them
    joined: int = 0  # moments that the grid put together
    stored: str = ""  # a line about the tokens of a store
    seconds: float = 0.0

    def add(self, name: str, result: FileResult) -> None:
        """Count what one file gave."""
        self.files[result.status] += 1
        self.notes += result.notes
        self.dropped.update(result.dropped)
        self.repaired.update(result.repaired)
        self.performances += not result.has_beat
        self.joined += result.joined
        if result.piece is not None:
            self.pieces.append(result.piece)
        if result.status in ("empty", "damaged", "failed"):
            self.messages[name] = result.message
        elif result.note_ons is not None:
            self.audited += 1
            self.note_ons += result.note_ons
            self.unaccounted += result.note_ons - result.notes - sum(result.dropped.values())

    def __str__(self) -> str:
        always = STATUSES[:4] if self.config else STATUSES[:3]
        counts = [f"{self.files[s]:,} {s}" for s in STATUSES if s in always or self.files[s]]
        music = "everything but drums" if self.instruments == "all" else self.instruments
        lines = [
            f"{self.files.total():,} files: {', '.join(counts)}",
            f"{self.notes:,} notes kept (music: {music}); left out: {listed(+self.dropped)}",
        ]
        if self.config and self.config.grid:
            grid = " and ".join(f"1/{division}" for division in self.config.grid)
            lines.append(
                f"grid of {grid} quarter: {self.joined:,} moments joined; {self.performances:,} "
                f"pieces without a beat {PERFORMANCES[self.config.performances]}"
            )
        elif self.config:
            lines.append("no grid: all times as in the files")
        if +self.repaired:
            lines.append(f"mended: {listed(+self.repaired)}")
        readable = self.files.total() - len(self.messages)
        audit = (
            f"audited {self.audited:,} of {readable:,} pieces: {self.note_ons:,} note-ons, "
            f"{self.unaccounted:,} unaccounted for"
        )
        lines.append(audit if self.audited else "not audited")
        lines += [self.stored] if self.stored else []
        lines += [f"  {message}" for message in list(self.messages.values())[:20]]
        if len(self.messages) > 20:
            lines.append(f"  … and {len(self.messages) - 20:,} more")
        return "\n".join(lines)


# ---- a folder


def is_store(folder: str | Path) -> bool:
    """True for a folder that holds a token store, whole or not."""
    return (Path(folder) / "store.json").exists()


def find_midi_files(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Paths of the MIDI files in a folder, sorted. Raises FileNotFoundError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Check the path")
    entries = folder.rglob("*") if recursive else folder.iterdir()
    found = sorted(p for p in entries if p.suffix.lower() in MIDI_SUFFIXES and p.is_file())
    if not found:
        hint = "" if recursive else ", or say recursive=True to look into its subfolders"
        raise FileNotFoundError(
            f"{folder}: no file that ends in .mid or .midi. Give a folder of MIDI files{hint}"
        )
    return found


def read_folder(
    folder: str | Path,
    recursive: bool = False,
    instruments: str | int = "all",
    audit: bool = False,
    processes: int | None = None,
    progress: bool | None = None,
) -> FolderReport:
    """Read every MIDI file of a folder into memory; one that cannot be read is reported.

    `instruments` and `audit`: see `read_midi`; `processes`, `progress` and the main guard that a
    script needs with more than one process: see `map_files`.
    Raises FileNotFoundError where there is no folder or no MIDI file in it.
    """
    folder, report = Path(folder), FolderReport(instruments)
    paths = find_midi_files(folder, recursive)
    read = partial(read_file, instruments=instruments, audit=audit)
    for path, result in zip(paths, map_files(read, paths, processes, progress)):
        report.add(str(path.relative_to(folder)), _or_crash(result))
    return report


def _or_crash(result: FileResult | CrashError) -> FileResult:
    return FileResult("damaged", str(result)) if isinstance(result, CrashError) else result


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
        writer = _StoreWriter(unfinished, FolderReport(config.instruments, config))
        table_path = unfinished / "report.csv"
        with (
            open(unfinished / "ids.raw", "wb") as raw,
            open(table_path, "w", newline="", encoding="utf-8") as table,
        ):
            rows = csv.DictWriter(table, COLUMNS)
            rows.writeheader()
            encode = partial(encode_file, config=config)
            for path, result in zip(paths, map_files(encode, paths, processes, progress)):
                name, result = path.relative_to(folder).as_posix(), _or_crash(result)
                raw.write(writer.add(name, result))
                rows.writerow(_row(name, result))
        if not writer.names:
            raise StoreError(f"{folder}: no notes to store. {writer.report}")
        writer.finish(began)
        os.replace(unfinished, out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return writer.report


COLUMNS = ("file", "status", "notes", "tokens", "note_ons", "dropped", "repaired", "beat",
           "moved_mean", "moved_max", "joined", "message")  # fmt: skip


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

    def __init__(self, folder: Path, report: FolderReport) -> None:
        self.folder, self.report = folder, report
        self.provisional: dict[str, int] = {}  # token → its number by first appearance
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.groups: list[int] = []  # of each piece
        self.lines: dict[str, int] = {}  # digest of a soprano line → its group
        self.group_names: list[str] = []  # of its first piece
        self.content: dict[str, str] = {}  # digest → first file with these notes

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
        report, encoding = self.report, self.report.config.encoding
        of_group = split_groups(self.group_names)
        parts = np.array([of_group[group] for group in self.groups])
        total = sum(self.lengths)
        raw = np.memmap(self.folder / "ids.raw", dtype=np.int32, mode="r", shape=(total,))
        held_out = np.repeat(parts > 0, self.lengths)
        counts = np.zeros(len(self.provisional), dtype=np.int64)
        for block in range(0, total, BLOCK):
            mine = ~held_out[block : block + BLOCK]
            counts += np.bincount(raw[block : block + BLOCK][mine], minlength=len(counts))
        tokens = list(self.provisional)
        trained = {token: int(n) for token, n in zip(tokens, counts) if n}
        vocabulary = Vocabulary.for_training(encoding, trained)
        final = np.array([vocabulary.ids.get(token, UNK_ID) for token in tokens], dtype=np.int32)
        ids = np.lib.format.open_memmap(self.folder / "ids.npy", "w+", np.int32, (total,))
        unknown = 0
        for block in range(0, total, BLOCK):
            ids[block : block + BLOCK] = final[raw[block : block + BLOCK]]
            unknown += int((ids[block : block + BLOCK] == UNK_ID).sum())
        ids.flush()
        del ids, raw  # closes the files
        (self.folder / "ids.raw").unlink()
        sizes = ", ".join(f"{(parts == i).sum():,} {part}" for i, part in enumerate(PARTS))
        report.stored = (
            f"{total:,} tokens, a vocabulary of {len(vocabulary):,}; pieces: {sizes}; "
            f"{unknown:,} valid and test tokens unknown"
        )
        report.seconds = time.perf_counter() - began
        config = asdict(report.config) | {"encoding": encoding.to_dict()}
        header = {
            "format": FORMAT,
            "read": config,
            "vocabulary": vocabulary.tokens[1:],
            "names": self.names,
            "lengths": self.lengths,
            "parts": parts.tolist(),
            "report": str(report),
        }
        (self.folder / "store.json").write_text(json.dumps(header), encoding="utf-8")
