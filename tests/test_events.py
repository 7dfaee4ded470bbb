from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pianolstm.encodings import BOS, EOS, EventEncoding, RhythmEncoding, encoding_from_dict
from pianolstm.encodings.events import METRES, number_bars, opening
from pianolstm.folder import find_midi_files
from pianolstm.grid import quantise
from pianolstm.midi import MidiParseError, read_midi
from pianolstm.piece import NOTE_DTYPE, Piece, key_name, key_sharps
from pianolstm.vocabulary import Vocabulary

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi"
KINDS = [
    EventEncoding(),
    EventEncoding(metre=False),
    EventEncoding(tracks=True, velocity_bins=32),
    EventEncoding(resolution=480, metre=False, velocity_bins=127, tracks=True),
    EventEncoding(home=True),
    EventEncoding(home=True, countdown=True, approach=8),
    EventEncoding(approach=2),
]
rows = st.tuples(
    st.integers(0, 400),  # onset
    st.integers(1, 300),  # duration
    st.integers(0, 127),  # pitch
    st.integers(1, 127),  # velocity
    st.integers(0, 127),  # program
    st.integers(0, 15),  # track
)
metres = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40), st.sampled_from([1, 2, 4, 8, 16, 32])),
    max_size=3,
)


def content(piece, fields=("onset", "duration", "pitch"), resolution=12):
    """Notes as a bag of rows, times in ticks of 1/resolution quarter."""
    scale = resolution / piece.ticks_per_quarter
    times = {"onset", "duration"}
    return Counter(
        tuple(round(float(n[f]) * scale, 6) if f in times else int(n[f]) for f in fields)
        for n in piece.notes
    )


@given(st.lists(rows, max_size=30), metres, st.sampled_from(KINDS))
@settings(max_examples=300, deadline=None)
@example([(0, 300, 60, 1, 0, 0), (400, 1, 0, 127, 127, 15)], [(0, 40, 32)], KINDS[2])
def test_any_piece_on_the_grid_comes_back(notes, changes, encoding):
    # One program for each track: a file of ours has no other
    notes = [(*note[:4], (note[4] * 0 + note[5] * 7) % 128, note[5]) for note in notes]
    signatures = tuple(sorted({tick: (tick, b, u) for tick, b, u in changes}.values()))
    key = key_name(len(notes) % 12 - 5, minor=len(changes) > 1)
    piece = Piece(
        np.array(notes, NOTE_DTYPE), encoding.resolution, time_signatures=signatures, key=key
    )
    tokens = encoding.encode(piece)
    assert tokens[0] == BOS and tokens[-1] == EOS
    assert set(tokens) <= set(encoding.all_tokens())
    back = encoding.decode(tokens)
    fields = ["onset", "duration", "pitch", *(["program", "track"] if encoding.tracks else [])]
    assert content(back, fields) == content(piece, fields)
    assert not back.repaired
    if encoding.tracks and not encoding.velocity_bins:  # else notes may come back in another order
        assert encoding.encode(back) == tokens
    if encoding.velocity_bins:
        bins = Counter(encoding._bin(int(v)) for v in piece.notes["velocity"])
        assert Counter(encoding._bin(int(v)) for v in back.notes["velocity"]) == bins


strange = st.builds(
    "{}:{}".format, st.sampled_from(["pitch", "for", "bar", "metre", "at", "C4", "rest"]), st.text()
)
junk = [
    "pitch:²",
    "metre:²/4",
    "for:1e100000000",
    "pitch:" + "1" * 5000,
    "C4:1e400",
    "rest:1e30",
    "C" + "9" * 5000 + ":1",
    "²",
    "pitch:0060",
    "metre:4//4",
    "<unk>",
    "junk",
    "pitch:200",
    "for:1/7",
    "metre:5",
    ":",
    "bar:0",
    "E4.G4:0.5",
]
anything = st.sampled_from(
    junk
    + EventEncoding(tracks=True).all_tokens()
    + EventEncoding(home=True, approach=8).all_tokens()
)


