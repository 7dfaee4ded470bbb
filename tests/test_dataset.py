import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pianolstm.dataset import IGNORE, prepare, streams, windows
from pianolstm.encodings import ArticleEncoding
from pianolstm.piece import Piece
from pianolstm.split import is_chorale, soprano_line, split_pieces


def test_split_is_about_80_10_10_and_chorales_only(song_pieces):
    split = split_pieces(song_pieces)
    sizes = [len(part) for part in split]
    assert sum(sizes) == sum(map(is_chorale, song_pieces)) == 365
    assert 0.75 < sizes[0] / sum(sizes) < 0.85
    assert all(is_chorale(piece) for part in split for piece in part)
    assert len(split_pieces(song_pieces, chorales_only=False).train) > sizes[0]


def test_split_does_not_depend_on_order(song_pieces):
    names = [[p.name for p in part] for part in split_pieces(song_pieces)]
    assert names == [[p.name for p in part] for part in split_pieces(song_pieces[::-1])]


def test_settings_of_one_tune_stay_together(song_pieces):
    split = split_pieces(song_pieces)
    lines = [{soprano_line(p) for p in part} for part in split]
    assert not (lines[0] & lines[1] or lines[0] & lines[2] or lines[1] & lines[2])


def test_soprano_line_ignores_transposition_and_the_lower_voices():
    tune = [(0, 1, 72), (1, 1, 74), (2, 2, 76)]
    one = Piece.from_quarters([*tune, (2, 1, 60), (3, 1, 62)])
    other = Piece.from_quarters([*tune, (0, 4, 55)]).transpose(3)
    assert soprano_line(one) == soprano_line(other) == ((480, 2), (480, 2))


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
    assert len(data.train[0]) == 12
    piece = data.split.valid[0]
    assert data.vocabulary.decode(data.valid[0]) == [
        t if t in data.vocabulary else "<unk>" for t in ArticleEncoding().encode(piece)
    ]
    own = ArticleEncoding().encode(data.split.train[0])
    assert data.vocabulary.decode(data.train_own_key[0]) == own


def test_prepare_refuses_too_few_pieces(song_pieces):
    with pytest.raises(ValueError, match=r"1 pieces give a split of .*each part needs a piece"):
        prepare(song_pieces[:1], ArticleEncoding())
