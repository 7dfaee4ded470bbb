import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pianolstm.encodings import BOS, EOS, RESOLUTION, EventEncoding, PieceError, RhythmEncoding
from pianolstm.encodings.event_tokens import METRES, opening, program_names
from pianolstm.folder import find_midi_files
from pianolstm.grid import quantise
from pianolstm.midi import MidiParseError, read_midi
from pianolstm.piece import NOTE_DTYPE, Piece, key_name, key_sharps

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi"
SETTINGS = ({}, {"tracks": True}, {"home": True}, {"approach": 2},
            {"home": True, "countdown": True, "approach": 8},
            {"tracks": True, "home": True, "countdown": True})  # fmt: skip
KINDS = [EventEncoding(**settings) for settings in SETTINGS]
rows = st.tuples(  # onset, duration, pitch, velocity, program, track
    *itertools.starmap(st.integers, [(0, 400), (1, 300), (0, 127), (1, 127), (0, 127), (0, 15)])
)
metres = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40), st.sampled_from([1, 2, 4, 8, 16, 32])),
    max_size=3,
)


def content(piece, fields=("onset", "duration", "pitch")):
    """Notes as a bag of rows, times in ticks of 1/12 quarter."""
    scale = RESOLUTION / piece.ticks_per_quarter
    times = {"onset", "duration"}
    return Counter(
        tuple(round(float(n[f]) * scale, 6) if f in times else int(n[f]) for f in fields)
        for n in piece.notes
    )


@given(st.lists(rows, max_size=30), metres, st.sampled_from(KINDS))
@settings(max_examples=200, deadline=None)
@example([(0, 300, 60, 1, 0, 0), (400, 1, 0, 127, 127, 15)], [(0, 40, 32)], KINDS[1])
def test_any_piece_on_the_grid_comes_back(notes, changes, encoding):
    # One program for each track: a file of ours has no other
    notes = [(*note[:4], note[5] * 7 % 128, note[5]) for note in notes]
    signatures = tuple(sorted({tick: (tick, b, u) for tick, b, u in changes}.values()))
    key = key_name(len(notes) % 12 - 5, minor=len(changes) > 1)
    piece = Piece(np.array(notes, NOTE_DTYPE), RESOLUTION, time_signatures=signatures, key=key)
    tokens = encoding.encode(piece)
    assert tokens[0] == BOS and tokens[-1] == EOS
    assert set(tokens) <= set(encoding.all_tokens())
    back = encoding.decode(tokens)
    fields = ["onset", "duration", "pitch", *(["program", "track"] if encoding.tracks else [])]
    assert content(back, fields) == content(piece, fields)
    assert not back.repaired
    assert encoding.encode(back) == tokens


strange = st.builds(
    "{}:{}".format, st.sampled_from(["pitch", "for", "bar", "metre", "at", "C4", "rest"]), st.text()
)
junk = ["pitch:²", "metre:²/4", "for:1e100000000", "C4:1e400", "rest:1e30", "²", "pitch:0060",
        "metre:4//4", "<unk>", "junk", "pitch:200", "for:1/7", "metre:5", ":", "bar:0",
        "E4.G4:0.5", "pitch:" + "1" * 5000, "C" + "9" * 5000 + ":1"]  # fmt: skip
anything = st.sampled_from(
    junk
    + EventEncoding(tracks=True).all_tokens()
    + EventEncoding(home=True, approach=8).all_tokens()
)


@given(st.lists(anything | strange | st.text(), max_size=60))
@settings(max_examples=150, deadline=None)
def test_no_sequence_of_tokens_crashes_the_decoder(tokens):
    for encoding in (*KINDS, RhythmEncoding()):
        piece = encoding.decode(tokens)
        assert len(piece) <= 2 * len(tokens)
        again = encoding.decode(encoding.encode(piece))
        assert isinstance(encoding, RhythmEncoding) or content(again) == content(piece)
        assert not again.repaired


@pytest.mark.skipif(not LENT.is_dir(), reason="the lent files are not here")
def test_every_note_of_the_lent_files_comes_back_on_the_grid():
    encoding = EventEncoding(tracks=True)
    fields = ("onset", "duration", "pitch", "program", "track")
    total = 0
    for path in find_midi_files(LENT, recursive=True):
        try:
            piece = quantise(read_midi(path), bend=True).piece
        except MidiParseError:
            continue
        assert content(encoding.decode(encoding.encode(piece)), fields) == content(piece, fields)
        total += len(piece)
    assert total == 40_697  # of 40,919; the grid merges the others, see test_grid