@given(st.lists(anything | strange | st.text(), max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_sequence_of_tokens_crashes_the_decoder(tokens):
    for encoding in (*KINDS, RhythmEncoding()):
        piece = encoding.decode(tokens)
        assert len(piece) <= 2 * len(tokens)
        again = encoding.decode(encoding.encode(piece))
        assert isinstance(encoding, RhythmEncoding) or content(again) == content(piece)
        assert not again.repaired


def test_every_note_of_every_song_comes_back(song_pieces):
    exact, gridded = EventEncoding(resolution=480), EventEncoding(home=True)
    total = 0
    for piece in song_pieces:
        assert content(exact.decode(exact.encode(piece))) == content(piece)
        moved = quantise(piece).piece
        back = gridded.decode(gridded.encode(moved))
        assert content(back) == content(moved) and not back.repaired
        total += len(piece)
    assert total == 90_481


@pytest.mark.skipif(not LENT.is_dir(), reason="the lent files are not here")
def test_every_note_of_the_lent_files_comes_back_on_the_grid():
    encoding = EventEncoding(tracks=True, velocity_bins=127)
    fields = ("onset", "duration", "pitch", "velocity", "program", "track")
    total = 0
    for path in find_midi_files(LENT, recursive=True):
        try:
            piece = quantise(read_midi(path), bend=True).piece
        except MidiParseError:
            continue
        assert content(encoding.decode(encoding.encode(piece)), fields) == content(piece, fields)
        total += len(piece)
    assert total == 40_697  # of 40,919; the grid merges the others, see test_quantisation


def test_tokens_of_a_bar_can_be_read():
    piece = Piece.from_quarters([(0, 1, 60), (0, 2, 67), (2.5, 0.5, 62), (5, 6, 64)])
    encoding = EventEncoding()
    tokens = encoding.encode(piece)
    assert " ".join(tokens) == (
        "<bos> metre:4/4 bar:1 at:0 pitch:67 for:2 pitch:60 for:1 at:2.5 pitch:62 for:0.5 "
        "bar:2 at:1 pitch:64 more for:2 <eos>"
    )
    shifts = EventEncoding(metre=False).encode(piece)
    assert [t for t in shifts if "shift" in t] == ["shift:2.5", "shift:2.5"]
    assert encoding.transpose("pitch:60", 3) == "pitch:63"
    assert encoding.transpose("pitch:126", 3) == "pitch:117"
    assert encoding.transpose("bar:2", 3) == "bar:2"
    assert encoding_from_dict(encoding.to_dict()) == encoding


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ("bar:1 at:0 pitch:60 <eos>", "pitches without a duration"),
        ("bar:1 at:0 for:1 <eos>", "durations without a pitch"),
        ("bar:1 at:0 pitch:60 for:1", "no end"),
        ("bar:1 at:0 pitch:60 for:1 <eos> bar:2", "tokens after the end"),
        ("<bos> <bos> <eos>", "beginnings in the middle"),
        ("bar:3 at:0 pitch:60 for:1 <eos>", "bars with another number"),
        ("metre:3/4 bar:1 at:3 pitch:60 for:1 <eos>", "places beyond the bar"),
        ("bar:1 at:2 at:1 pitch:60 for:1 <eos>", "places that go back"),
        ("at:1 pitch:60 for:1 <eos>", "places before the first bar"),
        ("pitch:60 for:1 bar:1 <eos>", "notes before the first bar"),
        ("bar:1 at:0 more <eos>", "`more` without a time"),
        ("metre:3/4 metre:4/4 bar:1 <eos>", "metres without a bar"),
        ("bar:1 more pitch:60 for:1 <eos>", "`more` without a time"),
        ("bar:1 at:0 pitch:60 for:0.51 <eos>", "unreadable tokens"),
        ("bar:1 at:0 pitch:128 for:1 <eos>", "unreadable tokens"),
    ],
)
def test_what_is_malformed_is_mended_and_counted(tokens, reason):
    piece = EventEncoding().decode(tokens.split())
    assert piece.repaired[reason] == 1
    assert reason in piece.account


def test_pieces_off_the_grid_are_refused_with_the_way_out():
    piece = Piece.from_quarters([(0.01, 1, 60)])
    for encoding in (EventEncoding(), RhythmEncoding()):
        with pytest.raises(ValueError, match=r"1 notes, the first at quarter 0\.01.*quantise"):
            encoding.encode(piece)
    many = Piece(np.array([(0, 1, 60, 80, 0, 64)], NOTE_DTYPE), 12)
    with pytest.raises(ValueError, match="has a track 65; there are tokens for 64"):
        EventEncoding(tracks=True).encode(many)


def test_a_metre_without_a_token_is_written_as_four_quarters():
    piece = Piece.from_quarters([(5, 1, 60)], time_signatures=((0, 5, 32),))
    assert (5, 32) not in METRES
    assert "metre:4/4" in EventEncoding().encode(piece)


def test_rhythm_writes_chords_with_durations_and_rests():
    encoding = RhythmEncoding()
    piece = Piece.from_quarters([(1, 0.5, 64), (1, 0.5, 67), (2, 3, 60), (3, 1 / 3, 62)])
    tokens = encoding.encode(piece)
    assert tokens == [BOS, "rest:1", "E4.G4:0.5", "rest:0.5", "C4:1", "D4:1/3", EOS]
    back = encoding.decode(tokens)
    assert content(back) == content(Piece.from_quarters(
        [(1, 0.5, 64), (1, 0.5, 67), (2, 1, 60), (3, 1 / 3, 62)]))  # fmt: skip
    assert encoding.encode(back) == tokens
    assert encoding.transpose("E4.G4:0.5", 1) == "F4.G#4:0.5"
    assert encoding.transpose("rest:1", 1) == "rest:1"
    assert encoding.hides("E4.G4:0.5") == (2, 2) and encoding.hides("rest:1") == (0, 1)
    mended = encoding.decode(["<unk>", "C4:1", BOS, EOS, "C4:1"]).repaired
    reasons = ("unreadable tokens", "beginnings in the middle", "tokens after the end")
    assert mended == dict.fromkeys(reasons, 1)
    features = encoding.features(["<unk>", "C4:1", "E4.G4:0.5", "rest:1"])
    assert features.sum(axis=1).tolist() == [0, 2, 3, 1]


