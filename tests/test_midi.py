"""The rules of reading, one by one, against a reference reader; writing is the inverse."""

import contextlib
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from mido import Message, MetaMessage

from pianolstm.folder import find_midi_files
from pianolstm.midi import MidiParseError, NoNotesError, read_midi, write_midi
from pianolstm.midi_bytes import count_note_ons
from pianolstm.piece import NOTE_DTYPE, Piece

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi"
C4 = 60
END = b"\0\xff\x2f\0"
NOTE = b"\0\x90\x3c\x50\x83\x60\x80\x3c\0"  # C4, velocity 80, 480 ticks
OUTSIDE = {  # of the tracks' music; the reference does not count it
    "tracks more than the header says", "bytes after the last track",
    "bytes after the end of a track",
}  # fmt: skip


def read(path, **options):
    """What `read_midi` gives, after it has been compared with the reference and mido's count."""
    expected, note_ons = reference.read(path), count_note_ons(path)
    try:
        piece = read_midi(path, **options)
    except NoNotesError as error:
        if not options:
            assert not len(expected) and error.dropped == expected.dropped
            assert note_ons in (None, sum(error.dropped.values()))
        raise
    assert note_ons in (None, len(piece) + sum(piece.dropped.values()))
    if not options:
        assert piece == expected and piece.dropped == expected.dropped
        inside = {why: n for why, n in piece.repaired.items() if why not in OUTSIDE}
        assert inside == expected.repaired
    return piece


def midi_data(*tracks, kind=1, division=480):
    """A MIDI file from the bytes of its tracks' events, end-of-track included or not."""
    header = b"MThd\0\0\0\6" + kind.to_bytes(2) + len(tracks).to_bytes(2) + division.to_bytes(2)
    return header + b"".join(b"MTrk" + len(track).to_bytes(4) + track for track in tracks)


@pytest.fixture
def raw_file(tmp_path):
    """Write what `midi_data` makes; returns its path."""

    def write(*tracks):
        path = tmp_path / "raw.mid"
        path.write_bytes(midi_data(*tracks))
        return path

    return write


def on(pitch=C4, time=0, channel=0, velocity=80):
    return Message("note_on", note=pitch, time=time, channel=channel, velocity=velocity)


def off(pitch=C4, time=480, channel=0):
    return Message("note_off", note=pitch, time=time, channel=channel)


def program(number, channel=0):
    return Message("program_change", channel=channel, program=number)


def rows(piece):
    return [(int(n["onset"]), int(n["duration"]), int(n["pitch"])) for n in piece.notes]


# ---- notes


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        # first in, first out; channels do not meet; a note-off without a note; velocity 0
        ([on(), on(time=240), off(time=120), off()], [(0, 360, C4), (240, 600, C4)]),
        ([on(), on(channel=1), off(time=10), off(time=10, channel=1)], [(0, 10, C4), (0, 20, C4)]),
        ([off(time=0), on(), off()], [(0, 480, C4)]),
        ([on(), on(time=240, velocity=0)], [(0, 240, C4)]),
        # without a note-off to the end of the track, four quarters at most
        ([on(), on(62, time=100), off(62, time=380)], [(0, 480, C4), (100, 380, 62)]),
        ([on(channel=5), MetaMessage("text", text="x", time=240)], [(0, 240, C4)]),
        ([on(), on(62), off(62), on(62), off(62, time=2000)],
         [(0, 1920, C4), (0, 480, 62), (480, 2000, 62)]),
        # a lost note-off: since the pitch was last free, a note ends where it is struck again
        ([on(), on(time=480), off(), on(), off()],
         [(0, 480, C4), (480, 480, C4), (960, 480, C4)]),
        ([on(), on(time=240), off(time=240), off(time=240), on(time=240), on(time=480), off()],
         [(0, 480, C4), (240, 480, C4), (960, 480, C4), (1440, 480, C4)]),
        ([on(), on(channel=1), off(), on(), off(channel=1), off()],
         [(0, 480, C4), (0, 960, C4), (480, 960, C4)]),
        # a note-off behind the note-on of its tick is the earlier note's
        ([on(), on(time=480), off(time=0), on(time=480), off(time=0), on(62), off(62, time=120)],
         [(0, 480, C4), (480, 480, C4), (960, 120, C4), (960, 120, 62)]),
    ],
)  # fmt: skip
def test_which_note_off_ends_a_note(midi_file, messages, expected):
    assert rows(read(midi_file(messages))) == expected


