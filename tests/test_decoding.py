from hypothesis import given
from hypothesis import strategies as st
from music21 import converter

from pianolstm.decoding import to_stream, voices, write_musicxml
from pianolstm.piece import Piece

note = st.tuples(st.integers(0, 4000), st.integers(1, 2000), st.integers(0, 127))


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
