from collections import defaultdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from music21 import converter
from pianolstm.engines import ENGINES

from pianolstm.decoding import to_stream, voices, write_musicxml
from pianolstm.midi import read_midi, write_midi
from pianolstm.piece import NOTE_DTYPE, Piece


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


@settings(max_examples=80)
@given(
    st.lists(note, min_size=1, max_size=40),
    st.lists(st.integers(0, 127), min_size=3, max_size=3),
    st.sampled_from([1, 12, 96, 480, 10_080, 32_767]),
    st.sampled_from(list(ENGINES)),
)
def test_write_then_read_is_the_identity(tmp_path_factory, rows, programs, tpq, engine):
    present = sorted({row[3] for row in rows})
    notes = [(onset, length, pitch, velocity, programs[track], present.index(track))
             for onset, length, pitch, track, velocity in without_overlaps(rows)]  # fmt: skip
    names = tuple(f"hand {t}" for t in range(len(present)))
    piece = Piece(np.array(notes, dtype=NOTE_DTYPE), tpq, tempi=((0, 75.0), (960, 120.0)),
                  key="D minor", time_signatures=((0, 3, 4),), track_names=names)  # fmt: skip
    path = write_midi(piece, tmp_path_factory.mktemp("midi") / "x.mid")
    read = read_midi(path, engine=engine, audit=True)
    assert read == piece
    assert read.note_ons == len(piece)


def test_every_song_survives_writing(song_pieces, tmp_path):
    for piece in song_pieces[::20]:
        assert read_midi(write_midi(piece, tmp_path / "x.mid")) == piece


@given(st.lists(note, max_size=40))
def test_nothing_overlaps_within_a_voice_and_nothing_is_lost(rows):
    notes = Piece.from_quarters([(r[0] / 480, r[1] / 480, r[2]) for r in rows]).notes
    found = voices(notes)
    for voice in found:
        ends = [int(c["onset"][0] + c["duration"][0]) for c in voice]
        assert all(end <= int(c["onset"][0]) for end, c in zip(ends, voice[1:]))
    assert sum(len(chord) for voice in found for chord in voice) == len(notes)


def test_musicxml_holds_every_note(scale, tmp_path):
    path = write_musicxml(scale, tmp_path / "scale.musicxml")
    read = converter.parse(path, forceSource=True)
    pitches = sorted(p.midi for n in read.stripTies().recurse().notes for p in n.pitches)
    assert pitches == sorted(scale.notes["pitch"].tolist())


def test_score_has_two_staves_and_the_key():
    piece = Piece.from_quarters([(0, 1, 74), (0, 1, 50)], key="D major", name="two_hands")
    score = to_stream(piece)
    assert [len(list(part.recurse().notes)) for part in score.parts] == [1, 1]
    assert score.parts[0].recurse().getElementsByClass("KeySignature").first().sharps == 2