def test_what_is_dropped_or_repaired_is_counted(midi_file):
    piece = read(midi_file([on(), off(time=0), on(62), off(62), on(64, time=9)]))
    assert rows(piece) == [(0, 480, 62)]
    assert piece.dropped == {"zero length": 2}  # the last one starts where its track ends
    assert piece.repaired == {"without a note-off": 1}


def test_drums_are_dropped_and_counted(midi_file):
    path = midi_file([on(36, channel=9), off(36, channel=9)], [on(), off()])
    piece = read(path)
    assert rows(piece) == [(0, 480, C4)]
    assert (piece.dropped, count_note_ons(path)) == ({"percussion": 1}, 2)
    drums = midi_file([on(36, channel=9), off(36, channel=9)], name="drums.mid")
    with pytest.raises(NoNotesError, match=r"drums\.mid: no notes.*1 percussion.*pitched"):
        read(drums)
    with pytest.raises(NoNotesError, match="no note events at all"):
        read(midi_file([MetaMessage("track_name", name="silence")]))


def test_instruments_can_be_chosen(midi_file):
    path = midi_file(
        [program(5), on(), off(), program(40, 1), on(72, channel=1), off(72, channel=1)]
    )
    assert len(read(path)) == 2
    piano = read(path, instruments="piano")
    assert rows(piano) == [(0, 480, C4)]
    assert piano == reference.read(path, range(8))
    assert piano.dropped == {"other instruments": 1}
    for violin in ("Violin", "40"):
        assert rows(read(path, instruments=violin)) == [(480, 480, 72)]
    with pytest.raises(NoNotesError, match=r"no notes to learn from \(2 other instruments\)"):
        read(path, instruments="Flute")
    with pytest.raises(ValueError, match=r"no instrument 'kazoo'.*; or give all, piano or"):
        read(path, instruments="kazoo")


def test_format_0_gives_an_instrument_for_each_channel_and_program(midi_file):
    messages = [program(40), on(), on(48, channel=3), program(41), on(72), off(), off(72),
                off(48, channel=3)]  # fmt: skip
    piece = read(midi_file(messages, kind=0))
    assert sorted(piece.notes[["pitch", "program"]].tolist()) == [(48, 0), (C4, 40), (72, 41)]
    assert len(piece.track_names) == 3


def test_both_hands_are_read_whatever_they_are_called(midi_file):
    path = midi_file(
        [MetaMessage("track_name", name="")],
        [MetaMessage("track_name", name="x"), on(72), off(72)],
        [on(48, channel=3), off(48, channel=3)],
    )
    piece = read(path)
    assert rows(piece) == [(0, 480, 72), (0, 480, 48)]
    assert piece.track_names == ("x", "Track 2")


# ---- tempo, metre and key


def test_several_tempi_metres_and_keys(midi_file):
    tempi = [MetaMessage("set_tempo", tempo=500_000), MetaMessage("set_tempo", tempo=1, time=480)]
    metre = MetaMessage("time_signature", numerator=6, denominator=8)
    keys = [MetaMessage("key_signature", key="F#m"), MetaMessage("key_signature", key="C")]
    piece = read(midi_file([*tempi, metre], [*keys, on(), off(time=960)]))
    assert piece.tempi == ((0, 120.0), (480, 60e6))
    assert piece.time_signatures == ((480, 6, 8),)
    assert piece.key == "F# minor"
    assert piece.seconds == pytest.approx(0.5 + 1e-6)


