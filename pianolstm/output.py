"""Pieces as files: at a wished tempo and on a wished instrument, under names that are free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

from pianolstm.display import audio, roll, score, write_musicxml
from pianolstm.midi import program_named, write_midi
from pianolstm.piece import Piece, listed

SLOWEST, FASTEST = 4, 960  # quarters a minute that can be asked for
# In which a score can be had, and how its file ends; then the endings of all files
FORMATS = {"musicxml": ".musicxml", "svg": ".svg", "png": "-score.png"}
OUTPUTS = (".mid", ".mp3", ".png", *FORMATS.values())


def check_wishes(formats: Sequence[str], tempo: float | None, instrument: str | None) -> None:
    """Raise ValueError for what cannot be had."""
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"--format {' '.join(unknown)}: choose from {', '.join(FORMATS)}")
    if tempo is not None and not SLOWEST <= tempo <= FASTEST:
        raise ValueError(f"--tempo {tempo:g}: give {SLOWEST} to {FASTEST} quarters a minute")
    if instrument is not None:
        program_named(instrument)


def played(
    piece: Piece, name: str, tempo: float | None = None, instrument: str | None = None
) -> Piece:
    """The piece under a name, at a tempo (quarters a minute), on a General MIDI instrument."""
    notes = piece.notes.copy()
    if instrument is not None:
        notes["program"] = program_named(instrument)
    return replace(piece, name=name, notes=notes, tempi=((0, tempo),) if tempo else piece.tempi)


def free_names(out: Path, name: str, pieces: int) -> list[str]:
    """Make the folder; a name for each piece that no file in it has: "name", "name-2" and so on."""
    if pieces < 1:
        raise ValueError(f"--pieces {pieces}: give at least 1")
    for ending in OUTPUTS:
        name = name.removesuffix(ending)
    if Path(name).name != name or not name:
        raise ValueError(f"--name {name!r} must be a file's name; give the folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    free = (n for n in names if not any((out / f"{n}{ending}").exists() for ending in OUTPUTS))
    return list(islice(free, pieces))


def corrections(piece: Piece) -> list[str]:
    """A notice of what was repaired in a generated piece, if anything was."""
    repaired = {what: number for what, number in piece.repaired.items() if what != "no end"}
    number = sum(repaired.values())
    return [f"errors were corrected in it ({number}): {listed(repaired)}"] if number else []


def write_files(
    piece: Piece, out: Path, formats: Sequence[str] = (), notation: bool = False
) -> str:
    """Write MIDI, sound and picture of a piece; says what was written.

    The picture is a piano roll, with `notation` a score. `formats`: the score as such files, too.
    """
    path, sound = out / piece.name, audio(piece)
    write_midi(piece, f"{path}.mid")
    sound.save(f"{path}.mp3")
    engraved = score(piece) if notation or {"svg", "png"} & {*formats} else None
    (engraved if notation else roll(piece)).save(f"{path}.png")
    if "musicxml" in formats:
        write_musicxml(piece, f"{path}.musicxml")
    if "svg" in formats:
        Path(f"{path}.svg").write_text(engraved.svg, encoding="utf-8")
    if "png" in formats:
        engraved.save(f"{path}-score.png")
    endings = [".mid", ".mp3", ".png", *(FORMATS[name] for name in FORMATS if name in formats)]
    heard = f" (the MP3 holds its first {sound.seconds:.0f} s)" if sound.is_cut else ""
    sizes = f"{len(piece)} notes, {len(piece.bar_starts())} bars, {piece.seconds:.0f} s"
    return f"{path}{', '.join(endings)}: {sizes}{heard}"
