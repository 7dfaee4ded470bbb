from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import pytest

from pianolstm.display import TRACK_COLOURS, described, piano_roll, roll
from pianolstm.piece import Piece

matplotlib.use("Agg")


def test_a_roll_has_a_box_for_every_note(scale):
    ax = piano_roll(scale)
    assert sum(len(track.get_paths()) for track in ax.collections) == len(scale)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
    assert "C4" in [label.get_text() for label in ax.get_yticklabels()]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["Right", "Left"]
    left_hand = ax.collections[1].get_paths()
    assert [path.get_extents().bounds for path in left_hand] == [
        pytest.approx((0, 47.55, 4, 0.9)),
        pytest.approx((4, 42.55, 4, 0.9)),
    ]


def test_a_picture_has_words_for_readers_who_do_not_see_it(scale, tmp_path):
    picture = roll(scale)
    words = "Piano roll of scale: 10 notes on 2 tracks, 2 bars, 5 s, pitches from G2 to C5"
    assert repr(picture) == picture.text == words
    data, metadata = picture._repr_png_()
    assert data.startswith("iVBORw0KGgo") and metadata == {"alt": words}
    assert picture.save(tmp_path / "roll.png").read_bytes() == picture.png


def test_described_figures_are_closed(scale):
    figure = piano_roll(scale).figure
    picture = described(figure, "a scale, rising")
    assert repr(picture) == "a scale, rising"
    assert picture.png.startswith(b"\x89PNG")
    assert figure.number not in plt.get_fignums()


@pytest.mark.filterwarnings("ignore:Glyph")  # where no font has Japanese
@pytest.mark.parametrize("name", [r"$\frac$", "_left", "$^$", "\x07bell", "__", "ピアノ"])
def test_odd_names_are_drawn_as_they_are(scale, name):
    piece = replace(scale, name=name, track_names=(name, "other"))
    assert roll(piece).png.startswith(b"\x89PNG")
    assert len(piano_roll(piece).get_legend().get_texts()) == 2


def test_a_piece_without_notes_gives_an_empty_roll():
    silence = roll(Piece.from_quarters([], name="silence"))
    assert silence.text == "Piano roll of silence: no notes"
    assert silence.png.startswith(b"\x89PNG")


def test_in_a_piece_of_an_hour_every_note_is_a_pixel_wide():
    hour = Piece.from_quarters([(i, 0.01, 60) for i in range(3600)], name="hour")
    (track,) = piano_roll(hour).collections
    assert min(path.get_extents().width for path in track.get_paths()) >= 3600 / 1000


def contrast_with_white(colour):
    """Contrast ratio after WCAG 2.1, "relative luminance"."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_colours_can_be_seen_and_are_never_alone(scale):
    for colour in TRACK_COLOURS:
        assert contrast_with_white(matplotlib.colors.to_rgb(colour)) >= 4.5
    upper, lower = piano_roll(scale).collections
    assert upper.get_hatch() != lower.get_hatch()