def test_impossible_tempi_metres_and_keys_are_ignored(raw_file):
    tempo, metre = b"\0\xff\x51\x03\0\0\0", b"\0\xff\x58\x04\0\x02\x18\x08"
    piece = read(raw_file(tempo + metre + NOTE + END))
    assert (piece.tempi, piece.time_signatures) == (((0, 120.0),), ((0, 4, 4),))
    assert piece.repaired == {
        "impossible tempo ignored": 1, "impossible time signature ignored": 1
    }  # fmt: skip
    path = raw_file(b"\0\xff\x59\x02\x09\0" + NOTE + END)  # nine sharps, at which mido stops
    assert (read(path).key, count_note_ons(path)) == (None, None)
    assert read(path).repaired == {"impossible key signature ignored": 1}


@pytest.mark.parametrize(
    ("mark", "what"),
    [
        (b"\x51\0", "tempo"),
        (b"\x51\4\7\xa1\x20\0", "tempo"),
        (b"\x58\2\3\3", "time signature"),
        (b"\x58\4\4\x22\x18\x08", "time signature"),  # a beat unit of 1/2^34
        (b"\x58\4\4\7\x18\x08", "time signature"),
        (b"\x59\0", "key signature"),
        (b"\x59\1\2", "key signature"),
    ],
)
def test_marks_of_a_shape_that_they_cannot_have(raw_file, mark, what):
    piece = read(raw_file(b"\0\xff\x01\4\xff\x59\0." + NOTE + b"\0\xff" + mark + NOTE + END))
    assert (piece.tempi, piece.time_signatures, piece.key) == (((0, 120.0),), ((0, 4, 4),), None)
    assert rows(piece) == [(0, 480, C4), (480, 480, C4)]
    assert piece.repaired == {f"impossible {what} ignored": 1}


# ---- odd bytes


@pytest.mark.parametrize(
    ("name", "read_as"),
    [("Flöte".encode(), "Flöte"), ("Flöte".encode("latin-1"), "Fl�te"),
     ("ピアノ".encode("shift-jis"), "�s�A�m"), (b"", "Track 1")],
)  # fmt: skip
def test_odd_text_encodings(raw_file, name, read_as):
    title = b"\0\xff\x03" + bytes([len(name)]) + name
    assert read(raw_file(title + NOTE + END)).track_names == (read_as,)


def test_data_bytes_above_127_are_clipped_and_counted(raw_file):
    genuine = b"\0\x90\x3e\x7f\x81\x00\x80\x3e\0"
    loud = read(raw_file(b"\0\x90\x3c\xc8\x83\x60\x80\x3c\0" + genuine + END))
    assert loud.notes["velocity"].tolist() == [127, 127]
    high = read(raw_file(b"\0\x90\xc8\x50\x83\x60\x80\xc8\0" + END))
    assert rows(high) == [(0, 480, 127)]
    assert loud.repaired == high.repaired == {"clipped to 127": 1}


def test_ends_of_tracks_in_unusual_places(raw_file):
    inside_a_text = b"\0\xff\x01\x05ab\xff\x2f\0"
    assert len(read(raw_file(NOTE + inside_a_text + NOTE + END))) == 2
    assert len(read(raw_file(NOTE + inside_a_text))) == 1  # none but in the text
    assert rows(read(raw_file(NOTE))) == [(0, 480, C4)]  # none at all


@pytest.mark.parametrize(
    ("data", "notes", "repaired"),
    [
        (midi_data(NOTE + END + NOTE + END), 1,
         {"bytes after the end of a track": len(NOTE + END)}),
        (midi_data(NOTE + END) + b"some words that an editor left", 1,
         {"bytes after the last track": 30}),
        (midi_data(NOTE + END) + midi_data(NOTE + END)[14:], 2,
         {"tracks more than the header says": 1}),
    ],
)  # fmt: skip
def test_what_stands_at_the_wrong_place_is_counted(tmp_path, data, notes, repaired):
    (tmp_path / "odd.mid").write_bytes(data)
    piece = read(tmp_path / "odd.mid")
    assert len(piece) == count_note_ons(tmp_path / "odd.mid") == notes
    assert piece.repaired == repaired


@pytest.mark.parametrize("event", [b"\0\xc0\xc8", b"\0\xf8"], ids=["program 200", "clock"])
def test_events_that_a_file_may_not_hold(raw_file, event):
    path = raw_file(event + NOTE + END)
    assert rows(read_midi(path)) == [(0, 480, C4)]
    assert rows(reference.read(path)) != [(0, 480, C4)]  # music21 loses its place there