def test_tokens_of_a_bar_can_be_read():
    piece = Piece.from_quarters([(0, 1, 60), (0, 2, 67), (2.5, 0.5, 62), (5, 6, 64)])
    encoding = EventEncoding()
    tokens = encoding.encode(piece)
    assert " ".join(tokens) == (
        "<bos> metre:4/4 bar:1 at:0 pitch:67 for:2 pitch:60 for:1 at:2.5 pitch:62 for:0.5 "
        "bar:2 at:1 pitch:64 more for:2 <eos>"
    )
    assert encoding.transpose("pitch:60", 3) == "pitch:63"
    assert encoding.transpose("pitch:126", 3) == "pitch:117"
    assert encoding.transpose("bar:2", 3) == "bar:2"
    assert encoding.notes_of("pitch:60") == ([60], 0) and encoding.notes_of("for:2") == ([], 24)
    assert encoding.hidden_counts("pitch:60") == (1, 0)
    assert encoding.hidden_counts("for:2") == (0, 1)
    features = encoding.features(["pitch:61", "at:1.25", "for:0.25", "bar:1"])
    assert [np.flatnonzero(row).tolist() for row in features] == [[1, 17], [26], [26], []]


@pytest.mark.parametrize(
    ("tokens", "kinds"),
    [
        ("bar:1 at:0 pitch:60 <eos>", "pitch"),
        ("bar:1 at:0 pitch:60 at:1 pitch:62 for:1 <eos>", "pitch"),
        ("bar:1 at:0 for:1 <eos>", "for"),
        ("bar:1 at:0 pitch:60 for:1", "no end"),
        ("bar:1 at:0 pitch:60 for:1 <eos> bar:2", "tokens after the end"),
        ("metre:3/4 bar:1 at:3 pitch:60 for:1 <eos>", "at"),
        ("bar:1 at:0 more <eos>", "more"),
        ("bar:1 more pitch:60 for:1 <eos>", "more"),
        ("metre:3/4 metre:4/4 bar:1 <eos>", "metre"),
        ("bar:1 major:C bar:2 major:G <eos>", "key"),
        ("bar:1 at:0 pitch:60 for:0.51 <eos>", "unreadable tokens, pitch"),
        ("bar:1 home:2 <eos>", "unreadable tokens"),
        ("<bos> <bos> <eos>", "unreadable tokens"),
    ],
)
def test_what_is_malformed_is_repaired_and_counted(tokens, kinds):
    piece = EventEncoding().decode(tokens.split())
    assert piece.repaired == dict.fromkeys(kinds.split(", "), 1)


def test_what_is_malformed_is_repaired_by_the_rules():
    def notes(text):
        piece = EventEncoding().decode(text.split())
        return [(n["onset"] / 12, n["duration"] / 12, n["pitch"]) for n in piece.notes]

    assert notes("pitch:60 for:1") == [(0, 1, 60)]  # before the first bar: at its beginning
    assert notes("bar:7 at:1 pitch:60 for:1 bar:3 pitch:62 for:2") == [(1, 1, 60), (4, 2, 62)]
    assert notes("bar:1 at:2 pitch:60 for:1 at:1 pitch:62 for:1") == [(1, 1, 62), (2, 1, 60)]
    assert notes("metre:5/4 bar:1 more at:0.5 pitch:60 more for:1") == [(4.5, 5, 60)]
    assert notes("metre:2/4 bar:1 at:1 at:3 pitch:60 for:1 bar:2 pitch:62 for:1") == [
        (1, 1, 60), (2, 1, 62)]  # fmt: skip
    assert notes("metre:2/4 metre:3/4 bar:1 bar:2 pitch:60 for:1") == [(3, 1, 60)]
    assert notes("bar:1 at:0 pitch:60 pitch:62 for:1 for:2 <eos> pitch:64 for:1") == [(0, 1, 62)]
    assert EventEncoding().decode(["bar:1", "minor:A", "major:G"]).key == "A minor"


def test_pieces_off_the_grid_are_refused_with_the_way_out():
    piece = Piece.from_quarters([(0.01, 1, 60)])
    for encoding in (EventEncoding(), RhythmEncoding()):
        with pytest.raises(PieceError, match=r"1 notes, the first at quarter 0\.01.*quantise"):
            encoding.encode(piece)
    many = Piece(np.array([(0, 1, 60, 80, 0, 64)], NOTE_DTYPE), 12)
    with pytest.raises(PieceError, match="has a track 65; there are tokens for 64"):
        EventEncoding(tracks=True).encode(many)


