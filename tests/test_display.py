import base64
import io

import matplotlib
import numpy as np
import pytest
import soundfile
import symusic
from matplotlib.collections import PatchCollection

from pianolstm.checkpoint import shipped
from pianolstm.display import SAMPLE_RATE, audio, engrave, piano_roll, render, score
from pianolstm.generation import generate
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
    composer = shipped("voicing")
    prompt = composer.vocabulary.encode(["G2.D4.G4.B4"], strict=True)
    for ids in generate(composer.model, [prompt] * 5, 64, seeds=range(5)):
        piece = composer.encoding.decode(composer.vocabulary.decode(ids), name="generated")
        assert engraved_notes(piece) == own_notes(piece)


def test_score_is_a_png(scale):
    picture = score(scale)
    assert picture.png.startswith(b"\x89PNG")
    assert repr(picture) == "Score of scale: 2 bars, 10 notes"
    assert set(picture._repr_mimebundle_()) == {"image/png", "text/plain"}


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


@pytest.mark.parametrize("colour", ["track", "velocity"])
def test_roll_has_a_box_for_every_note(scale, colour):
    ax = piano_roll(scale, colour=colour)
    boxes = sum(len(c.get_paths()) for c in ax.collections if isinstance(c, PatchCollection))
    assert boxes == len(scale)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2"]
    assert "C4" in [t.get_text() for t in ax.get_yticklabels()]


def test_roll_refuses_other_colours(scale):
    with pytest.raises(ValueError, match="choose 'track' or 'velocity'"):
        piano_roll(scale, colour="mood")


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