# ---- files that give no notes


@pytest.mark.parametrize("tail", [b"\0\x90", b"\0\x90\x3e", b"\0\xff\x01\x40abc", b"\0\xf0\x40ab",
                                  b"\0\xff\x51\x03\x07", b"\0"])  # fmt: skip
def test_a_track_that_ends_within_an_event(raw_file, tail):
    for track in (NOTE + tail, NOTE + tail + END):
        with pytest.raises(MidiParseError, match="the events of a track cannot be read"):
            read_midi(raw_file(track))


@pytest.mark.parametrize("gaps", [2, 9, 17])
def test_times_that_cannot_be_meant(raw_file, gaps):
    far = b"\xff\xff\xff\x7f\xff\x01\0"
    with pytest.raises(MidiParseError, match="times are damaged"):
        read_midi(raw_file(far * gaps + NOTE + END))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"bad\.mid: the file is empty.*another copy"),
        (b"dear diary, today", r"not a MIDI file.*'dear diary, '.* Check the file extension"),
        (b"\0" * (33 * 2**20), "34,603,008 bytes, more than any piece of music"),
        *[
            (midi_data(NOTE + END)[:cut], r"bad\.mid: truncated: .*complete copy")
            for cut in (14, 20, 24, -1)
        ],
        (midi_data(NOTE + END, kind=2), "MIDI format 2. Convert it"),
        (midi_data(NOTE + END, division=0xE728), "SMPTE frames.* Export it with ticks"),
        (midi_data(NOTE + END, division=0), "SMPTE"),
        (midi_data(b"\0\x11\x22\x33" + NOTE + END), r"bad\.mid: the events of a track"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_refused(tmp_path, data, message):
    (tmp_path / "bad.mid").write_bytes(data)
    with pytest.raises(MidiParseError, match=message):
        read_midi(tmp_path / "bad.mid")
    with pytest.raises(MidiParseError, match=r"gone\.mid: cannot be opened.*Check the path"):
        read_midi(tmp_path / "gone.mid")


def test_a_relative_path_is_named_from_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MidiParseError) as error:
        read_midi("songs/gone.mid")
    assert str(error.value).endswith(f"Check the path {Path.cwd() / 'songs' / 'gone.mid'}")
    nowhere = str(Path.cwd() / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(nowhere)}: no such folder"):
        find_midi_files("nowhere")


# ---- whole files


def test_songs_are_read_as_the_reference_reads_them(songs_folder):
    for path in find_midi_files(songs_folder, recursive=True)[::8]:
        read(path)


@pytest.mark.slow
def test_all_songs_and_lent_files_are_read_as_the_reference_reads_them(songs_folder):
    for folder in (songs_folder, LENT):
        for path in find_midi_files(folder, True) if folder.is_dir() else []:
            if path.name != "empty.mid":
                read(path)


deltas = st.sampled_from([0, 0, 0, 1, 60, 127, 500])
few = st.integers(58, 61)  # pitches that meet often
byte = st.integers(0, 127)
channels = st.sampled_from([0, 0, 1, 9])
events = st.one_of(
    *[st.builds(lambda c, p, v: bytes([0x90 | c, p, v]), channels, few, byte)] * 3,
    *[st.builds(lambda c, p: bytes([0x80 | c, p, 64]), channels, few)] * 2,
    st.builds(lambda c, p: bytes([0x90 | c, p, 0]), channels, few),
    st.builds(lambda c, p: bytes([0xC0 | c, p]), channels, st.sampled_from([0, 0, 40])),
    st.builds(lambda c, n, v: bytes([0xB0 | c, n, v]), channels, byte, byte),
    st.builds(lambda c, n, v: bytes([0xE0 | c, n, v]), channels, byte, byte),
    st.builds(lambda t: b"\xff\x51\x03" + t.to_bytes(3), st.integers(0, 2**24 - 1)),
    st.builds(lambda b, u: bytes([255, 0x58, 4, b, u, 24, 8]), byte, st.integers(0, 8)),
    st.builds(
        lambda s, m: bytes([255, 0x59, 2, s % 256, m]), st.integers(-7, 7), st.integers(0, 1)
    ),
    st.binary(max_size=9).map(lambda text: b"\xff\x01" + bytes([len(text)]) + text),
    st.binary(max_size=9).map(lambda data: b"\xf0" + bytes([len(data) + 1]) + data + b"\xf7"),
)
made_tracks = st.lists(
    st.tuples(deltas, events).map(lambda pair: variable_length(pair[0]) + pair[1]), max_size=25
).map(lambda parts: b"".join(parts) + END)


