import hashlib
import itertools

import pytest

from pianolstm.piece import Piece
from pianolstm.split import PARTS, is_chorale, soprano_line, split_groups, split_pieces


def by_hash(name):
    """The part of a group by its name alone: 0 train, 1 valid, 2 test."""
    digest = hashlib.sha256(name.encode()).digest()
    return max(0, int.from_bytes(digest[:8]) % 10 - 7)


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


def test_soprano_line_ignores_transposition_and_the_lower_voices():
    tune = [(0, 1, 72), (1, 1, 74), (2, 2, 76)]
    one = Piece.from_quarters([*tune, (2, 1, 60), (3, 1, 62)])
    other = Piece.from_quarters([*tune, (0, 4, 55)]).transpose(3)
    assert soprano_line(one) == soprano_line(other) == ((480, 2), (480, 2))


def test_every_group_of_our_songs_is_where_its_name_says(song_pieces):
    groups = {}
    for piece in sorted(filter(is_chorale, song_pieces), key=lambda piece: piece.name):
        groups.setdefault(soprano_line(piece), []).append(piece.name)
    split = split_pieces(song_pieces)
    found = {piece.name: part for part, pieces in enumerate(split) for piece in pieces}
    expected = {name: by_hash(names[0]) for names in groups.values() for name in names}
    assert found == expected and len(groups) > 300
    assert any(len(names) > 1 for names in groups.values())


def tunes(names):
    """A piece for each name, each with another tune."""
    return [
        Piece.from_quarters([(0, 1, 60), (1, 1, 61 + i), (2, 1, 60)], name=name)
        for i, name in enumerate(names)
    ]


def named(wanted, number):
    """Names whose hashes all say one of `wanted` parts."""
    names = (f"piece {i}" for i in itertools.count())
    return list(itertools.islice((n for n in names if by_hash(n) in wanted), number))


@pytest.mark.parametrize("number", [3, 5, 13])
@pytest.mark.parametrize("wanted", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}])
def test_a_part_that_would_be_empty_gets_a_group_of_the_largest(number, wanted):
    names = named(wanted, number)
    parts = split_groups(names)
    assert set(parts) == {0, 1, 2}
    moved = [by_hash(name) != part for name, part in zip(names, parts)]
    missing = {0, 1, 2} - {by_hash(name) for name in names}
    assert sum(moved) == len(missing)  # not more than must be
    shuffled = names[::-1]
    again = dict(zip(shuffled, split_groups(shuffled)))
    assert [again[name] for name in names] == parts  # whatever the order
    split = split_pieces(tunes(names), chorales_only=False)
    for part, pieces in enumerate(split):
        assert {piece.name for piece in pieces} == {n for n, p in zip(names, parts) if p == part}


def test_fewer_than_three_groups_are_refused_with_the_advice():
    with pytest.raises(ValueError, match=r"2 different pieces .*one each\. Use more pieces"):
        split_groups(["a", "b"])
    settings = tunes(["a", "b"]) + tunes(["c", "d"])  # of two tunes
    with pytest.raises(ValueError, match=r"4 pieces: 2 different pieces.*Use more pieces$"):
        split_pieces(settings, chorales_only=False)
    with pytest.raises(ValueError, match="Use more pieces, or chorales_only=False"):
        split_pieces(tunes("abcde"))
    assert len(PARTS) == 3
