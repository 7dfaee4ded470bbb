import base64
from itertools import pairwise

import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st
from music21 import converter

from pianolstm.display import score, to_stream, write_musicxml
from pianolstm.display.notation import voices
from pianolstm.display.score import engrave, misplaced_notes, to_musicxml
from pianolstm.grid import quantise
from pianolstm.midi import read_midi
from pianolstm.piece import Piece

note = st.tuples(st.integers(0, 4000), st.integers(1, 2000), st.integers(0, 127))


def engraved(piece):
    """verovio's own MIDI of the engraving."""
    return symusic.Score.from_midi(base64.b64decode(engrave(piece).renderToMIDI()))


def test_the_engraving_holds_every_onset_and_pitch_of_20_songs(song_pieces):
    for song in song_pieces[::19]:
        piece = song.bars(1, 6)
        midi = engraved(piece)
        found = [(n.start, n.pitch) for track in midi.tracks for n in track.notes]
        ticks = np.round(piece.onsets * midi.ticks_per_quarter).astype(int)
        assert sorted(found) == sorted(zip(ticks.tolist(), piece.notes["pitch"].tolist()))
        assert midi.tempos[0].qpm == pytest.approx(piece.tempi[0][1], rel=0.01)


@pytest.mark.parametrize("name", ["mozart_k80_mvt3", "bach_bwv269", "haydn_op1no1_mvt2"])
def test_four_parts_get_four_staves_with_their_names_and_every_note(songs_folder, name):
    piece = quantise(read_midi(songs_folder / "ensemble" / f"{name}.mid")).piece.bars(1, 8)
    assert misplaced_notes(piece, engrave(piece)) == 0
    xml = to_musicxml(piece)
    assert xml.count("<score-part ") == 4
    assert all(f"<part-name>{part}</part-name>" in xml for part in piece.track_names)
    assert score(piece).png.startswith(b"\x89PNG")


@given(st.lists(note, max_size=40))
def test_nothing_overlaps_within_a_voice_and_nothing_is_lost(rows):
    notes = Piece.from_quarters([(on / 480, length / 480, p) for on, length, p in rows]).notes
    found = set()
    for voice in voices(notes):
        assert all(chord.end <= after.onset for chord, after in pairwise(voice))
        found |= {(chord.onset, chord.end, pitch) for chord in voice for pitch in chord.pitches}
    assert found == {(on, on + length, pitch) for on, length, pitch, *_ in notes.tolist()}


def test_the_top_voice_holds_the_tune():
    tune = [(i, 1, 72 + i) for i in range(4)]
    top, second = voices(Piece.from_quarters([(0, 2, 60), (2, 2, 62), *tune]).notes)
    assert [chord.pitches for chord in top] == [[72], [73], [74], [75]]
    assert [chord.pitches for chord in second] == [[60], [62]]


def test_musicxml_holds_every_note(scale, tmp_path):
    path = write_musicxml(scale, tmp_path / "scale.musicxml")
    read = converter.parse(path, forceSource=True)
    pitches = sorted(p.midi for n in read.stripTies().recurse().notes for p in n.pitches)
    assert pitches == sorted(scale.notes["pitch"].tolist())


def test_two_hands_get_two_staves_and_the_key():
    piece = Piece.from_quarters([(0, 1, 74), (0, 1, 50)], key="D major", name="two_hands")
    stream = to_stream(piece)
    assert [len(list(part.recurse().notes)) for part in stream.parts] == [1, 1]
    assert stream.parts[0].recurse().getElementsByClass("KeySignature").first().sharps == 2


def test_an_accidental_is_written_once_for_tied_notes():
    xml = to_musicxml(Piece.from_quarters([(0.5, 7 / 6, 61)]))
    assert xml.count("<accidental>") == 1
    assert xml.count('<tie type="start"') == xml.count('<tie type="stop"') == 1


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("triplets", [(i / 3, 1 / 3, 60 + i) for i in range(12)]),
        ("tied", [(0, 7 / 4, 72), (1.75, 0.25, 74)]),
        ("low", [(0, 1, 0), (1, 1, 11)]),
    ],
)
def test_the_text_of_a_score(name, rows):
    assert repr(score(Piece.from_quarters(rows, name=name))) == (
        f"Score of {name}: 1 bars, {len(rows)} notes"
    )


def test_the_text_says_what_is_not_engraved_where_it_sounds():
    run = Piece.from_quarters([(i * 2 / 13, 2 / 13, 60 + i) for i in range(13)], name="thirteen")
    assert repr(score(run)).endswith("13 notes, 12 of them NOT where they sound")


def test_a_piece_without_notes():
    with pytest.raises(ValueError, match="'silence' holds no notes to engrave"):
        score(Piece.from_quarters([], name="silence"))
