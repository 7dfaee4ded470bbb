"""Shared fixtures, and what nbval leaves out of its comparison."""

import importlib.util
import io
import os
import sys
from pathlib import Path
from types import ModuleType

import mido
import numpy as np
import pytest
import torch
from scipy.io import savemat

from pianolstm.encodings import ArticleEncoding
from pianolstm.folder import read_folder
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes share the cores; with two threads each
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # they would wait for one another
    torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def songs_folder() -> Path:
    return ROOT / "midi_songs"


def load_script(path: str) -> ModuleType:
    """Import a script that lies beside the package."""
    name = f"{Path(path).stem}_script"
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build() -> ModuleType:
    return load_script("midi_songs/build.py")


@pytest.fixture(scope="session")
def render() -> ModuleType:
    return load_script("notebooks/render.py")


@pytest.fixture(scope="session")
def ladder() -> ModuleType:
    return load_script("notebooks/ladder.py")


@pytest.fixture(scope="session")
def ablation() -> ModuleType:
    return load_script("notebooks/ablation.py")


@pytest.fixture(scope="session")
def harmonies() -> ModuleType:
    return load_script("notebooks/harmonies.py")


@pytest.fixture(scope="session")
def learned() -> ModuleType:
    return load_script("notebooks/learned.py")


@pytest.fixture(scope="session")
def form() -> ModuleType:
    return load_script("notebooks/form.py")


@pytest.fixture(scope="session")
def comparisons() -> ModuleType:
    return load_script("notebooks/comparisons.py")


@pytest.fixture(scope="session")
def song_pieces(songs_folder) -> list[Piece]:
    return read_folder(songs_folder, audit=True).pieces


@pytest.fixture
def scale() -> Piece:
    """Two bars: a scale in the right hand over two whole notes in the left."""
    right = [(i, 1, 60 + step, 0) for i, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12))]
    left = [(0, 4, 48, 1), (4, 4, 43, 1)]
    return Piece.from_quarters(right + left, track_names=("Right", "Left"), name="scale")


@pytest.fixture
def midi_file(tmp_path):
    """Write a MIDI file from lists of mido messages, one list a track; returns its path."""

    def write(*tracks, name="test.mid", kind=1):
        midi = mido.MidiFile(type=kind, ticks_per_beat=480)
        midi.tracks.extend(mido.MidiTrack(messages) for messages in tracks)
        buffer = io.BytesIO()
        midi.save(file=buffer)
        path = tmp_path / name
        path.write_bytes(buffer.getvalue())
        return path

    return write


@pytest.fixture
def mat_file(tmp_path):
    """Write piano rolls in the format of the published collections; returns the path."""

    def write(name="tiny.mat", **parts):
        cells = {}
        for part, rolls in parts.items():
            cells[part] = np.empty((1, len(rolls)), dtype=object)
            cells[part][0, :] = [np.asarray(r).astype(np.uint8) for r in rolls]
        savemat(tmp_path / name, cells)
        return tmp_path / name

    return write


@pytest.fixture
def tiny():
    """A small trained-looking NoteLSTM, its vocabulary and encoding."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(["C4", "D4", "E4", "F4", "0.4.7", "7.11.2"])
    model = build_network(NetworkConfig("note", len(vocabulary), (16,), 0.0)).eval()
    return model, vocabulary, ArticleEncoding()


@pytest.fixture
def ids_pieces():
    """Four short pieces of ids, and two held-out ones."""
    rng = np.random.default_rng(0)
    pieces = [rng.integers(1, 7, size=n) for n in (20, 31, 45, 12, 25, 18)]
    return pieces[:4], pieces[4:]
