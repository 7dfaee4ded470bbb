import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gaussian_kde

from pianolstm.descriptors import (
    DESCRIPTORS,
    LENGTHS,
    duration_histogram,
    groove_consistency,
    interval_histogram,
    note_density,
    overlapping_area,
    pitch_class_entropy,
    pitch_range,
    polyphony,
    scale_consistency,
    top_intervals,
)
from pianolstm.piece import Piece


def tune(*pitches, length=1):
    return Piece.from_quarters([(i * length, length, p) for i, p in enumerate(pitches)])


def test_pitch_class_entropy_by_hand():
    assert pitch_class_entropy(tune(60, 72, 48)) == 0
    assert pitch_class_entropy(tune(60, 62, 72, 74)) == pytest.approx(1)
    assert pitch_class_entropy(tune(60, 60, 60, 64)) == pytest.approx(0.811278, abs=1e-6)
    assert pitch_class_entropy(tune(*range(60, 72))) == pytest.approx(np.log2(12))


def test_scale_consistency_by_hand():
    assert scale_consistency(tune(62, 64, 66, 67, 69, 71, 73, 74)) == 1  # D major
    assert scale_consistency(tune(60, 61, 62, 63)) == 0.75
    assert scale_consistency(tune(*range(60, 72))) == pytest.approx(7 / 12)


def test_groove_consistency_by_hand():
    same = [(t, 1, 60) for t in (0, 2, 4, 6)]
    assert groove_consistency(Piece.from_quarters(same)) == 1
    more = [*same, (5, 1, 62), (5.25, 0.5, 64)]  # two of 16 places differ
    assert groove_consistency(Piece.from_quarters(more)) == pytest.approx(14 / 16)
    waltz = Piece.from_quarters([(0, 1, 60), (3, 1, 60), (4, 1, 60)], time_signatures=((0, 3, 4),))
    assert groove_consistency(waltz) == pytest.approx(15 / 16)
    aba = Piece.from_quarters([(t, 1, 60) for t in (0, 4, 5, 8)])  # neighbours: 1 of 16, twice
    assert groove_consistency(aba) == pytest.approx(15 / 16)  # of all pairs one is equal: 23 / 24
    assert np.isnan(groove_consistency(tune(60)))


def test_polyphony_counts_what_sounds_while_anything_does():
    # one note for a quarter, two for a quarter, silence for two, the same pitch twice for one
    piece = Piece.from_quarters([(0, 2, 60), (1, 1, 64), (4, 1, 67, 0), (4, 1, 67, 1)])
    assert polyphony(piece) == pytest.approx((1 + 2 + 1) / 3)


def test_density_and_range():
    piece = Piece.from_quarters([(0, 1, 60), (0, 2, 48), (1, 1, 67)])
    assert note_density(piece) == 1.5
    assert pitch_range(piece) == 19


def test_histograms_by_hand():
    piece = Piece.from_quarters([(0, 1, 60), (0, 1, 48), (1, 0.5, 62), (2, 0.5, 59), (3, 3, 79)])
    assert top_intervals(piece).tolist() == [2, -3, 20]
    intervals = interval_histogram(piece)
    assert intervals[[2, 3, 13]] == pytest.approx([1 / 3] * 3) and intervals.sum() == pytest.approx(
        1
    )
    lengths = dict(zip(LENGTHS, duration_histogram(piece)))
    assert {k: v for k, v in lengths.items() if v} == {1: 0.4, 0.5: 0.4, 3: 0.2}


def test_nothing_has_no_statistics():
    empty = Piece.from_quarters([])
    for descriptor in DESCRIPTORS.values():
        assert np.isnan(descriptor(empty))
    assert np.isnan(interval_histogram(empty)).all() and np.isnan(duration_histogram(empty)).all()


def test_overlapping_area_knows_same_from_different():
    rng = np.random.default_rng(0)
    low, also_low, high = (
        [tune(*rng.integers(60, 60 + width, size=20)) for _ in range(40)] for width in (12, 12, 40)
    )
    alike = overlapping_area(also_low, low, pitch_range)
    assert alike > 0.8
    assert overlapping_area(high, low, pitch_range) < 0.2
    assert overlapping_area(also_low, low, interval_histogram) > 0.8
    narrow = overlapping_area([low[0]] * 40, low, pitch_range)  # the right place, no variety
    assert narrow < alike


def test_overlapping_area_by_hand():
    """Ranges 2, 4 and 7 against 2 and 4, integrated by another method."""
    reference, ours = ([tune(60, 60 + r) for r in ranges] for ranges in ((2, 4, 7), (2, 4)))
    intra, inter = gaussian_kde([2, 5, 3]), gaussian_kde([0, 2, 5, 2, 0, 3])
    expected, _ = quad(lambda x: min(intra(x)[0], inter(x)[0]), -30, 40, limit=400)
    assert overlapping_area(ours, reference, pitch_range) == pytest.approx(expected, abs=1e-3)


def test_overlapping_area_of_sets_without_variety():
    one = [tune(60, 62)] * 3
    assert overlapping_area(one, one, pitch_range) == 1
    assert overlapping_area([tune(60, 64)] * 3, one, pitch_range) == 0
    assert np.isnan(overlapping_area(one, one[:2], pitch_range))
    assert np.isnan(overlapping_area([tune(60)], one, interval_histogram))
