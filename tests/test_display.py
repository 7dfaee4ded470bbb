import base64
import io
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import soundfile
import symusic
from matplotlib.collections import PatchCollection

from pianolstm.checkpoint import load_pretrained
from pianolstm.decoding import to_musicxml
from pianolstm.display import (
    SAMPLE_RATE,
    TRACK_COLOURS,
    audio,
    compare,
    described,
    engrave,
    misplaced_notes,
    piano_roll,
    player,
    render,
    roll,
    score,
)
from pianolstm.generation import generate
from pianolstm.grid import quantise
from pianolstm.midi import read_midi, to_symusic
from pianolstm.piece import Piece

matplotlib.use("Agg")


def engraved_notes(piece):
    """(tick at 480 a quarter, pitch) of every note in verovio's own MIDI of the engraving."""
    midi = symusic.Score.from_midi(base64.b64decode(engrave(piece).renderToMIDI()))
    scale = 480 / midi.ticks_per_quarter
    return sorted((round(n.start * scale), n.pitch) for t in midi.tracks for n in t.notes)


def own_notes(piece):
    """The same of the piece; a pitch that two hands strike together is engraved twice."""
    return sorted((int(n["onset"]), int(n["pitch"])) for n in piece.notes)


def test_engraving_holds_every_onset_and_pitch_of_20_songs(song_pieces):
    for piece in song_pieces[::19]:
        assert engraved_notes(piece) == own_notes(piece), piece.name


def test_engraving_holds_every_onset_and_pitch_of_5_generated_pieces():
    composer = load_pretrained("voicing")
    prompt = composer.vocabulary.encode(["G2.D4.G4.B4"], strict=True)
    for ids in generate(composer.model, [prompt] * 5, 64, seeds=range(5)):
        piece = composer.encoding.decode(composer.vocabulary.decode(ids), name="generated")
        assert engraved_notes(piece) == own_notes(piece)


def test_names_in_any_script_are_drawn_without_a_warning(scale, recwarn):
    strange = replace(scale, name="ピアノ", track_names=("右手 $x$", "_\u200bhidden"))
    text = roll(strange).text
    assert "ピアノ" in text  # the words keep what the fonts may lack
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_a_roll_longer_than_its_sound_shades_the_rest(scale):
    long = replace(scale, tempi=((0, 90.0), (1, 0.5)))
    assert long.seconds > 600
    assert 'class="silent"' in player(long).html()
    assert 'class="silent"' not in player(scale).html()


def test_score_is_a_png(scale):
    picture = score(scale)
    assert picture.png.startswith(b"\x89PNG")
    assert repr(picture) == "Score of scale: 2 bars, 10 notes"
    data, metadata = picture._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == repr(picture)


def test_sound_has_the_right_length_and_level(scale):
    samples = render(scale)
    assert np.abs(samples).max() == pytest.approx(0.9, abs=0.01)
    assert scale.seconds < len(samples) / SAMPLE_RATE < scale.seconds + 4
    sounding = samples[: int(scale.seconds * SAMPLE_RATE)]
    assert np.sqrt(np.mean(sounding**2)) > 0.02  # not silence with one click in it


def test_player_holds_an_mp3_of_that_sound(scale):
    sound = audio(scale)
    samples, rate = soundfile.read(io.BytesIO(sound.mp3))
    assert len(samples) / rate == pytest.approx(sound.seconds, abs=0.2)
    assert 'src="data:audio/mpeg;base64,' in sound._repr_html_()
    assert "0x" not in repr(sound)


def test_roll_has_a_box_for_every_note(scale):
    ax = piano_roll(scale)
    boxes = sum(len(c.get_paths()) for c in ax.collections if isinstance(c, PatchCollection))
    assert boxes == len(scale)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2"]
    assert "C4" in [t.get_text() for t in ax.get_yticklabels()]


def test_a_piece_without_notes():
    silence = Piece.from_quarters([], name="silence")
    piano_roll(silence)
    for show in (score, audio):
        with pytest.raises(ValueError, match="'silence' holds no notes"):
            show(silence)


def test_score_says_what_it_could_not_place():
    run = Piece.from_quarters([(i * 2 / 13, 2 / 13, 60 + i) for i in range(13)], name="thirteen")
    assert "NOT where they sound" in repr(score(run))  # 13 notes in two quarters: moved to a grid
    triplets = Piece.from_quarters([(i / 3, 1 / 3, 60 + i) for i in range(12)], name="triplets")
    assert repr(score(triplets)) == "Score of triplets: 1 bars, 12 notes"
    tied = Piece.from_quarters([(0, 7 / 4, 72), (1.75, 0.25, 74)], name="tied")
    assert repr(score(tied)) == "Score of tied: 1 bars, 2 notes"