def test_a_vocabulary_can_leave_out_what_is_rare():
    tokens = [["a", "b", "a"], ["c", "b"]]
    assert Vocabulary.build(tokens, at_least=2).tokens == ["<unk>", "a", "b"]


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
    assert encoding.decode(["bar:1", "major:C", "bar:2", "major:G", EOS]).repaired == {
        "other keys than the first": 1
    }


@pytest.mark.parametrize("resolution", [1, 12, 64, 96, 384, 480, 960, 1024])
def test_every_time_of_every_resolution_can_be_written_and_read(resolution):
    encoding = EventEncoding(resolution=resolution)
    for ticks in range(1, 4 * resolution + 1):
        (token,) = encoding._time("for", ticks)
        assert encoding.value(token) == ("for", ticks)
        assert RhythmEncoding(resolution).pitches(f"C4:{token[4:]}") == ([60], ticks)


def test_loudness_belongs_to_the_note_just_written():
    encoding = EventEncoding(velocity_bins=32)
    good = encoding.decode(["bar:1", "at:0", "pitch:60", "for:1", "loud:31", "<eos>"])
    assert good.notes["velocity"][0] > 120 and not good.repaired
    for wrong in ("bar:1 loud:31", "bar:1 at:0 pitch:60 for:1 loud:3 loud:31"):
        assert encoding.decode(f"{wrong} <eos>".split()).repaired == {"loudness without a note": 1}


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
    assert wild.repaired == {"pitches out of range": 1}
    twice = encoding.decode(["bar:1", "home:2", "home:3", "at:0", "pitch:60", "for:1", EOS])
    assert twice.repaired == {"other homes than the first": 1}
    assert twice.notes["pitch"].tolist() == [62]
    with pytest.raises(ValueError, match="home needs metre=True"):
        EventEncoding(home=True, metre=False).encode(pieces[0])


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
    for text, mended in (
        ("bar:3 bar:1 <eos>", {"bars with another number": 1}),
        ("bar:2 bar:1 bar:5 bar:4 bar:3 bar:2 bar:1 <eos>", {"bars with another number": 1}),
        ("bar:3 bar:2 <eos>", {"bars announced and not written": 1}),
    ):
        assert encoding.decode(text.split()).repaired == mended
    with pytest.raises(ValueError, match="countdown needs metre=True"):
        EventEncoding(countdown=True, metre=False).encode(piece)


def test_the_last_chord_is_announced_as_it_comes_near():
    encoding = EventEncoding(approach=2)
    piece = Piece.from_quarters([(0, 4, 60), (5, 1, 62), (5.5, 1, 64), (7, 1, 65), (7, 1, 60)])
    tokens = encoding.encode(piece)
    places = [i for i, token in enumerate(tokens) if token.startswith("at:")]
    left = [tokens[i + 1] for i in places]
    assert left == ["pitch:60", "left:2", "left:2", "left:0"]
    assert not encoding.decode(tokens).repaired
    for text, mended in (
        ("bar:1 at:0 left:2 at:2 left:0", {}),
        ("bar:1 at:0 left:1 at:1 left:2 at:3 left:0", {"announced ends that move": 1}),
        ("bar:1 at:0 left:2", {"ends elsewhere than announced": 1}),
        ("bar:1 at:0 left:0 at:1", {"ends elsewhere than announced": 1}),
        ("bar:1 at:0 left:1 at:0.5 left:1 at:1 left:0", {}),
        ("bar:1 at:0 left:1 at:3 left:1", {"announced ends that move": 1,
                                           "ends elsewhere than announced": 1}),
    ):  # fmt: skip
        spelled = [
            part for token in text.split()
            for part in ([token, "pitch:60", "for:1"] if token.startswith("left:") else [token])
        ]  # fmt: skip
        if "left:0 at:1" in text:
            spelled += ["pitch:60", "for:1"]
        assert encoding.decode([*spelled, "<eos>"]).repaired == mended, text
    begun = opening(tokens, 9)
    assert not any(t.startswith("left:") for t in begun) and "<eos>" not in begun
    with pytest.raises(ValueError, match="approach needs metre=True"):
        EventEncoding(approach=2, metre=False).encode(piece)
    with pytest.raises(ValueError, match="approach from 0"):
        EventEncoding(approach=-1)


def test_the_beginning_of_a_longer_piece_is_told_its_length():
    tokens = ["<bos>", "bar:2", "at:0", "bar:1"]
    number_bars(tokens, 12)
    assert tokens == ["<bos>", "bar:12", "at:0", "bar:11"]
    number_bars(tokens, 1)
    assert tokens == ["<bos>", "bar:1", "at:0", "bar:1"]  # longer than it was told to be
