"""A folder of MIDI files of any size → a token store, with an account of every file.

The store is a folder with three files:

* `ids.npy`: the tokens of all pieces one after another as ids (int32), in their own keys; the
  training pieces first, then validation, then test. It is memory-mapped, never loaded whole.
* `store.json`: encoding, vocabulary, names and offsets of the pieces, and how they were read.
* `report.csv`: a line for every file that was met, whatever became of it.

It is written beside its place and moved there when it is whole: what bears the name is complete.
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
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from pianolstm.dataset import ALL_KEYS, Dataset, part_of, soprano_line
from pianolstm.encoding import (
    ArticleEncoding,
    Encoding,
    PieceError,
    encoding_from_dict,
    missing_tokens,
)
from pianolstm.parallel import CrashError, map_files
from pianolstm.parsing import (
    MidiParseError,
    NoNotesError,
    find_midi_files,
    music_name,
    programs_of,
    read_midi,
)
from pianolstm.piece import NOT_AUDITED, Piece, listed
from pianolstm.quantisation import GRID, PERFORMANCES, quantise
from pianolstm.vocabulary import UNK_ID, Vocabulary

FORMAT = 1  # of store.json; a reader refuses what it does not know
PARTS = ("train", "valid", "test")
STATUSES = ("read", "empty", "damaged", "duplicate", "performance", "failed")
COLUMNS = ("file", "status", "part", "notes", "tokens", "note_ons", "dropped", "repaired",
           "beat", "moved_mean", "moved_max", "joined", "message")  # fmt: skip


class StoreError(ValueError):
    """A folder that is no whole token store, or a place where none can be written."""


@dataclass(frozen=True)
class Recipe:
    """How files become tokens."""

    encoding: Encoding = field(default_factory=ArticleEncoding)
    grid: tuple[int, ...] = GRID  # divisions of a quarter, see `quantise`; () leaves times alone
    instruments: str | int = "all"  # see `programs_of`
    pedal: bool = False
    performances: str = "keep"  # those without a beat: keep as played, drop, or bend to the grid
    audit: bool = False

    def __post_init__(self) -> None:
        programs_of(self.instruments)  # raises where it means nothing
        if any(division < 1 for division in self.grid):
            raise ValueError(f"grid {self.grid}: give divisions of a quarter note, such as (4, 3)")
        if self.performances not in PERFORMANCES:
            raise ValueError(
                f"performances={self.performances!r}; choose from {', '.join(PERFORMANCES)}"
            )
        timed = getattr(self.encoding, "resolution", None)
        loose = self.performances == "keep" or not self.grid
        if timed and (loose or timed % math.lcm(*self.grid)):
            raise ValueError(
                f"{type(self.encoding).__name__} writes times in 1/{timed} quarter: give a grid "
                "that divides it, such as (4, 3), and say what to do with performances, which have "
                "no beat: 'drop' or 'bend' (on the command line: --performances bend)"
            )


@dataclass
class FileResult:
    """What one file gave."""

    status: str  # one of STATUSES
    message: str = ""
    tokens: str = ""  # with spaces between
    notes: int = 0
    note_ons: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    has_beat: bool = True
    moved: tuple[float, float] = (0.0, 0.0)  # mean and maximum, quarters
    joined: int = 0  # moments that the grid put together
    content: bytes = b""  # digest of the notes
    line: bytes = b""  # digest of the soprano line: equal for settings of one tune

    def leave_out(self, reason: str) -> None:
        """Count all notes as dropped."""
        self.dropped, self.notes, self.tokens = self.dropped | {reason: self.notes}, 0, ""


def encode_file(path: Path, recipe: Recipe) -> FileResult:
    """Read, quantise and encode one file. Never raises for what the file holds."""
    try:
        piece = read_midi(
            path, instruments=recipe.instruments, pedal=recipe.pedal, audit=recipe.audit
        )
        return _encode(piece, recipe)
    except NoNotesError as error:
        return FileResult("empty", str(error), note_ons=error.note_ons, dropped=error.dropped)
    except MidiParseError as error:
        return FileResult("damaged", str(error))
    except PieceError as error:
        return FileResult("failed", f"{path.name}: {error}")
    except Exception as error:  # a fault of ours, but no reason to lose the other files
        message = f"{path.name}: reading failed ({type(error).__name__}: {error}). Please report it"
        return FileResult("failed", message)


def _encode(piece: Piece, recipe: Recipe) -> FileResult:
    result = FileResult("read", notes=len(piece), note_ons=piece.note_ons,
                        dropped=dict(piece.dropped), repaired=dict(piece.repaired))  # fmt: skip
    if recipe.grid:
        on_grid = quantise(piece, recipe.grid, bend=recipe.performances == "bend")
        piece, result.has_beat = on_grid.piece, on_grid.has_beat
        result.dropped, result.notes = dict(piece.dropped), len(piece)
        result.moved = (float(on_grid.moved.mean()), float(on_grid.moved.max()))
        result.joined = on_grid.joined
        if not on_grid.has_beat:
            result.message = str(on_grid)
            if recipe.performances == "drop":
                result.status = "performance"
                result.leave_out("in performances without a beat")
                return result
    result.tokens = " ".join(recipe.encoding.encode(piece))
    columns = [piece.notes[name].tobytes() for name in ("onset", "duration", "pitch", "program")]
    result.content = _digest(b"".join(columns))
    result.line = _digest(repr(soprano_line(piece)).encode())
    return result


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


@dataclass
class StoreReport:
    """What a folder gave, in numbers."""

    folder: str
    recipe: Recipe
    files: Counter[str] = field(default_factory=Counter)  # by status
    parts: Counter[str] = field(default_factory=Counter)  # pieces in train, valid and test
    performances: int = 0  # pieces without a beat, whatever was done with them
    joined: int = 0  # moments that the grid put together
    notes: int = 0
    audited: int = 0  # files
    note_ons: int = 0  # in audited files
    unaccounted: int = 0  # of these
    dropped: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    unknown: int = 0  # held-out tokens that no training piece has
    vocabulary: int = 0
    seconds: float = 0.0
    messages: list[str] = field(default_factory=list)  # of damaged and failed files

    def add(self, result: FileResult) -> None:
        """Count one file."""
        self.files[result.status] += 1
        if result.status in ("damaged", "failed"):
            self.messages.append(result.message)
        self.notes += result.notes
        if result.note_ons is not None:
            self.audited += 1
            self.note_ons += result.note_ons
            self.unaccounted += result.note_ons - result.notes - sum(result.dropped.values())
        self.dropped.update(result.dropped)
        self.repaired.update(result.repaired)
        if result.status in ("read", "performance"):
            self.performances += not result.has_beat
            self.joined += result.joined

    def __str__(self) -> str:
        recipe, total = self.recipe, self.files.total()
        counts = [f"{self.files[status]:,} {status}" for status in STATUSES[:4]]
        counts += [f"{self.files[s]:,} {s}" for s in STATUSES[4:] if self.files[s]]
        treatment = {"keep": "left as played", "drop": "left out", "bend": "bent to the grid"}
        grid = " and ".join(f"1/{d}" for d in recipe.grid)
        lines = [
            f"{total:,} files: {', '.join(counts)}",
            f"{self.notes:,} notes kept (music: {music_name(recipe.instruments)}); "
            f"left out: {', '.join(listed(+self.dropped)) or 'none'}",
            f"grid of {grid} quarter: {self.joined:,} moments joined; {self.performances:,} pieces "
            f"without a beat {treatment[recipe.performances]}"
            if grid
            else "no grid: all times as in the files",
        ]
        if +self.repaired:
            lines.append(f"mended: {', '.join(listed(+self.repaired))}")
        lines.append(
            f"audited {self.audited:,} files: {self.note_ons:,} note-ons, "
            f"{self.unaccounted:,} unaccounted for"
            if recipe.audit
            else NOT_AUDITED
        )
        parts = ", ".join(f"{self.parts[part]:,} {part}" for part in PARTS)
        lines.append(
            f"{self.tokens:,} tokens, a vocabulary of {self.vocabulary:,}; pieces: {parts}; "
            f"{self.unknown:,} valid and test tokens unknown"
        )
        shown = self.messages[:20]
        lines += [f"  {message}" for message in shown]
        if len(self.messages) > len(shown):
            lines.append(f"  … and {len(self.messages) - len(shown):,} more, see report.csv")
        return "\n".join(lines)


def build_store(
    folder: str | Path,
    out: str | Path,
    recipe: Recipe | None = None,
    processes: int | None = None,
    progress: bool | None = None,
    recursive: bool = True,
) -> StoreReport:
    """Read every MIDI file under `folder` into a token store at `out`, which must not exist yet.

    `recursive=False` passes its subfolders over. A second file with the same notes is a duplicate
    and left out. Pieces are split 80 / 10 / 10 by `part_of`; settings of one tune (see
    `soprano_line`) stay together. The vocabulary is that of the training pieces in all keys.
    Memory grows with the number of files and of classes, not of tokens. Stopped at any moment, it
    leaves nothing at `out`. `processes` and the main guard that a script needs with more than one:
    see `map_files`.

    Raises StoreError if `out` exists or cannot be written, FileNotFoundError without MIDI files.
    """
    folder, out, recipe = Path(folder), Path(out), recipe or Recipe()
    if out.exists():
        raise StoreError(f"{out} exists already. Give another name, or delete it first")
    began = time.perf_counter()
    paths = find_midi_files(folder, recursive)
    unfinished = out.with_name(out.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what an interrupted run of this name left
    try:
        unfinished.mkdir(parents=True)
        writer = _Writer(unfinished, StoreReport(str(folder), recipe))
        with writer:
            encode = partial(encode_file, recipe=recipe)
            for path, result in zip(paths, map_files(encode, paths, processes, progress)):
                if isinstance(result, CrashError):
                    result = FileResult("damaged", str(result))
                writer.add(path.relative_to(folder).as_posix(), result)
        if not writer.provisional:
            raise StoreError(f"{folder}: no notes to store. {writer.report}")
        report = writer.finish(began)
        os.replace(unfinished, out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


class _Writer:
    """Gathers results in the order of the files; ids are provisional until `finish`."""

    def __init__(self, folder: Path, report: StoreReport) -> None:
        self.folder, self.report = folder, report
        self.provisional: dict[str, int] = {}  # token → its number by first appearance
        self.names: list[list[str]] = [[], [], []]  # by part
        self.lengths: list[list[int]] = [[], [], []]
        self.in_training: set[int] = set()  # provisional ids
        self.content: dict[bytes, str] = {}  # digest → first file with these notes
        self.groups: dict[bytes, int] = {}  # soprano line → part

    def __enter__(self) -> _Writer:
        with ExitStack() as stack:
            self.parts = [stack.enter_context(open(self.folder / part, "wb")) for part in PARTS]
            table = open(self.folder / "report.csv", "w", newline="", encoding="utf-8")
            self.table = csv.writer(stack.enter_context(table))
            self.table.writerow(COLUMNS)
            self.files = stack.pop_all()
        return self

    def __exit__(self, *exception) -> None:
        self.files.close()

    def add(self, name: str, result: FileResult) -> None:
        part = ""
        if result.status == "read":
            first = self.content.setdefault(result.content, name)
            if first != name:
                result.status, result.message = "duplicate", f"same notes as {first}"
                result.leave_out("in duplicate files")
            else:
                part = self._keep(name, result)
        self.report.add(result)
        mean, furthest = result.moved
        self.table.writerow([
            name, result.status, part, result.notes, result.tokens.count(" ") + bool(result.tokens),
            "not audited" if result.note_ons is None else result.note_ons,
            "; ".join(listed(result.dropped)), "; ".join(listed(result.repaired)),
            "yes" if result.has_beat else "no", f"{mean:.4f}", f"{furthest:.4f}",
            result.joined, result.message,
        ])  # fmt: skip

    def _keep(self, name: str, result: FileResult) -> str:
        number = self.groups.setdefault(result.line, part_of(Path(name).stem))
        ids = [self.provisional.setdefault(token, len(self.provisional))
               for token in result.tokens.split(" ")]  # fmt: skip
        if number == 0:
            self.in_training.update(ids)
        self.parts[number].write(np.array(ids, dtype=np.int32).tobytes())
        self.names[number].append(name)
        self.lengths[number].append(len(ids))
        return PARTS[number]

    def finish(self, began: float) -> StoreReport:
        """Number the tokens for good, join the parts, write the header; returns the report."""
        report, encoding = self.report, self.report.recipe.encoding
        lengths = [length for part in self.lengths for length in part]
        tokens = list(self.provisional)
        moved = (encoding.transpose(tokens[i], s) for i in self.in_training for s in ALL_KEYS)
        vocabulary = Vocabulary(encoding.all_tokens() or moved)
        final = np.array([vocabulary.ids.get(token, UNK_ID) for token in tokens], dtype=np.int32)
        report.tokens, report.vocabulary = sum(lengths), len(vocabulary)
        report.parts = Counter(dict(zip(PARTS, map(len, self.names))))
        ids = np.lib.format.open_memmap(
            self.folder / "ids.npy", "w+", dtype=np.int32, shape=(report.tokens,)
        )
        start = 0
        for part in PARTS:
            with open(self.folder / part, "rb") as file:
                while block := file.read(2**22):
                    chosen = final[np.frombuffer(block, dtype=np.int32)]
                    ids[start : start + len(chosen)] = chosen
                    start += len(chosen)
                    report.unknown += int((chosen == UNK_ID).sum())
            (self.folder / part).unlink()
        ids.flush()
        del ids  # closes the file
        report.seconds = time.perf_counter() - began
        recipe = asdict(report.recipe) | {"encoding": encoding.to_dict()}
        header = {
            "format": FORMAT,
            "encoding": encoding.to_dict(),
            "recipe": {key: value for key, value in recipe.items() if key != "encoding"},
            "pieces": report.parts,
            "vocabulary": vocabulary.tokens[1:],
            "lengths": lengths,
            "names": [name for part in self.names for name in part],
            "summary": str(report),
        }
        (self.folder / "store.json").write_text(json.dumps(header), encoding="utf-8")
        return report


class Transposed(Sequence):
    """The ids of one piece in every key; made when asked for."""

    def __init__(self, ids: np.ndarray, keys: np.ndarray) -> None:
        self.ids, self.keys = ids, keys

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, key: int) -> np.ndarray:
        return self.keys[key][self.ids]


class _Pieces(Sequence):
    """Pieces `first` to `last` of a store: ids in the own key, or `Transposed` ones."""

    def __init__(self, store: TokenStore, first: int, last: int, transposed: bool) -> None:
        self.store, self.first, self.last, self.transposed = store, first, last, transposed

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> np.ndarray | Transposed:
        if not -len(self) <= index < len(self):
            raise IndexError(f"piece {index} of {len(self)}")
        ids = self.store[self.first + index % len(self)]
        return Transposed(ids, self.store.keys) if self.transposed else ids

    def joined(self) -> np.ndarray:
        """All pieces one after another, in their own keys, as they lie in the file."""
        return self.store.ids[self.store.offsets[self.first] : self.store.offsets[self.last]]


class TokenStore(Sequence):
    """A store that `build_store` wrote: a sequence of pieces, each an array of ids (T,).

    Raises StoreError, with what is wrong, for a folder that is not a whole store.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        try:
            header = json.loads((folder / "store.json").read_text(encoding="utf-8"))
            self.ids = np.load(folder / "ids.npy", mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{folder}: no whole token store ({error}). Make one with "
                "`python -m pianolstm read FOLDER --out DATA`"
            ) from error
        if header.get("format") != FORMAT:
            raise StoreError(
                f"{folder}: a store of format {header.get('format')}; this version reads {FORMAT}"
            )
        self.offsets = np.cumsum([0, *header["lengths"]])
        if self.offsets[-1] != len(self.ids):
            raise StoreError(
                f"{folder}: store.json speaks of {self.offsets[-1]:,} tokens, ids.npy holds "
                f"{len(self.ids):,}. Make the store again"
            )
        self.names: list[str] = header["names"]
        self.summary: str = header["summary"]
        self.encoding = encoding_from_dict(header["encoding"])
        self.vocabulary = Vocabulary(header["vocabulary"])
        if missing := missing_tokens(self.encoding, self.vocabulary):
            raise StoreError(
                f"{folder}: made by another version, whose vocabulary lacks {missing[0]} and "
                f"{len(missing) - 1} more that {self.encoding} writes. Make the store again"
            )
        self.parts = [header["pieces"].get(part, 0) for part in PARTS]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        if not -len(self) <= index < len(self):
            raise IndexError(f"piece {index} of {len(self)}")
        index %= len(self)
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def __repr__(self) -> str:
        return (
            f"TokenStore({len(self):,} pieces, {len(self.ids):,} tokens, "
            f"vocabulary of {len(self.vocabulary):,})"
        )

    @cached_property
    def keys(self) -> np.ndarray:
        """Ids of every token in each transposition of `ALL_KEYS`, shape (12, V), int32."""
        ids, move = self.vocabulary.ids, self.encoding.transpose
        rows = [[ids.get(move(t, s), UNK_ID) for t in self.vocabulary.tokens] for s in ALL_KEYS]
        return np.array(rows, dtype=np.int32)

    def dataset(self) -> Dataset:
        """The pieces for training and measuring. Raises ValueError if a part has none."""
        if not all(self.parts):
            raise ValueError(
                f"{len(self)} pieces give a split of {self.parts} (train, valid, test); each part "
                "needs a piece. Use more pieces"
            )
        borders = list(pairwise(np.cumsum([0, *self.parts]).tolist()))
        train, valid, test = (
            _Pieces(self, *border, transposed=part == "train")
            for border, part in zip(borders, PARTS)
        )
        return Dataset(None, self.encoding, self.vocabulary, train, valid, test)


def is_store(folder: str | Path) -> bool:
    """True for a folder that holds a token store, whole or not."""
    return (Path(folder) / "store.json").exists()
