import io

import numpy as np
import pytest
import soundfile

from pianolstm.display import audio, sound
from pianolstm.display.sound import SAMPLE_RATE, render
from pianolstm.piece import Piece


def test_samples_have_the_right_length_and_level(scale):
    samples = render(scale)
    assert np.abs(samples).max() == pytest.approx(0.9, abs=0.01)
    assert scale.seconds < len(samples) / SAMPLE_RATE < scale.seconds + 4
    sounding = samples[: int(scale.seconds * SAMPLE_RATE)]
    assert np.sqrt(np.mean(sounding**2)) > 0.02  # not silence with one click in it


def test_the_mp3_holds_that_sound(scale, tmp_path):
    heard = audio(scale)
    samples, rate = soundfile.read(io.BytesIO(heard.mp3))
    assert len(samples) / rate == pytest.approx(heard.seconds, abs=0.2)
    assert repr(heard) == "Sound of scale: 10 notes, 5 s"
    assert 'src="data:audio/mpeg;base64,' in heard._repr_html_()
    assert heard.save(tmp_path / "scale.mp3").read_bytes() == heard.mp3


def test_of_a_long_note_only_the_beginning_is_played(monkeypatch):
    rows = [(0, 90_000, 48), (1, 1, 72)]
    drone = Piece.from_quarters(rows, tempi=((0, 60.0), (960, 30.0)), name="drone")
    monkeypatch.setattr(sound, "LONGEST_SOUND", 10.0)
    given = []
    monkeypatch.setattr(sound, "render", lambda piece: given.append(piece) or render(piece))
    assert audio(drone).seconds == 10
    assert given[0].notes["duration"].tolist() == [6 * 480, 480]  # 2 s at 60, 8 s at 30


def test_a_piece_without_notes():
    with pytest.raises(ValueError, match="'silence' holds no notes to play"):
        audio(Piece.from_quarters([], name="silence"))
