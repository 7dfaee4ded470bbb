"""The bytes of a MIDI file → the notes of each instrument, by rules that every reader here obeys.

Three readers stand side by side: symusic (fast, the default), music21 (its raw MIDI events, paired
here) and mido (the independent count behind an audit).

Rules

* An *instrument* is one channel with one program within one track; a program counts from its
  message on, within its own track (0, grand piano, before the first).
* A note-on with velocity 0 is a note-off. A note-off ends the oldest open note of its pitch,
  channel and track: first in, first out. One that finds no open note is ignored.
* A note that nothing ends lasts until its track ends, four quarters at most: "without a note-off".
* A data byte above 127 counts as 127: "clipped to 127".
* A pedal message (controller 64) belongs to the instrument in force on its channel; one that comes
  before the first note of an instrument waits for the next instrument of that channel.
* Text that is no UTF-8 keeps what can be read, with � for the rest.
* What stands behind the end-of-track event of a track is not music.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import symusic

from pianolstm.piece import NOTE_DTYPE

PERCUSSION = 9  # channel 10 of General MIDI, counted from 0
SUSTAIN = 64  # controller number of the right pedal; values from 64 on mean "down"
HANGING = 4  # quarters that a note without a note-off lasts at most
NO_OFF, CLIPPED = "without a note-off", "clipped to 127"
AFTER_END, BEHIND = "after the end of a track", "bytes after the end of a track"
DIFFERENT = "notes that a second reader finds elsewhere"

END = b"\xff\x2f\x00"  # the end-of-track event
FAR = 2**28 - 1  # ticks, the longest delta time that MIDI can write
_EMPTY_TEXT = b"\xff\x01\x00"
_FAR_DELTA = b"\xff\xff\xff\x7f"
MARK = "pianolstm: the track ends here"
_MARKER = b"\xff\x06" + bytes([len(MARK)]) + MARK.encode()

NO_PEDAL = np.zeros((0, 2), dtype=np.int64)  # rows: tick and value of controller 64, file order

Event = tuple[int, int, int, int]  # tick, status byte, first and second data byte


@dataclass
class RawMidi:
    """What a file holds, before anything is left out. An instrument is a `track` of `notes`."""

    notes: np.ndarray  # NOTE_DTYPE; durations of 0 occur
    percussion: list[bool]  # of each instrument
    names: list[str]  # of each instrument: its track's name
    pedals: list[np.ndarray]  # of each instrument: see `NO_PEDAL`; empty if not asked for
    tempi: list[tuple[int, float]]  # (tick, quarters a minute)
    time_signatures: list[tuple[int, int, int]]  # (tick, beats, beat unit)
    key_signatures: list[tuple[int, int, int]]  # (tick, sharps, 1 for minor)
    repaired: Counter[str]
    ignored: Counter[str]  # note-ons that are no notes, by reason


def read_symusic(ticks_per_quarter: int, tracks: list[bytes], pedal: bool) -> RawMidi:
    """Read with symusic (https://github.com/Yikai-Liao/symusic). Raises RuntimeError on damage.

    symusic says nothing of notes that nothing ends. So each track is read with note-offs for every
    pitch added far behind its end: what lasts that long had none of its own.
    """
    cut = [_until_end(track, bytes.find) for track in tracks]
    try:
        score, parts, notes, endless = _closed_score(ticks_per_quarter, cut)
    except RuntimeError:  # those three bytes can stand inside a text
        cut = [_until_end(track, bytes.rfind) for track in tracks]
        score, parts, notes, endless = _closed_score(ticks_per_quarter, cut)
    repaired: Counter[str] = Counter()
    if len(notes) and (notes["pitch"].max() == 127 or notes["velocity"].max() == 127):
        repaired[CLIPPED] = _clipped(ticks_per_quarter, cut)
    if endless is not None:
        repaired[NO_OFF] = int(endless.sum())
        true = np.minimum(notes["duration"] - FAR, HANGING * ticks_per_quarter)
        notes["duration"][endless] = true[endless]
    behind = sum(map(len, tracks)) - sum(map(len, cut)) - len(END) * len(tracks)
    if behind > 0:
        repaired[BEHIND] = behind
    return RawMidi(
        notes,
        percussion=[part.is_drum for part in parts],
        names=[part.name for part in parts],
        pedals=[_pedal(part) for part in parts] if pedal else [],
        tempi=[(t.time, t.qpm) for t in score.tempos],
        time_signatures=[(s.time, s.numerator, s.denominator) for s in score.time_signatures],
        key_signatures=[(k.time, k.key, k.tonality) for k in score.key_signatures],
        repaired=repaired,
        ignored=Counter(),
    )


def _closed_score(
    ticks_per_quarter: int, tracks: list[bytes]
) -> tuple[symusic.core.ScoreTick, list, np.ndarray, np.ndarray | None]:
    """Parse tracks with note-offs added far behind their ends.

    Returns score, its instruments, their notes (NOTE_DTYPE), and a mask of the notes that only
    the added note-offs end, or None if there are none.
    """
    pitches, rounds = range(128), 1
    while True:
        closed = [track + _ending(track, pitches, rounds) for track in tracks]
        # Without sanitize_data, a pitch above 127 makes symusic write outside of its memory.
        score = symusic.Score.from_midi(_file(ticks_per_quarter, closed), sanitize_data=True)
        marks = [marker.text for marker in score.markers]
        if marks.count(MARK) != len(tracks):
            raise RuntimeError("the last event of a track is not whole")
        parts = list(score.tracks)
        notes = np.empty(score.note_num(), dtype=NOTE_DTYPE)
        start = 0
        for number, part in enumerate(parts):
            columns = part.notes.numpy()
            rows = notes[start : start + len(columns["time"])]
            rows["onset"], rows["duration"] = columns["time"], columns["duration"]
            rows["pitch"], rows["velocity"] = columns["pitch"], columns["velocity"]
            rows["program"], rows["track"] = part.program, number
            start += len(rows)
        if not start or notes["duration"].max() < FAR:
            return score, parts, notes, None
        endless = notes["duration"] >= FAR
        still = notes[endless]
        # Counted over all channels: a channel's open notes may have several programs.
        if np.bincount(still["pitch"]).max() < rounds:
            return score, parts, notes, endless
        pitches = np.unique(still["pitch"]).tolist()
        rounds *= 16  # several open notes of one pitch need as many note-offs


def _clipped(ticks_per_quarter: int, tracks: list[bytes]) -> int:
    """Notes whose pitch or velocity symusic has clipped to 127, told from those that have it.

    With every byte 127 lowered to 126, what is still 127 was more. (Where 127 is also the length
    of a text, the track falls apart and nothing can be said.)
    """
    lowered = [track.replace(b"\x7f", b"\x7e") for track in tracks]
    try:
        notes = _closed_score(ticks_per_quarter, lowered)[2]
    except RuntimeError:
        return 0
    return int(((notes["pitch"] == 127) | (notes["velocity"] == 127)).sum())


def _pedal(track: symusic.core.TrackTick) -> np.ndarray:
    if not len(track.controls):
        return NO_PEDAL
    controls = track.controls.numpy()
    chosen = controls["number"] == SUSTAIN
    return np.stack([controls["time"][chosen], controls["value"][chosen]], axis=1)


def _until_end(track: bytes, find: Callable[[bytes, bytes], int]) -> bytes:
    """A track's bytes up to its end-of-track event, without that and what follows it."""
    end = find(track, END)
    return track + b"\0" if end < 0 else track[:end]


def _file(ticks_per_quarter: int, tracks: list[bytes]) -> bytes:
    header = b"MThd\0\0\0\6\0\1" + len(tracks).to_bytes(2) + ticks_per_quarter.to_bytes(2)
    return header + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


def _ending(track: bytes, pitches: Sequence[int], rounds: int) -> bytes:
    """The end of a track: a marker that proves that all before it was read whole, then, very far
    behind it, `rounds` note-offs for each of the pitches in all channels that the track uses."""
    used = [c for c in range(16) if 0x90 | c in track]
    if len(pitches) == 128:
        offs = b"".join([_ALL_OFF[c] for c in used])
    else:
        offs = b"".join(bytes((0, 0x80 | c, p, 0)) for c in used for p in pitches)
    return _MARKER + _FAR_DELTA + _EMPTY_TEXT + offs * rounds + b"\0" + END


_ALL_OFF = [
    b"".join(bytes((0, 0x80 | channel, pitch, 0)) for pitch in range(128)) for channel in range(16)
]


@dataclass
class Pairing:
    """Note-ons and note-offs of raw events, paired by the rules above, track after track."""

    ticks_per_quarter: int
    rows: list[tuple] = field(default_factory=list)  # as in NOTE_DTYPE
    percussion: list[bool] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    pedals: list[np.ndarray] = field(default_factory=list)
    repaired: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def add(self, events: Iterable[Event], end: int, name: str) -> None:
        """Add the instruments of a track that ends at the tick `end`."""
        programs: dict[int, int] = defaultdict(int)
        waiting: dict[int, list] = defaultdict(list)  # pedal messages before any note
        notes: dict[tuple[int, int], list] = {}  # (channel, program) → rows
        pedals: dict[tuple[int, int], list] = {}
        sounding: dict[tuple[int, int], deque] = defaultdict(deque)
        for tick, status, first, second in events:
            kind, channel, pitch = status & 0xF0, status & 0x0F, min(first, 127)
            if kind == 0x90 and second > 0:
                self.repaired[CLIPPED] += first > 127 or second > 127
                instrument = (channel, programs[channel])
                if instrument not in notes:
                    notes[instrument], pedals[instrument] = [], waiting.pop(channel, [])
                sounding[channel, pitch].append((instrument, tick, min(second, 127)))
            elif kind in (0x80, 0x90) and sounding[channel, pitch]:
                instrument, onset, velocity = sounding[channel, pitch].popleft()
                notes[instrument].append((onset, tick - onset, pitch, velocity))
            elif kind == 0xC0:
                programs[channel] = min(first, 127)
            elif kind == 0xB0 and first == SUSTAIN:
                place = pedals.get((channel, programs[channel]))
                (waiting[channel] if place is None else place).append((tick, second))
        for (_, pitch), still in sounding.items():
            for instrument, onset, velocity in still:
                self.repaired[NO_OFF] += 1
                length = min(end - onset, HANGING * self.ticks_per_quarter)
                notes[instrument].append((onset, length, pitch, velocity))
        for (channel, program), played in sorted(notes.items()):
            self.rows += [(*row, program, len(self.names)) for row in played]
            self.percussion.append(channel == PERCUSSION)
            self.names.append(name)
            pedal = np.array(pedals[channel, program], dtype=np.int64)
            self.pedals.append(pedal.reshape(-1, 2))

    def result(self, tempi=(), time_signatures=(), key_signatures=()) -> RawMidi:
        """All tracks together; marks of several tracks in the order of their time."""
        marks = (sorted(m, key=lambda mark: mark[0]) for m in (tempi, time_signatures,
                                                               key_signatures))  # fmt: skip
        notes = np.array(self.rows, dtype=NOTE_DTYPE)
        return RawMidi(notes, self.percussion, self.names, self.pedals, *marks,
                       self.repaired, self.ignored)  # fmt: skip


def read_music21(ticks_per_quarter: int, tracks: list[bytes], pedal: bool) -> RawMidi:
    """Read with music21's parser of raw events (https://www.music21.org), paired by `Pairing`."""
    from music21 import midi

    pairing = Pairing(ticks_per_quarter)
    tempi, time_signatures, key_signatures = [], [], []
    source = midi.MidiFile()
    source.readstr(_file(ticks_per_quarter, tracks))
    for track in source.tracks:
        tick, events, name = 0, [], ""
        for event in track.events:
            if event.isDeltaTime():
                tick += event.time
                continue
            kind, data = event.type, event.data
            if kind == midi.MetaEvents.END_OF_TRACK:
                break
            if isinstance(kind, midi.ChannelVoiceMessages):
                status = int(kind) | event.channel - 1
                events.append((tick, status, event.parameter1 or 0, event.parameter2 or 0))
            elif kind == midi.MetaEvents.SEQUENCE_TRACK_NAME:
                name = data.decode("utf-8", "replace")
            elif kind == midi.MetaEvents.SET_TEMPO:
                microseconds = int.from_bytes(data[:3])
                tempi.append((tick, 60e6 / microseconds if microseconds else np.inf))
            elif kind == midi.MetaEvents.TIME_SIGNATURE and len(data) > 1:
                time_signatures.append((tick, data[0], 2 ** min(data[1], 7)))
            elif kind == midi.MetaEvents.KEY_SIGNATURE and len(data) > 1:
                sharps = int.from_bytes(data[:1], signed=True)
                key_signatures.append((tick, sharps, data[1]))
        pairing.add(events, tick, name)
    return pairing.result(tempi, time_signatures, key_signatures)


def read_mido(ticks_per_quarter: int, tracks: list[bytes]) -> tuple[int, RawMidi]:
    """A second count: the note-on messages that mido sees, and where the rules put each.

    Shares with the engines only the step that cuts a file into tracks, and with "music21" the
    pairing. Returns (number of note-ons with a velocity above 0, notes). Raises whatever mido
    raises on files that it cannot read. Source: https://mido.readthedocs.io, with clip=True.
    """
    import mido

    pairing, count = Pairing(ticks_per_quarter), 0
    data = _file(ticks_per_quarter, tracks)
    for track in mido.MidiFile(file=io.BytesIO(data), clip=True).tracks:
        tick, end, events = 0, None, []
        for message in track:
            tick += message.time
            note_on = message.type == "note_on" and message.velocity > 0
            count += note_on
            if end is not None:
                pairing.ignored[AFTER_END] += note_on
            elif message.type == "end_of_track":
                end = tick
            elif not message.is_meta and message.type != "sysex":
                events.append((tick, *[*message.bytes(), 0, 0][:3]))
        pairing.add(events, tick if end is None else end, track.name)
    return count, pairing.result()


ENGINES = {"symusic": read_symusic, "music21": read_music21}
