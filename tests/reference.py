"""A second MIDI reader, slow and independent, for tests: what `read_midi` must give.

music21's parser of raw events (https://www.music21.org), note-ons and note-offs paired by the rules
at the top of pianolstm/midi.py. It finds the tracks itself and shares no code with that module. It
does not count bytes that lie outside of tracks or behind their ends. At the end stands the reading
loop of the article, for comparison.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from music21 import chord, converter, instrument, midi, note

from pianolstm.piece import NOTE_DTYPE, Piece, key_name

PERCUSSION = 9  # channel 10 of General MIDI, counted from 0
NOTES = (midi.ChannelVoiceMessages.NOTE_ON, midi.ChannelVoiceMessages.NOTE_OFF)
HANGING = 4  # quarters


def read(path: Path, programs: range = range(128)) -> Piece:
    """The notes of a file; a piece without any where there are none to read."""
    data = path.read_bytes()
    reader = Reader(int.from_bytes(data[12:14]), programs)
    for chunk in track_chunks(data):
        track = midi.MidiTrack()
        track.read(chunk)
        reader.add(track)
    return reader.piece(path.stem)


def track_chunks(data: bytes) -> Iterator[bytes]:
    """Each track of a file, with its header."""
    place = 8 + int.from_bytes(data[4:8])
    while place + 8 <= len(data):
        end = place + 8 + int.from_bytes(data[place + 4 : place + 8])
        if data[place : place + 4] == b"MTrk":
            yield data[place:end]
        place = end


class Reader:
    """Pairs the events of one track after another."""

    def __init__(self, ticks_per_quarter: int, programs: range) -> None:
        self.ticks_per_quarter, self.programs = ticks_per_quarter, programs
        self.rows: list[tuple] = []  # as in NOTE_DTYPE
        self.names: list[str] = []  # of each instrument that has notes
        self.dropped: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()
        self.tempi: list[tuple] = []
        self.metres: list[tuple] = []
        self.keys: list[tuple] = []

    def add(self, track: midi.MidiTrack) -> None:
        """Read a track up to its end-of-track event."""
        self.current: dict[int, int] = defaultdict(int)  # channel → its program
        self.notes: dict[tuple[int, int], list] = defaultdict(list)  # (channel, program) → rows
        # (channel, pitch) → its note-ons and note-offs: tick, velocity (0 for an off), program
        self.strokes: dict[tuple[int, int], list] = defaultdict(list)
        tick, name = 0, ""
        for event in track.events:
            if event.isDeltaTime():
                tick += event.time
            elif event.type == midi.MetaEvents.END_OF_TRACK:
                break
            elif isinstance(event.type, midi.ChannelVoiceMessages):
                self.voice(tick, event)
            elif event.type == midi.MetaEvents.SEQUENCE_TRACK_NAME:
                name = event.data.decode("utf-8", "replace")
            else:
                self.mark(tick, event.type, event.data)
        for (channel, pitch), strokes in self.strokes.items():
            for onset, end, velocity, program in self.pair(strokes, tick):
                self.notes[channel, program].append((onset, end - onset, pitch, velocity))
        for (channel, program), rows in sorted(self.notes.items()):
            self.select(channel, program, rows, name)

    def voice(self, tick: int, event: midi.MidiEvent) -> None:
        """A note-on, a note-off or a change of program."""
        channel, first, second = event.channel - 1, event.parameter1 or 0, event.parameter2 or 0
        pitch, kind = min(first, 127), event.type
        if kind == midi.ChannelVoiceMessages.PROGRAM_CHANGE:
            self.current[channel] = first
        elif kind == midi.ChannelVoiceMessages.NOTE_ON and second > 0:
            self.repaired["clipped to 127"] += first > 127 or second > 127
            self.strokes[channel, pitch].append((tick, min(second, 127), self.current[channel]))
        elif kind in NOTES:
            self.strokes[channel, pitch].append((tick, 0, 0))

    def pair(self, strokes: list[tuple], end_of_track: int) -> Iterator[tuple]:
        """(onset, end, velocity, program) of all notes of a pitch and channel."""
        held, since = deque(), 0  # `since`: the first stroke after which the pitch is always held
        for place, (_, velocity, _) in enumerate(strokes):
            if velocity:
                held.append(strokes[place])
            elif held:
                held.popleft()
                since = since if held else place + 1
        balanced = strokes[:since] if held else strokes
        held.clear()
        for tick, velocity, program in balanced:  # first in, first out
            if velocity:
                held.append((tick, velocity, program))
            elif held:
                yield self.note(held.popleft(), tick)
        note, cut = None, None  # cut: a note that another one ended, at its tick still to be undone
        for stroke in strokes[len(balanced) :]:
            tick, velocity, _ = stroke
            if velocity and note:
                self.repaired["struck again without a note-off"] += 1
                yield self.note(note, tick)
                note, cut = stroke, tick
            elif velocity:
                note = stroke
            elif note and cut == tick:  # the note-off of the note that was cut here
                self.repaired["struck again without a note-off"] -= 1
                cut = None
            elif note:
                yield self.note(note, tick)
                note = None
        if note:
            self.repaired["without a note-off"] += 1
            yield self.note(note, min(end_of_track, note[0] + HANGING * self.ticks_per_quarter))

    def note(self, stroke: tuple, end: int) -> tuple:
        """A note-on and its end."""
        onset, velocity, program = stroke
        return onset, end, velocity, program

    def mark(self, tick: int, kind: midi.MetaEvents, data: bytes) -> None:
        """A tempo, a time signature or a key signature; impossible ones are counted."""
        if kind == midi.MetaEvents.SET_TEMPO:
            microseconds = int.from_bytes(data)
            if self.possible("tempo", len(data) == 3 and microseconds > 0):
                self.tempi.append((tick, round(60e6 / microseconds, 3)))
        elif kind == midi.MetaEvents.TIME_SIGNATURE:
            if self.possible("time signature", len(data) == 4 and data[0] > 0 and data[1] <= 6):
                self.metres.append((tick, data[0], 2 ** data[1]))
        elif kind == midi.MetaEvents.KEY_SIGNATURE:
            sharps = int.from_bytes(data[:1], signed=True)
            if self.possible("key signature", len(data) == 2 and abs(sharps) <= 7):
                self.keys.append((tick, key_name(sharps, bool(data[1]))))

    def possible(self, what: str, is_possible: bool) -> bool:
        """Count a mark that cannot be meant."""
        self.repaired[f"impossible {what} ignored"] += not is_possible
        return is_possible

    def select(self, channel: int, program: int, rows: list[tuple], name: str) -> None:
        """Keep the notes of an instrument, or count why not."""
        lasting = [row for row in rows if row[1] > 0]
        if channel == PERCUSSION:
            self.dropped["percussion"] += len(rows)
        elif program not in self.programs:
            self.dropped["other instruments"] += len(rows)
        else:
            self.dropped["zero length"] += len(rows) - len(lasting)
            if lasting:
                self.rows += [(*row, program, len(self.names)) for row in lasting]
                self.names.append(name or f"Track {len(self.names) + 1}")

    def piece(self, name: str) -> Piece:
        """All tracks together; marks of several tracks in the order of their time."""
        tempi, metres, keys = (
            sorted(marks, key=lambda mark: mark[0])
            for marks in (self.tempi, self.metres, self.keys)
        )
        return Piece(
            np.array(self.rows, dtype=NOTE_DTYPE),
            self.ticks_per_quarter,
            tempi=tuple(tempi) or ((0, 120.0),),
            time_signatures=tuple(metres) or ((0, 4, 4),),
            key=keys[0][1] if keys else None,
            track_names=tuple(self.names),
            name=name,
            dropped=dict(+self.dropped),
            repaired=dict(+self.repaired),
        )


def article_tokens(path: str | Path, cache: bool = False) -> list[str]:
    """The article's reading loop as printed, for comparison with `read_midi`.

    As printed, music21 also writes a pickled copy of what it parsed and takes that the next time;
    here it always reads the file itself, unless `cache` says otherwise.

    Source: Skúli, "How to Generate Music using a LSTM Neural Network in Keras" (2017), section
    "Preparing the Data". `midi.flat` is `midi.flatten()` in music21 today; nothing else is changed.
    It reads the first instrument part only, and counts tie continuations as fresh notes.
    """
    notes = []
    midi = converter.parse(path, forceSource=not cache)
    parts = instrument.partitionByInstrument(midi)
    notes_to_parse = parts.parts[0].recurse() if parts else midi.flatten().notes
    for element in notes_to_parse:
        if isinstance(element, note.Note):
            notes.append(str(element.pitch))
        elif isinstance(element, chord.Chord):
            notes.append(".".join(str(n) for n in element.normalOrder))
    return notes
