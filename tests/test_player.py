import json
import re

import pytest
from IPython.core.formatters import DisplayFormatter

from pianolstm.display import compare, player, sound
from pianolstm.piece import Piece


def test_a_player_is_one_small_output_in_three_formats(song_pieces):
    piece = song_pieces[3].bars(1, 11)
    assert 20 < piece.seconds <= 30
    formatter = DisplayFormatter()
    formatter.active_types = formatter.format_types
    data, metadata = formatter.format(player(piece))
    assert set(data) == {"text/html", "image/png", "text/plain"}
    assert len(data["text/html"]) < 400_000  # picture and sound together
    assert "http" not in data["text/html"]
    assert "notes on 2 tracks" in data["text/plain"]
    assert data["text/plain"] == metadata["image/png"]["alt"] + "; playable"


def test_the_page_is_given_the_places_of_the_cursor(scale):
    page = player(scale)._repr_html_()
    places = json.loads(re.search(r'data-places="(.+?)"', page)[1])
    assert places == [[0.0, 0.055], [pytest.approx(scale.seconds, abs=0.01), 0.985]]
    assert 'data-bar="2.667"' in page
    assert 'aria-valuemax="5.3"' in page


def test_the_cursor_follows_every_tempo():
    piece = Piece.from_quarters([(i, 1, 60) for i in range(8)], tempi=((0, 60.0), (1920, 120.0)))
    seconds, shares = zip(*player(piece).rolls[0].places)
    assert seconds == (0, 4, 6)
    assert shares[1] - shares[0] == pytest.approx(shares[2] - shares[1])


def test_compare_puts_pieces_to_one_scale(scale):
    longer = Piece.from_quarters([(0, 16, 40)])
    both = compare([scale, longer], ["a scale", "one long note"])
    short_end, long_end = (roll.places[-1][1] for roll in both.rolls)
    assert (short_end - 0.055) * 2 == pytest.approx(long_end - 0.055)
    assert both._repr_html_().count("<audio") == 2
    assert "a scale" in both.together.text and "one long note" in both.together.text
    assert repr(both).count("\n") == 1


def test_titles_are_the_names_and_never_html(scale):
    assert repr(player(scale)).startswith("Piano roll of scale: 10 notes")
    page = compare([scale], ["<script>alert('x')</script>"])._repr_html_()
    assert "<script>alert" not in page
    with pytest.raises(ValueError, match="shorter"):
        compare([scale, scale], ["only one"])


def test_a_piece_without_notes_gives_an_empty_roll():
    page = player(Piece.from_quarters([], name="silence"))._repr_html_()
    assert "Piano roll of silence: no notes" in page
    assert "There is nothing to play." in page
    assert "slider" not in page.split("<script>")[0]


def test_what_has_no_sound_is_said(scale, monkeypatch):
    assert "no sound" not in player(scale)._repr_html_()
    monkeypatch.setattr(sound, "LONGEST_SOUND", scale.seconds / 2)
    page = player(scale)._repr_html_()
    assert ": 5 notes" in page and ", the beginning of 5 s; the rest has no sound" in page
