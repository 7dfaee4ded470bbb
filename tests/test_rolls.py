import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pianolstm.encodings import BOS, PianoRollEncoding
from pianolstm.encodings.rolls import FRAME_END, KEYS, LOWEST, SAME
from pianolstm.evaluation import nll
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

ENCODING = PianoRollEncoding()
CHANGES = PianoRollEncoding(changes=True)
both = pytest.mark.parametrize("encoding", [ENCODING, CHANGES])


def test_a_frame_is_written_from_the_top_voice_down():
    piece = Piece.from_quarters([(0, 1, 60), (0.5, 1, 67), (2, 0.5, 48)])
    assert ENCODING.encode(piece) == [*(BOS, "C4", "|", "G4", "C4", "|", "G4", "|", "|", "C3", "|")]


def test_of_changes_only_what_is_new_is_written():
    frames = [[67, 55, 52], [67, 55, 52], [69, 55, 52], [55, 52], [71, 55, 52], [71, 50], [], []]
    roll = np.zeros((len(frames), KEYS), dtype=bool)
    for row, pitches in zip(roll, frames):
        row[np.array(pitches, dtype=int) - LOWEST] = True
    told = "<bos> G4 G3 E3 | = A4 = G3 = B4 G3 = B4 D3 | | |"
    assert CHANGES.write(roll) == told.split()
    # In front of everything nothing can be the same, and below a note there may be nothing left
    assert [len(CHANGES.decode(text.split())) for text in ("=", "C3 =", "C4 | C3 =")] == [0, 1, 2]


@both
@given(arrays(bool, st.tuples(st.integers(0, 9), st.just(KEYS))), st.integers(0, 9), st.integers(1))
def test_every_roll_has_one_text_and_comes_back(encoding, roll, held, seed):
    for place in np.random.default_rng(seed).integers(0, max(1, len(roll)), held):
        roll[place : place + 2, :50] = roll[place : place + 1, :50]  # as under a melody
    tokens = encoding.write(roll)
    back = encoding.decode(tokens)
    sounding = ENCODING.roll(back)
    assert np.array_equal(sounding, roll[: len(sounding)]) and not roll[len(sounding) :].any()
    assert not back.repaired
    grammar = encoding.grammar(encoding.all_tokens())
    place = {token: i for i, token in enumerate(encoding.all_tokens())}
    assert all(grammar[place[a], place[b]] for a, b in itertools.pairwise(tokens))


@given(st.lists(st.sampled_from([FRAME_END, SAME, BOS, "C4", "E4", "A0", "C8", "nonsense"])))
def test_any_tokens_decode_and_what_the_grammar_allows_needs_no_repair(tokens):
    piece = CHANGES.decode(tokens)
    vocabulary = Vocabulary(CHANGES.all_tokens())
    follows, ids = CHANGES.grammar(vocabulary.tokens), vocabulary.encode([BOS, *tokens])
    if all(follows[a, b] for a, b in itertools.pairwise(ids)) and "nonsense" not in tokens:
        assert set(piece.repaired) <= {"frames without an end"}


def test_notes_between_frames_are_counted_and_notes_off_the_keyboard_refused():
    piece = Piece.from_quarters([(0, 1, 60), (0.25, 0.25, 62), (0.25, 0.5, 64)], name="short")
    assert ENCODING.lost(piece) == 1
    assert ENCODING.roll(piece).sum(axis=0).nonzero()[0].tolist() == [60 - LOWEST, 64 - LOWEST]
    low = Piece.from_quarters([(0, 1, 12)], name="deep")
    with pytest.raises(ValueError, match=r"'deep': 1 notes lie outside of the 88 keys.*Transpose"):
        ENCODING.encode(low)
    with pytest.raises(ValueError, match="frames is 0"):
        PianoRollEncoding(0)


def test_what_is_repaired_is_counted():
    piece = ENCODING.decode(["C4", "E4", "loud:3", FRAME_END, BOS, "C4"])
    assert len(piece) == 2
    assert piece.repaired == {
        "notes out of order": 1,
        "unreadable tokens": 2,  # `<bos>` inside of a piece is one
        "frames without an end": 1,
    }


def test_interface():
    assert ENCODING.transpose("C4", 3) == "E-4" and ENCODING.transpose(FRAME_END, 3) == FRAME_END
    assert ENCODING.transpose("C8", 5) == "F7" and ENCODING.transpose("A0", -1) == "G#1"
    assert ENCODING.notes_of("C4") == ([60], 0) and ENCODING.notes_of(FRAME_END) == ([], 0)
    assert ENCODING.hidden_counts("C4") == (1, 0) and ENCODING.hidden_counts(FRAME_END) == (0, 0)
    assert ENCODING.features(["C4", FRAME_END]).sum(axis=1).tolist() == [2, 0]
    assert len(ENCODING.all_tokens()) == 90 and len(CHANGES.all_tokens()) == 91


def test_probabilities_of_all_rolls_of_two_frames_sum_to_one():
    """Nothing is lost to sequences that are no roll: the grammar leaves them no probability."""
    torch.manual_seed(0)
    vocabulary = Vocabulary([BOS, FRAME_END, "C4", "D4", "E4"])
    grammar = ENCODING.grammar(vocabulary.tokens)
    config = NetworkConfig("note", len(vocabulary), (8,), 0.0)
    frames = [np.array(frame) for frame in itertools.product((False, True), repeat=3)]
    pieces = []
    for first, second in itertools.product(frames, repeat=2):
        roll = np.zeros((2, KEYS), dtype=bool)
        for row, frame in zip(roll, (first, second)):
            row[np.array([60, 62, 64]) - LOWEST] = frame
        pieces.append(vocabulary.encode(ENCODING.write(roll)))
    assert len({tuple(ids) for ids in pieces}) == 64
    total = {}
    for name, rules in (("with", grammar), ("without", None)):
        model = build_network(config, grammar=rules)
        total[name] = sum(np.exp(-loss.sum()) for loss in nll(model, pieces).per_piece)
    assert total["with"] == pytest.approx(1, abs=1e-5)
    assert total["without"] < 0.9  # it must be able to fail


def test_step_by_step_obeys_the_grammar_too():
    vocabulary = Vocabulary(ENCODING.all_tokens())
    torch.manual_seed(0)
    config = NetworkConfig("note", len(vocabulary), (8,), 0.0)
    model = build_network(config, grammar=ENCODING.grammar(vocabulary.tokens)).eval()
    ids = torch.from_numpy(vocabulary.encode(["C4"]))
    step, _ = model.step(ids, model.zero_state(1))
    whole, _ = model(ids[None])
    assert torch.allclose(step, whole[:, 0], atol=1e-6)
    allowed = {vocabulary.tokens[i] for i in step[0].isfinite().nonzero()[:, 0].tolist()}
    assert FRAME_END in allowed and "B3" in allowed
    assert not {"C4", "D4", BOS, "<unk>"} & allowed
