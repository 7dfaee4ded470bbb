import pytest

from pianolstm.encodings import ArticleEncoding, EventEncoding, RhythmEncoding
from pianolstm.vocabulary import (
    ALL_KEYS,
    UNK,
    NearestKnown,
    Vocabulary,
    fill_unknown,
)

VOICED = ArticleEncoding(voicing=True)


def test_unknown_comes_first_then_sorted():
    vocabulary = Vocabulary(["E5", "4.9", UNK, "C4", "E5"])
    assert vocabulary.tokens == [UNK, "4.9", "C4", "E5"]
    assert "C4" in vocabulary and "C5" not in vocabulary
    assert vocabulary == Vocabulary(["C4", "E5", "4.9"]) != Vocabulary(["C4"])


def test_training_gives_the_tokens_of_all_keys():
    counts = {"C4": 1, "D4": 2, "rest:1": 3}
    assert len(ALL_KEYS) == 12 and 0 in ALL_KEYS
    notes = Vocabulary.for_training(VOICED, {"C4": 1}).tokens
    assert notes == [UNK, *sorted(VOICED.transpose("C4", s) for s in ALL_KEYS)]
    # a note is as frequent as all that become it in some key: those of C4 go up to F4, of D4 to G4
    both = Vocabulary.for_training(VOICED, counts, at_least=3)
    assert "F4" in both and "G-3" not in both and "G4" not in both
    assert "rest:1" in Vocabulary.for_training(RhythmEncoding(), counts, at_least=36)


def test_an_encoding_of_so_many_tokens_has_all_of_them():
    encoding = EventEncoding()
    vocabulary = Vocabulary.for_training(encoding, {"pitch:60": 1}, at_least=99)
    assert set(vocabulary.tokens) == {UNK, *encoding.all_tokens()}
    assert not fill_unknown(encoding.all_tokens(), encoding, vocabulary).replaced


def test_unknown_tokens_become_unk_or_raise():
    vocabulary = Vocabulary(["C4", "C5", "0.4.7"])
    assert vocabulary.encode(["C4", "C9"]).tolist() == [2, 0]
    message = r"token 2 of 2, 'C9', is not among the 4.*Near it: C.*strict=False"
    with pytest.raises(ValueError, match=message):
        vocabulary.encode(["C4", "C9"], strict=True)


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
