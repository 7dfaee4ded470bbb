"""Many MIDI files → pieces in memory, and one report of what became of each file and each note."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from pianolstm.midi import MidiParseError, NoNotesError, read_midi
from pianolstm.midi_bytes import count_note_ons
from pianolstm.piece import Piece, listed, printable

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")  # karaoke; in a RIFF wrapper
OTHER_ENDINGS = (".musicxml", ".mxl", ".xml", ".abc", ".krn", ".mp3", ".wav")  # not read
PERFORMANCES = {  # what to do with pieces without a beat → the words for it
    "keep": "left as played",
    "drop": "left out",
    "bend": "bent to the grid",
}
STATUSES = ("read", "empty", "damaged", "duplicate", "performance", "failed")


@dataclass
class FileResult:
    """What became of one file."""

    status: str  # one of STATUSES
    message: str = ""
    piece: Piece | None = None  # where it is kept in memory
    tokens: str = ""  # where it goes to a store: with spaces between
    notes: int = 0
    note_ons: int | None = None  # by a second count; None: not audited
    dropped: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)
    has_beat: bool = True
    joined: int = 0  # moments that the grid put together
    content: str = ""  # digest of the notes
    line: str = ""  # digest of the soprano line: equal for settings of one tune

    def leave_out(self, status: str, reason: str) -> None:
        """Count all notes as dropped."""
        self.status, self.tokens = status, ""
        self.dropped, self.notes = {**self.dropped, reason: self.notes}, 0


def read_file(path: Path, instruments: str = "all", audit: bool = False) -> FileResult:
    """Read one file. Never raises for what the file holds."""
    note_ons = count_note_ons(path) if audit else None
    try:
        piece = read_midi(path, instruments)
    except NoNotesError as error:
        return FileResult("empty", str(error), note_ons=note_ons, dropped=error.dropped)
    except MidiParseError as error:
        return FileResult("damaged", str(error))
    return FileResult("read", "", piece, "", len(piece), note_ons, piece.dropped, piece.repaired)


@dataclass
class FolderReport:
    """What a folder gave: every file by what became of it, every note by where it went."""

    instruments: str = "all"  # what counted as music, see `programs_of`
    grid: tuple[int, ...] = ()  # of a store, see `quantise`
    treatment: str = ""  # of pieces without a beat in a store, see `PERFORMANCES`
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
        always = STATUSES[:4] if self.grid else STATUSES[:3]
        counts = [f"{self.files[s]:,} {s}" for s in STATUSES if s in always or self.files[s]]
        music = "everything but drums" if self.instruments == "all" else self.instruments
        lines = [
            f"{self.files.total():,} files: {', '.join(counts)}",
            f"{self.notes:,} notes kept (music: {music}); left out: {listed(self.dropped)}",
        ]
        if self.grid:
            grid = " and ".join(f"1/{division}" for division in self.grid)
            lines.append(
                f"grid of {grid} quarter: {self.joined:,} moments joined; {self.performances:,} "
                f"pieces without a beat {PERFORMANCES[self.treatment]}"
            )
        if self.repaired:
            lines.append(f"mended: {listed(self.repaired)}")
        if self.audited:
            readable = self.files.total() - len(self.messages)
            lines.append(
                f"audited {self.audited:,} of {readable:,} pieces: {self.note_ons:,} note-ons, "
                f"{self.unaccounted:,} unaccounted for"
            )
        if self.stored:
            lines.append(self.stored)
        lines += [f"  {message}" for message in list(self.messages.values())[:20]]
        if len(self.messages) > 20:
            lines.append(f"  … and {len(self.messages) - 20:,} more")
        return "\n".join(lines)


def find_midi_files(folder: str | Path, recursive: bool = False) -> list[Path]:
    """Paths of the MIDI files in a folder, sorted; linked subfolders are followed, each one once.

    Whatever has the name of a MIDI file and is no folder is among them, and so is a subfolder that
    cannot be opened: reading them tells the reason. Raises FileNotFoundError if there are none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder.absolute()}: no such folder. Check the path")
    found: list[Path] = []
    visited: set[str] = set()
    walk = os.walk(folder, onerror=lambda e: found.append(Path(e.filename)), followlinks=True)
    for parent, subfolders, names in walk:
        place = os.path.realpath(parent)
        if place not in visited:
            found += [Path(parent, name) for name in names if name.lower().endswith(MIDI_SUFFIXES)]
        subfolders[:] = sorted(subfolders) if recursive and place not in visited else []
        visited.add(place)
    if not found:
        hint = "" if recursive else " (`read`, or recursive=True, looks into subfolders, too)"
        raise FileNotFoundError(
            f"{folder}: no file that ends in .mid or .midi, .kar or .rmi. Give a folder of MIDI "
            f"files{hint}"
        )
    return sorted(found)


def read_folder(folder: str | Path, recursive: bool = False, audit: bool = False) -> FolderReport:
    """Read every MIDI file of a folder into memory; one that cannot be read is reported.

    `audit` counts all note-ons a second time, see `count_note_ons`. Shows a bar on a terminal.
    Raises FileNotFoundError where there is no folder or no MIDI file in it.
    """
    folder, report = Path(folder), FolderReport()
    for path in tqdm(find_midi_files(folder, recursive), "reading", unit="file", disable=None):
        report.add(printable(path.relative_to(folder).as_posix()), read_file(path, audit=audit))
    return report
