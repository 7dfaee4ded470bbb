import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pianolstm.dataset import IGNORE, Dataset, prepare, streams, windows
from pianolstm.encodings import ArticleEncoding, EventEncoding, PianoRollEncoding
from pianolstm.piece import Piece
from pianolstm.vocabulary import ALL_KEYS, Vocabulary

OWN = ALL_KEYS.index(0)
VOICED = ArticleEncoding(voicing=True)


def test_windows_are_the_articles():
    inputs, targets = windows(np.arange(7), length=3)
    assert inputs.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert targets.tolist() == [3, 4, 5, 6]
    with pytest.raises(ValueError, match="5 tokens are too few for windows of 10"):
        windows(np.arange(5), length=10)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(1, 16),
)
def test_streams_give_every_target_once_with_its_own_past(lengths, batch, steps):
    starts = np.cumsum([0, *lengths])
    pieces = [np.arange(a, b) for a, b in itertools.pairwise(starts)]  # every token is unique
    seen, last = [], [None] * batch
    for chunk in streams(pieces, batch, steps):
        assert chunk.inputs.shape == chunk.targets.shape
        assert chunk.inputs.shape[0] == batch and chunk.inputs.shape[1] <= steps
        assert (chunk.targets[:, -1] != IGNORE).any()  # no step that is padding in every row
        for b in range(batch):
            real = chunk.targets[b] != IGNORE
            seen += chunk.targets[b][real].tolist()
            assert torch.equal(chunk.inputs[b][real] + 1, chunk.targets[b][real])
            if real.any() and not chunk.fresh[b]:  # goes on where its row stopped
                assert chunk.inputs[b, 0] == last[b]
            elif real.any():  # a new piece begins at its first token
                assert int(chunk.inputs[b, 0]) in starts
            last[b] = chunk.targets[b][real][-1] if real.any() else None
    assert sorted(seen) == sorted(t for piece in pieces for t in piece[1:].tolist())


def test_prepare_numbers_train_and_held_out_alike(song_pieces):
    data = prepare(song_pieces[:60], ArticleEncoding())
    sizes = [len(data.train), len(data.valid), len(data.test)]
    assert sizes == [len(part) for part in data.split]
    assert f"{sum(sizes)} pieces" in repr(data)
    piece = data.split.valid[0]
    assert data.vocabulary.decode(data.valid[0]) == [
        t if t in data.vocabulary else "<unk>" for t in ArticleEncoding().encode(piece)
    ]
    for key, semitones in enumerate(ALL_KEYS):
        moved = ArticleEncoding().encode(data.split.train[0].transpose(semitones))
        assert data.vocabulary.decode(data.train[0][key]) == moved
    assert np.array_equal(data.train_own_key[0], data.train[0][OWN])
    assert len(data.train_all_keys) == 12 * len(data.train)


def test_ids_come_in_all_keys_from_a_table():
    vocabulary = Vocabulary.for_training(VOICED, {"C4": 1, "E4.G4": 1})
    ids = vocabulary.encode(["C4", "E4.G4", "C4"])
    data = Dataset.from_ids(VOICED, vocabulary, [ids, ids[:1]], [ids[1:]])
    assert vocabulary.decode(data.train[0][0]) == ["F#3", "B-3.C#4", "F#3"]
    assert [len(part) for part in (data.train, data.valid, data.test)] == [2, 1, 0]
    empty = Dataset.from_ids(VOICED, vocabulary, [], [])
    assert not empty.train and not empty.valid


def test_a_token_unknown_in_its_own_key_may_be_known_in_another(song_pieces):
    vocabulary = Vocabulary(["E4"])  # four semitones above C4
    data = prepare(song_pieces[:60], VOICED, vocabulary)
    found = [key for key in range(12) if data.train[0][key].any()]
    own = set(VOICED.encode(data.split.train[0]))
    assert found == [k for k, s in enumerate(ALL_KEYS) if VOICED.transpose("E4", -s) in own]
    assert len(found) > 1


@pytest.mark.parametrize("encoding", [PianoRollEncoding(), EventEncoding(), VOICED])
def test_a_piece_stays_in_its_key_where_another_would_leave_the_range(encoding):
    """A frame of a piano roll goes down; a note that moved by an octave could be in the way."""
    pitches = [107, 100, 60] if isinstance(encoding, PianoRollEncoding) else [126, 119, 60]
    tokens = encoding.encode(Piece.from_quarters([(0, 1, p) for p in pitches]))
    vocabulary = Vocabulary.for_training(encoding, dict.fromkeys(tokens, 1))
    data = Dataset.from_ids(encoding, vocabulary, [vocabulary.encode(tokens)], [])
    versions = [vocabulary.decode(ids) for ids in data.train[0]]
    assert [v == tokens for v in versions] == [s == 0 or s > 1 for s in ALL_KEYS]
    grammar = encoding.grammar(vocabulary.tokens)
    for ids in data.train[0] if grammar is not None else []:
        assert grammar[ids[:-1], ids[1:]].all()
