"""What must hold for whole collections: read, written, encoded, decoded, scored and sounded.

All files take an hour, so they are slow: `pytest -m slow -s tests/test_round_trip.py` prints what
each encoding loses. A few songs are checked always.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pianolstm.display import audio
from pianolstm.display.notation import UNITS, engraving_grid
from pianolstm.display.score import engrave, misplaced_notes
from pianolstm.encodings import ENCODINGS, EventEncoding, PianoRollEncoding
from pianolstm.folder import find_midi_files
from pianolstm.grid import quantise
from pianolstm.midi import NoNotesError, read_midi, write_midi

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi"
KINDS = {name: kind() for name, kind in ENCODINGS.items()} | {
    "events with tracks": EventEncoding(tracks=True),
    "fine rolls": PianoRollEncoding(12),
}
LOSSLESS = {"events", "events with tracks"}
ENGRAVED_WITHIN = 1 / 120  # quarters, see `misplaced_notes`


def starts(piece):
    """Onset in quarters and pitch of every note, counted."""
    return Counter(zip(piece.onsets.round(6).tolist(), piece.notes["pitch"].tolist()))


def losses(piece):
    """For each encoding the notes of a piece that decoding does not give back where they were."""
    on_grid = quantise(piece, bend=True).piece
    result = Counter({"moved together by the grid": len(piece) - len(on_grid)})
    for name, encoding in KINDS.items():
        source = on_grid if encoding.needs_grid else piece
        decoded = encoding.decode(encoding.encode(source))
        assert not decoded.repaired and decoded.end > 0
        result[name] = (starts(source) - starts(decoded)).total()
    return result


def check(path, folder):
    """Everything that must hold for a file; returns its notes and what its encodings lose."""
    piece = read_midi(path)
    back = read_midi(write_midi(piece, folder / "back.mid"))
    assert back == piece and not back.repaired and not back.dropped
    lost = losses(piece)
    assert not any(lost[name] for name in LOSSLESS)
    grid = engraving_grid(piece.notes, piece.ticks_per_quarter)
    moved = np.abs(grid["onset"] / UNITS - piece.onsets) > ENGRAVED_WITHIN
    assert misplaced_notes(piece, engrave(piece)) <= moved.sum()
    assert audio(piece).seconds > min(piece.seconds, 600) - 0.1
    return Counter({"notes": len(piece), "moved by engraving": int(moved.sum())}) + lost


@pytest.mark.parametrize("name", ["bach_bwv269", "schoenberg_op19_no6", "ensemble/bach_bwv269"])
def test_a_song_comes_back_whole(name, songs_folder, tmp_path):
    counts = check(songs_folder / f"{name}.mid", tmp_path)
    assert counts["notes"] > counts["fine rolls"]  # the article's tokens have no time


@pytest.mark.slow
@pytest.mark.parametrize("name", ["midi_songs", "midi_songs/ensemble", "lent files"])
def test_all_files_come_back_whole(name, songs_folder, tmp_path):
    folder = LENT if name == "lent files" else songs_folder.parent / name
    if not folder.is_dir():
        pytest.skip("the lent MIDI files are not here")
    total, silent = Counter(), []
    for path in find_midi_files(folder, recursive=name == "lent files"):
        try:
            total += check(path, tmp_path)
        except NoNotesError:
            silent.append(path.name)
    print(f"\n{name}: {dict(total)}; without notes: {silent}")
    assert silent == (["empty.mid"] if name == "lent files" else [])