def test_a_metre_without_a_token_is_written_as_four_quarters():
    piece = Piece.from_quarters([(5, 1, 60)], time_signatures=((0, 5, 32),))
    assert (5, 32) not in METRES
    assert "metre:4/4" in EventEncoding().encode(piece)


def test_the_key_is_said_in_every_bar_and_moves_with_the_notes():
    piece = Piece.from_quarters([(0, 1, 60), (4, 1, 67)], key="B- minor")
    encoding = EventEncoding()
    tokens = encoding.encode(piece)
    assert tokens.count("minor:B-") == 2
    assert encoding.decode(tokens).key == "B- minor"
    moved = [encoding.transpose(token, 3) for token in tokens]
    assert encoding.decode(moved).key == "C# minor"
    for sharps in range(-5, 7):
        for minor in (False, True):
            name = key_name(sharps, minor)
            again = encoding.decode(encoding.encode(replace(piece, key=name)))
            assert again.key == name and not again.repaired


def test_tracks_have_the_names_of_their_programs_and_a_number_where_one_comes_twice():
    assert program_names([0, 40, 0]) == (
        "Acoustic Grand Piano 1", "Violin", "Acoustic Grand Piano 2"
    )  # fmt: skip


def test_at_home_every_key_is_written_alike():
    encoding = EventEncoding(home=True)
    rows = [(0, 1, 60), (1, 1, 64), (2, 1, 67), (3, 1, 72)]
    pieces = [
        replace(Piece.from_quarters([(t, d, p + move) for t, d, p in rows]), key=key_name(n, False))
        for n in range(-5, 7)
        for move in [(7 * n + 6) % 12 - 6]
    ]
    written = {
        tuple(t for t in encoding.encode(piece) if not t.startswith("home:")) for piece in pieces
    }
    assert len(written) == 1
    for piece in pieces:
        tokens = encoding.encode(piece)
        assert content(encoding.decode(tokens)) == content(piece)
        away = [encoding.transpose(token, 2) for token in tokens]
        assert "major:D" in away and tokens[3] in away  # the written key moves, home stays
        up = encoding.decode(away)
        assert key_sharps(up.key)[0] % 12 == (key_sharps(piece.key)[0] + 2) % 12
        assert content(up) == content(replace(piece, notes=piece.transpose(2).notes, key=up.key))
    wild = encoding.decode(["bar:1", "home:-6", "at:0", "pitch:-5", "for:1", EOS])
    assert wild.repaired == {"pitch": 1} and not len(wild)
    twice = encoding.decode(["bar:1", "home:2", "home:3", "at:0", "pitch:60", "for:1", EOS])
    assert twice.repaired == {"home": 1}
    assert twice.notes["pitch"].tolist() == [62]


def test_counting_down_a_piece_ends_with_its_last_bar():
    encoding = EventEncoding(countdown=True)
    piece = Piece.from_quarters([(0, 1, 60), (4, 1, 62), (9, 3, 64)])
    tokens = encoding.encode(piece)
    assert [t for t in tokens if t.startswith("bar:")] == ["bar:3", "bar:2", "bar:1"]
    assert not encoding.decode(tokens).repaired
    long = Piece.from_quarters([(4 * i, 1, 60) for i in range(70)])
    numbers = [int(t[4:]) for t in encoding.encode(long) if t.startswith("bar:")]
    assert numbers == [64] * 7 + list(range(63, 0, -1))
    assert not encoding.decode(encoding.encode(long)).repaired
    up, down = EventEncoding().successors(), encoding.successors()
    assert up["bar:1"] == "bar:2" and up["bar:64"] == "bar:64"
    assert down["bar:2"] == "bar:1" and down["bar:1"] == EOS and "bar:64" not in down


def test_the_last_chord_is_announced_as_it_comes_near():
    encoding = EventEncoding(approach=2)
    piece = Piece.from_quarters([(0, 4, 60), (5, 1, 62), (5.5, 1, 64), (7, 1, 65), (7, 1, 60)])
    tokens = encoding.encode(piece)
    places = [i for i, token in enumerate(tokens) if token.startswith("at:")]
    left = [tokens[i + 1] for i in places]
    assert left == ["pitch:60", "left:2", "left:2", "left:0"]
    assert not encoding.decode(tokens).repaired
    begun = opening(tokens, 9)
    assert not any(t.startswith("left:") for t in begun) and EOS not in begun
    assert [t for t in begun if t.startswith("bar:")] == ["bar:9", "bar:8"]
    with pytest.raises(ValueError, match="approach is -1; give 0 to 1000 quarters"):
        EventEncoding(approach=-1)
