import pytest

from pianolstm.checkpoint import load_pretrained
from pianolstm.encodings import ArticleEncoding, EventEncoding, RhythmEncoding
from pianolstm.vocabulary import NearestKnown, Vocabulary, fill_unknown

VOICED = ArticleEncoding(voicing=True)


def test_nearest_is_by_pitch_classes_then_by_register():
    known = Vocabulary(["C4.E4.G4", "C3.E3.G3", "D4.F4.A4", "C4.E4.G4.B-4", "C4"])
    nearest = NearestKnown(VOICED, known)
    assert nearest("C2.E2.G2") == "C3.E3.G3"  # the same classes, the nearest octave
    assert nearest("G4.C5.E5") == "C4.E4.G4"
    assert nearest("E4.G4.B-4") == "C4.E4.G4.B-4"  # three of four in common
    assert nearest("C7") == "C4"
    assert nearest("F4.A4") == "D4.F4.A4"
    assert nearest("junk") is None


def test_nearest_looks_at_durations_last_and_keeps_rests_apart():
    known = Vocabulary(["C4:1", "C4:4", "C5:2", "rest:1", "rest:4"])
    nearest = NearestKnown(RhythmEncoding(), known)
    assert nearest("C4:3") == "C4:4"
    assert nearest("C4:0.25") == "C4:1"
    assert nearest("rest:3") == "rest:4"
    assert NearestKnown(RhythmEncoding(), Vocabulary(["C4:1"]))("rest:1") is None


def test_every_way_says_what_it_did():
    known = Vocabulary(["C4", "E4"])
    tokens = ["C4", "C5", "E5", "C5", "x"]
    near = fill_unknown(tokens, VOICED, known)
    assert near.tokens == ["C4", "C4", "E4", "C4"]
    assert str(near) == "4 unknown: C5 → C4, E5 → E4, x → left out"
    assert fill_unknown(tokens, VOICED, known, "skip").tokens == ["C4"]
    assert fill_unknown(tokens, VOICED, known, "unk").tokens == ["C4", *["<unk>"] * 4]
    assert str(fill_unknown(["C4"], VOICED, known)) == "nothing was unknown"
    with pytest.raises(ValueError, match="way is 'guess'; choose one of nearest, skip, unk"):
        fill_unknown(tokens, VOICED, known, "guess")


def test_whatever_is_unknown_to_a_shipped_network_has_a_neighbour():
    network = load_pretrained("voicing")
    strange = ["C1.C#1.D1.E-1.E1", "B8", "C2.F#5.C8"]
    filled = fill_unknown(strange, network.encoding, network.vocabulary)
    assert len(filled.tokens) == 3
    assert all(token in network.vocabulary for token in filled.tokens)


def test_events_have_nothing_unknown():
    encoding = EventEncoding()
    vocabulary = Vocabulary(encoding.all_tokens())
    assert not fill_unknown(encoding.all_tokens(), encoding, vocabulary).replaced
