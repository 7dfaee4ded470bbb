import numpy as np
import pytest

from pianolstm.vocabulary import UNK, UnknownTokenError, Vocabulary


def test_unknown_comes_first_then_sorted():
    vocabulary = Vocabulary.build([["E5", "4.9"], ["C4", "E5"]])
    assert vocabulary.tokens == [UNK, "4.9", "C4", "E5"]
    assert "C4" in vocabulary and "C5" not in vocabulary


def test_encode_and_decode_are_inverse():
    vocabulary = Vocabulary(["a", "b", "c"])
    ids = vocabulary.encode(["c", "a", "b"])
    assert ids.dtype == np.int64
    assert vocabulary.decode(ids) == ["c", "a", "b"]


def test_unknown_tokens_become_unk_or_raise():
    vocabulary = Vocabulary(["C4", "C5", "0.4.7"])
    assert vocabulary.encode(["C4", "C9"]).tolist() == [2, 0]
    message = r"token 2 of 2, 'C9', is not among the 4.*Near it: C.*strict=False"
    with pytest.raises(UnknownTokenError, match=message) as error:
        vocabulary.encode(["C4", "C9"], strict=True)
    assert not str(error.value).startswith("'")
