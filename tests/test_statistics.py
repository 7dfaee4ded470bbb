from dataclasses import replace

import numpy as np
import pytest

from pianolstm.evaluation.statistics import (
    agreement,
    bars,
    bootstrap,
    crossings,
    ends_on_tonic_triad,
    ends_with_cadence,
    key_of,
    off_beat_share,
    parallels,
    part_lines,
    ratio,
    silences,
    written_key,
)
from pianolstm.piece import Piece

SCALE = [(i, 1, p) for i, p in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]
CADENCE = [(8, 1, p) for p in (55, 59, 62, 65)] + [(9, 2, p) for p in (48, 60, 64, 67)]


def parts(*lines):
    """A piece in which part i holds lines[i][k] at quarter k; None is silence."""
    rows = [(k, 1, p, i) for i, line in enumerate(lines) for k, p in enumerate(line) if p]
    return Piece.from_quarters(rows, track_names=tuple(f"part {i}" for i in range(len(lines))))


def tune(*pitches, length=1):
    return Piece.from_quarters([(i * length, length, p) for i, p in enumerate(pitches)])


def test_a_new_statistic_is_a_function():
    def highest(piece):
        return float(piece.notes["pitch"].max(initial=0)) or np.nan

    pieces = [tune(60, 72), tune(64, 74), Piece.from_quarters([])]
    found = bootstrap([highest(piece) for piece in pieces])
    assert (found.value, found.low, found.high) == (73, 72, 74)


def test_bootstrap_agrees_with_the_normal_interval_and_leaves_nan_out():
    values = np.random.default_rng(1).normal(5, 2, size=400)
    found = bootstrap([*values, np.nan])
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.05)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05)
    assert str(bootstrap([1, 1])) == "1.00 (1.00 to 1.00)"
    assert bootstrap([(1, 100), (3, 300)], ratio).value == 0.01
    assert np.isnan(bootstrap([(0, 0), (0, 0)], ratio).value)
    with pytest.raises(ValueError, match="1 pieces, none of which has this"):
        bootstrap([np.nan])
    with pytest.raises(ValueError, match="0 pieces, none of which"):
        bootstrap([])


def test_times():
    piece = Piece.from_quarters([(0, 1, 60), (0, 3, 64), (4, 0.5, 62), (5.5, 1, 60)])
    assert silences(piece).tolist() == [1, 1]
    assert off_beat_share(piece) == 0.25
    assert bars(piece) == 2
    empty = Piece.from_quarters([])
    assert not len(silences(empty)) and np.isnan(off_beat_share(empty))


def test_keys_in_every_transposition():
    piece = Piece.from_quarters(SCALE + CADENCE)
    for semitones in range(12):
        assert key_of(piece.transpose(semitones)) == (semitones, "major")
    minor = Piece.from_quarters([(i, 1, p) for i, p in enumerate((57, 59, 60, 62, 64, 56, 57, 57))])
    assert key_of(minor) == (9, "minor")
    assert key_of(Piece.from_quarters([])) == (-1, "none")


def test_endings():
    rows = SCALE + CADENCE
    good = Piece.from_quarters(rows)
    assert ends_on_tonic_triad(good) == ends_with_cadence(good) == 1
    plagal = [(8, 1, 65), (8, 1, 69), (8, 1, 60), *CADENCE[4:]]
    assert ends_on_tonic_triad(Piece.from_quarters(SCALE + plagal)) == 1
    assert ends_with_cadence(Piece.from_quarters(SCALE + plagal)) == 0
    open_end = Piece.from_quarters(rows + [(11, 0.25, p) for p in (55, 59, 62)])
    assert ends_on_tonic_triad(open_end) == ends_with_cadence(open_end) == 0
    assert np.isnan(ends_on_tonic_triad(Piece.from_quarters([])))
    as_written = replace(good, key="G major")
    assert written_key(as_written) == (7, "major") and written_key(good) == (-1, "none")
    assert ends_on_tonic_triad(as_written, written_key) == 0
    assert ends_with_cadence(replace(good, key="C major"), written_key) == 1
    assert np.isnan(ends_with_cadence(good, written_key))
    assert np.isnan(ends_with_cadence(Piece.from_quarters([])))


def test_lines_hold_what_sounds():
    piece = Piece.from_quarters([(0, 2, 72, 0), (0, 1, 60, 1), (1, 1, 62, 1), (3, 1, 64, 1),
                                 (3, 1, 55, 1)], track_names=("a", "b"))  # fmt: skip
    assert part_lines(piece).tolist() == [[72, 60], [72, 62], [-1, 64]]


def test_agreement_by_hand():
    piece = parts((72, 72, 72), (60, 62, None), (55, None, None))
    # octave, fifth + octave, fourth; minor seventh (72 and 62); nothing
    assert agreement(part_lines(piece)) == 3 / 4
    assert np.isnan(agreement(part_lines(parts((60, 62)))))


def test_crossings_by_hand():
    assert crossings(part_lines(parts((67, 60, None), (60, 62, 62)))) == (1, 2)


def test_parallels_by_hand():
    fifths = parts((67, 69, 69, 67), (60, 62, 62, 67))
    assert parallels(part_lines(fifths)) == (1, 2)  # the last is contrary motion
    octaves = parts((72, 74, 72), (60, 62, 55))  # then an octave becomes a twelfth-less fifth
    assert parallels(part_lines(octaves)) == (1, 2)
    assert parallels(part_lines(parts((67, 67), (60, 60)))) == (0, 0)  # nothing moves
    contrary = parts((67, 72), (60, 53))  # fifth to fifth, but apart
    assert parallels(part_lines(contrary)) == (0, 1)


def test_what_is_a_cadence_and_what_is_not():
    six_four = [*SCALE, (8, 1, 55), (8, 1, 59), (9, 2, 55), (9, 2, 60), (9, 2, 64)]
    assert ends_with_cadence(Piece.from_quarters(six_four)) == 0
    anticipated = [(8, 1, p) for p in (43, 59, 65)] + [(8.5, 0.5, 72), *CADENCE[4:]]
    assert ends_with_cadence(Piece.from_quarters(SCALE + anticipated)) == 1
    moving = [*CADENCE[:4], (9, 2, 48), (9, 1, 65), (10, 1, 64), (9, 2, 67)]
    assert ends_with_cadence(Piece.from_quarters(SCALE + moving)) == 1
    cluster = Piece.from_quarters([(0, 1, 60 + i) for i in range(12)])
    assert key_of(cluster) == (-1, "none")
