"""The files of ../shared/cases, made of what people's files do: each gives what its README says.

Cases of our own making for the same kinds stand in the tests of the modules that deal with them.
"""

from pathlib import Path

import pytest
from test_midi import read as read_and_compare

from pianolstm.composing import contradicts_its_key
from pianolstm.display import audio, roll, write_musicxml
from pianolstm.evaluation.statistics import key_of
from pianolstm.folder import read_folder
from pianolstm.midi import read_midi, write_midi

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the lent cases are not here")


def read(name):
    """A case, after it has been compared with the reference reader."""
    return read_and_compare(CASES / name)


@pytest.mark.parametrize("name", ["nul_names.mid", "name_ctrl.mid"])
def test_names(name, tmp_path):
    piece = read_midi(CASES / name)
    assert piece.repaired == {"characters removed from names": 3}
    assert all(track.isprintable() for track in piece.track_names)
    assert roll(piece) and write_musicxml(piece, tmp_path / "names.musicxml")


def test_a_lost_note_off():
    piece = read("lost_noteoff.mid")
    first, second = piece.notes[:2]
    assert first["duration"] == second["onset"]  # the first has none
    assert piece.notes["duration"][1:].tolist() == [piece.ticks_per_quarter] * 7
    assert piece.repaired == {"struck again without a note-off": 1}


def test_tempi(tmp_path):
    assert read("no_tempo.mid").tempi == ((0, 120.0),)
    slow = read("slow.mid")
    assert read_midi(write_midi(slow, tmp_path / "slow.mid")).tempi == slow.tempi


def test_keys():
    wrong, without = read("eb_ckey.mid"), read("eb_nokey.mid")
    assert (wrong.key, without.key) == ("C major", None)
    assert contradicts_its_key(wrong) and not contradicts_its_key(without)
    assert key_of(wrong) == key_of(without) == (3, "major")
    assert not contradicts_its_key(read("scale_ab.mid"))


@pytest.mark.parametrize(
    ("name", "what"), [("ts_den33.mid", "time signature"), ("ks_empty.mid", "key signature")]
)
def test_impossible_marks(name, what):
    piece = read(name)
    assert (piece.key, piece.time_signatures) == (None, ((0, 4, 4),))
    assert piece.repaired == {f"impossible {what} ignored": 1}


def test_a_long_note_costs_what_is_played():
    assert audio(read("long_drone.mid")).seconds == 600


def test_hands_that_share_a_key(tmp_path):
    piece = read("hands_overlap.mid")
    quarters = piece.notes[["onset", "duration"]].tolist()
    assert quarters == [(0, 4 * 480), (480, 480)]
    assert read_and_compare(write_midi(piece, tmp_path / "hands.mid")) == piece


def test_all_cases_are_read():
    report = read_folder(CASES)
    assert report.files == {"read": sum(p.suffix != ".md" for p in CASES.iterdir())}
    assert {"rmid", "song"} <= {piece.name for piece in report.pieces}