def test_score_roll_and_sound_hold_the_same_notes_bars_and_tempo(song_pieces):
    for piece in (song_pieces[20], song_pieces[100].bars(1, 8)):
        ax = piano_roll(piece)
        boxes = sum(len(c.get_paths()) for c in ax.collections if isinstance(c, PatchCollection))
        assert boxes == len(engraved_notes(piece)) == audio(piece).notes == len(piece)
        assert to_symusic(piece).note_num() == len(piece)  # what the synthesizer is given
        bars = {*ax.get_xticks(), *ax.get_xticks(minor=True)}
        assert len(bars) == len(piece.bar_starts())
        engraved = symusic.Score.from_midi(base64.b64decode(engrave(piece).renderToMIDI()))
        assert engraved.tempos[0].qpm == pytest.approx(piece.tempi[0][1], rel=0.01)
        assert f"{len(piece.bar_starts())} bars" in roll(piece).text
        last = player(piece).places[0][-1]
        assert last[0] == pytest.approx(piece.seconds, abs=0.01)
        # what sounds ends where the piece does, but for the strings' ringing on
        samples = np.abs(render(piece))
        assert samples[: int(last[0] * SAMPLE_RATE)][-SAMPLE_RATE:].max() > 0.02
        assert samples[int((last[0] + 3) * SAMPLE_RATE) :].max(initial=0) < 0.02


def test_player_is_one_small_output_with_two_ways_down(song_pieces):
    piece = song_pieces[3]
    while piece.seconds > 30:
        piece = piece.bars(1, len(piece.bar_starts()) - 1)
    whole = player(piece)
    assert 20 < piece.seconds <= 30
    assert len(whole.html()) < 400_000  # as text in the page, picture and sound together
    data, metadata = whole._repr_mimebundle_()
    assert set(data) == {"text/html", "image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == whole.rolls[0].text
    assert "http" not in data["text/html"].replace("http://www.w3.org", "")
    assert "notes on 2 tracks" in data["text/plain"] and "0x" not in data["text/plain"]


def test_cursor_follows_every_tempo():
    piece = Piece.from_quarters([(i, 1, 60) for i in range(8)], tempi=((0, 60.0), (1920, 120.0)))
    (places,) = player(piece).places
    seconds, shares = zip(*places)
    assert seconds == (0, 4, 6)
    assert shares[1] - shares[0] == pytest.approx(shares[2] - shares[1])


def test_compare_puts_pieces_to_one_scale(scale):
    longer = Piece.from_quarters([(0, 16, 40)])
    both = compare([scale, longer], ["a scale", "one long note"])
    ends = [places[-1][1] for places in both.places]
    assert (ends[0] - 0.055) * 2 == pytest.approx(ends[1] - 0.055)
    assert both.html().count("<audio") == 2
    assert "a scale" in both.together.text and "one long note" in both.together.text
    with pytest.raises(ValueError, match="2 pieces and 1 titles: give one for each"):
        compare([scale, longer], ["only one"])


def test_what_a_title_says_stays_text(scale):
    shown = compare([scale], ["<script>alert('x')</script>"]).html()
    assert "<script>alert" not in shown


def test_odd_names_are_drawn_as_they_stand(scale):
    for name in (r"$\frac$", "_left", "$^$", "\x07bell"):
        piece = replace(scale, name=name, track_names=(name, "other"))
        assert roll(piece).png.startswith(b"\x89PNG")
        assert len(piano_roll(piece).get_legend().get_texts()) == 2


def test_a_piece_without_notes_gives_an_empty_roll(scale):
    empty = Piece(scale.notes[:0], name="silence")
    shown = player(empty)
    assert "Piano roll of silence: no notes" in shown.html()
    assert "There is nothing to play." in shown.html()
    with pytest.raises(ValueError, match="'silence' holds no notes to play"):
        audio(empty)
    with pytest.raises(ValueError, match="'silence' holds no notes to engrave"):
        score(empty)


def test_a_piece_of_an_hour_plays_its_beginning():
    hour = Piece.from_quarters([(i, 1, 60 + i % 12) for i in range(5400)], name="hour")
    sound = audio(hour, longest=20)
    assert sound.seconds == pytest.approx(21.5, abs=2)
    assert "the beginning of 3,600 s" in repr(sound)
    assert roll(hour).png.startswith(b"\x89PNG")


def test_a_missing_sound_font_says_what_to_do(scale, monkeypatch, tmp_path):
    from pianolstm import display

    display._synthesizer.cache_clear()
    monkeypatch.setattr(display.resources, "files", lambda name: tmp_path)
    with pytest.raises(FileNotFoundError, match="pip install --force-reinstall pretty-midi"):
        audio(scale)
    display._synthesizer.cache_clear()


def contrast_with_white(colour):
    """Contrast ratio after WCAG 2.1, "relative luminance"."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_colours_can_be_seen_and_are_never_alone(scale):
    for colour in TRACK_COLOURS:
        assert contrast_with_white(matplotlib.colors.to_rgb(colour)) >= 4.5
    (upper, lower) = [c for c in piano_roll(scale).collections if isinstance(c, PatchCollection)]
    assert upper.get_hatch() != lower.get_hatch()


def test_described_figures_have_words(scale):
    picture = described(piano_roll(scale), "a scale, rising")
    assert repr(picture) == "a scale, rising"
    assert picture.png.startswith(b"\x89PNG")


def test_four_parts_get_four_staves_with_their_names_and_every_note(songs_folder):
    for name in ("mozart_k80_mvt3", "bach_bwv269", "haydn_opus1no1_mvt2"):
        path = songs_folder / "ensemble" / f"{name.replace('opus', 'op')}.mid"
        piece = quantise(read_midi(path)).piece.bars(1, 8)
        assert misplaced_notes(piece, engrave(piece)) == 0
        xml = to_musicxml(piece)
        assert xml.count("<score-part ") == 4
        assert all(f"<part-name>{part}</part-name>" in xml for part in piece.track_names)
    assert score(piece).png.startswith(b"\x89PNG")
