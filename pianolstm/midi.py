"""MIDI files ↔ `Piece`, with an account of every note.

Reading, the same rules for every file of format 0 or 1:

* An instrument is one channel with one program within one track, and becomes one track of the
  piece. A program counts from its message on, within its own track (0, grand piano, before the
  first).
* A note-on with velocity 0 is a note-off. A note-off ends the oldest open note of its pitch,
  channel and track: first in, first out. One that finds no open note is ignored.
* Where a pitch of a channel ends with fewer note-offs than note-ons, this holds up to the last
  moment at which none of its notes was held. From there on, a note ends when its key is struck
  again: "struck again without a note-off". A note-off at that very tick is that note's own.
* A note that nothing ends lasts until its track ends, four quarters at most: "without a note-off".
* A data byte above 127 counts as 127: "clipped to 127".
* Tempi, time and key signatures that cannot be meant are ignored: "impossible tempo ignored".
* Without a tempo event the tempo is 120 quarters a minute, as MIDI 1.0 says.
* What stands behind the end of a track, or behind the last track, is not music. Tracks that the
  header does not count are.
* Percussion (channel 10 of General MIDI) and notes of length zero are left out.

Notes left out are counted in `Piece.dropped`, everything else that had to be changed in
`Piece.repaired`. Writing keeps the piece's own ticks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import symusic

from pianolstm.midi_bytes import MidiParseError, parse_tracks, split_tracks
from pianolstm.piece import MIDI_TEMPO, Piece, key_name, key_sharps, listed, printable

FAMILIES = {"all": range(128), "piano": range(8)}  # choices of music → General MIDI programs
LONGEST = 100_000  # quarters; 18 hours at a walking pace
SLOWEST, FASTEST = 60e6 / (2**24 - 1), 60e6  # quarters a minute that a tempo event can hold


class NoNotesError(MidiParseError):
    """A file that is whole but holds nothing of the music that was asked for."""

    def __init__(self, path: Path, dropped: Mapping[str, int]) -> None:
        why = listed(dropped) if dropped else "no note events at all"
        advice = "Use a file with at least one pitched instrument"
        super().__init__(path, f"no notes to learn from ({why})", advice)
        self.dropped = dropped  # as in `Piece`


def programs_of(instruments: str) -> Sequence[int]:
    """The General MIDI programs that a choice of music means.

    "all" (everything but drums), "piano" (programs 0 to 7), a General MIDI name such as "Violin",
    or its program number. Raises ValueError for anything else.
    """
    if instruments in FAMILIES:
        return FAMILIES[instruments]
    if instruments.isdigit() and int(instruments) < 128:
        return [int(instruments)]
    try:
        return [program_named(instruments)]
    except ValueError as error:
        raise ValueError(f"{error}; or give all, piano or a number from 0 to 127") from None


def program_named(name: str) -> int:
    """The program of a General MIDI instrument; capitals and signs do not matter.

    Raises ValueError, which lists the names, for another one.
    """
    import pretty_midi

    try:
        return pretty_midi.instrument_name_to_program(name)
    except ValueError:
        known = ", ".join(map(pretty_midi.program_to_instrument_name, range(128)))
        raise ValueError(f"no instrument {name!r}. Choose from {known}") from None


# ---- reading


def read_midi(path: str | Path, instruments: str = "all") -> Piece:
    """Read a MIDI file of format 0 or 1 into a `Piece`, to the tick.

    `instruments` chooses what is music, see `programs_of`; drums never are.

    Raises `MidiParseError` for a file that is missing, empty, no MIDI, truncated or damaged, of
    format 2 or with SMPTE time, and its subclass `NoNotesError` for one without notes to read
    (drums alone count as none). Raises ValueError for an unknown choice of instruments.
    """
    path = path if isinstance(path, Path) else Path(path)
    chosen = programs_of(instruments)
    dropped: Counter[str] = Counter()
    repaired: Counter[str] = Counter()
    ticks_per_quarter, tracks = split_tracks(path, repaired)
    try:
        score, notes = parse_tracks(ticks_per_quarter, tracks, repaired)
    except Exception as error:  # symusic raises whatever it meets
        found = f"the events of a track cannot be read ({error})"
        raise MidiParseError(path, found, "Get another copy of the file") from error
    notes, present = _select(notes, score, chosen, dropped)
    if not len(notes):
        raise NoNotesError(path, dict(+dropped))
    # Unsigned, because symusic's 32 bits overflow: what is below 0 is far from the start, too
    latest = int(notes["onset"].view(np.uint64).max()), int(notes["duration"].max())
    if max(latest) > LONGEST * ticks_per_quarter:
        found = f"a note more than {LONGEST:,} quarters from the start"
        raise MidiParseError(path, found, "Its times are damaged; get another copy")
    names = [part.name for part in score.tracks]
    tempi = [(tempo.time, round(tempo.qpm, 3)) for tempo in score.tempos]
    metres = [(metre.time, metre.numerator, metre.denominator) for metre in score.time_signatures]
    keys = [key_name(key.key, bool(key.tonality)) for key in score.key_signatures]
    return Piece(
        notes,
        ticks_per_quarter,
        tempi=tuple(tempi) or ((0, MIDI_TEMPO),),
        time_signatures=tuple(metres) or ((0, 4, 4),),
        key=keys[0] if keys else None,
        track_names=tuple([names[t] or f"Track {i}" for i, t in enumerate(present, 1)]),
        name=printable(path.stem),
        dropped=dict(+dropped),
        repaired=dict(+repaired),
    )


def _select(
    notes: np.ndarray, score: symusic.core.ScoreTick, chosen: Sequence[int], dropped: Counter[str]
) -> tuple[np.ndarray, Sequence[int]]:
    """The notes that count as music, and the score's tracks that have any; `dropped` counts."""
    drums = [part.is_drum for part in score.tracks]
    others = [part.program not in chosen for part in score.tracks]
    if not any(drums + others) and notes["duration"].min(initial=1) > 0:
        return notes, range(len(drums))
    left_out = np.zeros(len(notes), dtype=bool)
    for reason, mask in (
        ("percussion", np.array(drums)[notes["track"]]),
        ("other instruments", np.array(others)[notes["track"]]),
        ("zero length", notes["duration"] < 1),
    ):  # a note counts once, for the first reason
        dropped[reason] = int((mask & ~left_out).sum())
        left_out |= mask
    notes = notes[~left_out]
    present, notes["track"] = np.unique(notes["track"], return_inverse=True)
    return notes, present


