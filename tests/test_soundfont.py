"""The synthesizer plays in tune, which it does only with root keys where it looks for them."""

from importlib import resources

import numpy as np
import pytest
import symusic

from pianolstm.display.sound import SAMPLE_RATE, render
from pianolstm.display.soundfont import SAMPLE, _table, with_root_keys
from pianolstm.midi import to_symusic
from pianolstm.piece import NOTE_DTYPE, Piece

FONT = resources.files("pretty_midi") / "TimGM6mb.sf2"


def note(pitch, program=0):
    row = (0, 960, pitch, 90, program, 0)  # 2 quarters
    return Piece(np.array([row], dtype=NOTE_DTYPE), tempi=((0, 60.0),), track_names=("",))


def loudest(samples):
    """The loudest frequency of a sound, its beginning left out."""
    heard = samples[2000:30000]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)), 2**18))
    return np.fft.rfftfreq(2**18, 1 / SAMPLE_RATE)[spectrum.argmax()]


@pytest.mark.parametrize(
    ("program", "pitch"),
    [*((0, pitch) for pitch in range(36, 97, 5)), (40, 69), (40, 84), (42, 50), (73, 90), (19, 60)],
)
def test_a_note_sounds_at_its_pitch_or_an_overtone_of_it(program, pitch):
    """Within 30 cents. The piano's C4 sounded as G#5."""
    times = loudest(render(note(pitch, program))) / (440 * 2 ** ((pitch - 69) / 12))
    assert 1200 * abs(np.log2(times / round(times))) < 30 and times < 5


@pytest.mark.parametrize(("program", "pitch"), [(30, 93), (7, 92), (21, 99), (40, 98)])
def test_a_high_note_comes_to_an_end(program, pitch):
    """Its loop had less than one sample, and the synthesizer ran forever."""
    assert 2 < len(render(note(pitch, program))) / SAMPLE_RATE < 10


def test_only_headers_of_samples_differ(tmp_path):
    """The flute's zones name no root key that its samples do not have."""
    before, after = FONT.read_bytes(), with_root_keys(FONT.read_bytes())
    pdta = before.index(b"pdta") - 8
    assert after[8:pdta] == before[8:pdta]  # with all recordings
    assert int.from_bytes(after[4:8], "little") == len(after) - 8
    samples = _table(after, b"shdr", SAMPLE)[:-1]
    assert len(np.unique(samples["start"])) == len(samples)
    assert (samples["loop_start"] >= samples["start"])[samples["loop_end"] > 0].all()
    (tmp_path / "after.sf2").write_bytes(after)
    fonts = (str(FONT), str(tmp_path / "after.sf2"))
    flute = to_symusic(note(72, 73))
    first, second = (
        symusic.Synthesizer(sf_path=font, sample_rate=SAMPLE_RATE).render(flute, True)
        for font in fonts
    )
    assert np.array_equal(first, second)