def variable_length(ticks):
    """A delta time as MIDI writes it, up to 14 bits."""
    return bytes([ticks]) if ticks < 128 else bytes([0x80 | ticks >> 7, ticks & 127])


@settings(max_examples=200, deadline=None)
@given(st.lists(made_tracks, min_size=1, max_size=3), st.sampled_from([1, 96, 480]))
def test_made_files_are_read_as_the_reference_reads_them(tmp_path_factory, tracks, division):
    path = tmp_path_factory.getbasetemp() / "made.mid"
    path.write_bytes(midi_data(*tracks, division=division))
    with contextlib.suppress(NoNotesError):
        read(path)


# ---- writing


def without_overlaps(rows):
    """Keep rows in which no two notes of one pitch overlap on a track."""
    ends = defaultdict(int)
    kept = []
    for onset, duration, pitch, track, velocity in sorted(rows):
        if onset >= ends[pitch, track]:
            ends[pitch, track] = onset + duration
            kept.append((onset, duration, pitch, track, velocity))
    return kept


note = st.tuples(st.integers(0, 4000), st.integers(1, 2000), st.integers(0, 127),
                 st.integers(0, 2), st.integers(1, 127))  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.lists(note, min_size=1, max_size=40),
    st.lists(st.integers(0, 127), min_size=3, max_size=3),
    st.sampled_from([1, 12, 96, 480, 10_080, 32_767]),
)
def test_write_then_read_is_the_identity(tmp_path_factory, rows, programs, tpq):
    present = sorted({row[3] for row in rows})
    notes = [(onset, length, pitch, velocity, programs[track], present.index(track))
             for onset, length, pitch, track, velocity in without_overlaps(rows)]  # fmt: skip
    names = tuple(f"hand {t}" for t in range(len(present)))
    piece = Piece(np.array(notes, dtype=NOTE_DTYPE), tpq, tempi=((0, 75.0), (960, 120.0)),
                  key="D minor", time_signatures=((0, 3, 4),), track_names=names)  # fmt: skip
    path = write_midi(piece, tmp_path_factory.getbasetemp() / "written.mid")
    assert read(path) == piece


@pytest.mark.parametrize(
    ("tempo", "written"), [(3.576, 3.576), (1.0, 3.576), (3.7, 3.7), (60e6, 60e6), (1e9, 60e6)]
)
def test_a_tempo_is_written_or_the_nearest_that_a_file_can_hold(tmp_path, scale, tempo, written):
    path = write_midi(replace(scale, tempi=((0, tempo),)), tmp_path / "x.mid")
    assert read(path).tempi == ((0, pytest.approx(written, abs=1e-3)),)


def test_two_hands_on_one_key_are_written_on_channels_of_their_own(tmp_path):
    hands = Piece.from_quarters([(0, 4, 60, 0), (1, 1, 60, 1), (2, 4, 60, 1)])
    path = write_midi(hands, tmp_path / "hands.mid")
    assert read(path) == hands
    merged, tick = [], 0  # all tracks as one, as players see them
    for message in mido.MidiFile(path).merged_track:
        tick += message.time
        if message.type in ("note_on", "note_off"):
            merged.append((message.channel, message.type == "note_on", tick / 480))
    assert [event[1:] for event in merged if event[0] == 0] == [(True, 0), (False, 4)]
    second = [event[1:] for event in merged if event[0] == 1]
    assert second == [(True, 1), (False, 2), (True, 2), (False, 6)]