# ---- writing


def to_symusic(piece: Piece) -> symusic.Score:
    """The piece as a symusic score: one track for each of ours, same ticks.

    A tempo that no MIDI file can hold becomes the nearest that it can.
    """
    score = symusic.Score(piece.ticks_per_quarter)
    for tick, bpm in piece.tempi:
        score.tempos.append(symusic.Tempo(tick, qpm=min(max(bpm, SLOWEST), FASTEST)))
    score.time_signatures.extend([symusic.TimeSignature(*s) for s in piece.time_signatures])
    if piece.key:
        sharps, minor = key_sharps(piece.key)
        score.key_signatures.append(symusic.KeySignature(0, sharps, int(minor)))
    for index, name in enumerate(piece.track_names or ("Piano",)):
        notes = piece.notes[piece.notes["track"] == index]
        track = symusic.Track(name, program=int(notes["program"][0]) if len(notes) else 0)
        times = (notes[column].astype(np.int32) for column in ("onset", "duration"))
        data = (notes[column].astype(np.int8) for column in ("pitch", "velocity"))
        track.notes = symusic.Note.from_numpy(*times, *data)
        score.tracks.append(track)
    return score


def write_midi(piece: Piece, path: str | Path) -> Path:
    """Write a MIDI file that `read_midi` reads back to an equal `Piece`.

    Each track has a channel of its own (of 15, without that of percussion), so that two hands may
    hold and strike one key. A tempo beyond 3.576 or 60 million becomes the nearest that fits.

    Exact as long as every track has one program (that of its first note is written for all), and
    no two notes of one pitch overlap on a track: a MIDI file cannot say which of them a note-off
    ends (`read_midi` then ends the one that began first).
    """
    path = Path(path)
    path.write_bytes(to_symusic(piece).dumps_midi())
    return path
