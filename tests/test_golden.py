"""What must not change while the library is rebuilt: tokens, losses, generated pieces, files.

`python tests/test_golden.py` writes `golden.json` anew; only where an issue says that a value
changes.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pianolstm.checkpoint import load_pretrained
from pianolstm.dataset import Dataset, prepare
from pianolstm.encodings import (
    ArticleEncoding,
    EventEncoding,
    PianoRollEncoding,
    PieceError,
    RhythmEncoding,
)
from pianolstm.evaluation import benchmark, nll
from pianolstm.folder import read_folder
from pianolstm.generation import generate
from pianolstm.grid import quantise
from pianolstm.midi import write_midi
from pianolstm.store import ReadConfig, build_store

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).with_name("golden.json")
LENT = ROOT.parent / "shared" / "benchmarks"

ENCODINGS = {
    "article": ArticleEncoding(),
    "voicing": ArticleEncoding(voicing=True),
    "rhythm": RhythmEncoding(),
    "events": EventEncoding(home=True, countdown=True, approach=8),
    "rolls": PianoRollEncoding(2),
}
NETWORKS = ("article", "article_2019", "note", "rhythm", "events", "rolls", "ensemble")
BENCHMARKS = {"jsb": "JSB_Chorales.mat", "nottingham": "Nottingham.mat"}


def digest(data: bytes | list[str]) -> str:
    data = data if isinstance(data, bytes) else " ".join(data).encode()
    return hashlib.sha256(data).hexdigest()[:8]


def pieces_of(folder: str) -> list:
    return read_folder(ROOT / folder).pieces


def song_hashes(folder: str, encodings: dict, tmp: Path) -> dict[str, str]:
    """For each song the hashes of its tokens in each encoding, and of its MIDI file."""
    result = {}
    for piece in pieces_of(folder):
        on_grid = quantise(piece, bend=True).piece
        hashes = []
        for name, encoding in encodings.items():
            source = piece if name in ("article", "voicing") else on_grid
            try:
                hashes.append(digest(encoding.encode(source)))
            except PieceError as error:
                hashes.append(digest([str(error)]))
        written = write_midi(piece, tmp / "written.mid").read_bytes()
        result[piece.name] = " ".join([*hashes, digest(written)])
    return result


def dataset(name: str, checkpoint):
    """The songs that a network was trained on, encoded and split."""
    pieces = pieces_of("midi_songs/ensemble" if name == "ensemble" else "midi_songs")
    if not isinstance(checkpoint.encoding, ArticleEncoding):
        pieces = [quantise(piece, bend=True).piece for piece in pieces]
    return prepare(pieces, checkpoint.encoding, checkpoint.vocabulary, name != "ensemble")


def network_values(name: str, tmp: Path) -> dict:
    """Held-out loss, and hashes of ten pieces that the network writes."""
    checkpoint = load_pretrained(name)
    data = dataset(name, checkpoint)
    steps = checkpoint.train_config.steps
    every = 50 if checkpoint.model.reads == "windows" else 1
    few = {"rhythm": 12, "ensemble": 8}  # large vocabularies, long pieces
    pieces = data.test[: few.get(name)]
    loss = nll(checkpoint.model, pieces, steps, np.concatenate(data.train_own_key), every).mean
    prompts = [piece[:8] for piece in data.test[:10]]
    end = checkpoint.vocabulary.ids.get("<eos>")
    new = generate(
        checkpoint.model, prompts, 150, range(10), top_p=0.95, stop=end, counts=checkpoint.counts
    )
    tokens = [checkpoint.vocabulary.decode([*a, *b]) for a, b in zip(prompts, new)]
    first = checkpoint.encoding.decode(tokens[0])
    written = write_midi(first, tmp / "generated.mid").read_bytes()
    return {
        "test_loss": round(float(loss), 4),
        "pieces": " ".join(map(digest, tokens)),
        "first_as_midi": digest(written),
    }


def benchmark_loss(name: str) -> float:
    checkpoint = load_pretrained(name)
    parts = benchmark.load_rolls(LENT / BENCHMARKS[name])
    data = benchmark.roll_dataset(*parts, checkpoint.encoding)
    return round(nll(checkpoint.model, data.test[:40]).mean, 4)


def folder_reports(tmp: Path) -> dict[str, str]:
    """A folder with a bit of everything: its report in memory and as a token store."""
    folder = tmp / "mixed"
    (folder / "deep").mkdir(parents=True)
    songs = sorted((ROOT / "midi_songs").glob("*.mid"))[::9]
    for path in songs:
        shutil.copy(path, folder)
    shutil.copy(songs[0], folder / "deep" / "again.MID")
    (folder / "cut.mid").write_bytes(songs[1].read_bytes()[:300])
    (folder / "empty.mid").write_bytes(b"")
    (folder / "text.mid").write_text("no music at all")
    drums = b"MTrk\0\0\0\x0c\0\x99\x26\x40\x60\x89\x26\0\0\xff\x2f\0"
    (folder / "drums.mid").write_bytes(b"MThd\0\0\0\6\0\0\0\1\0\x60" + drums)
    hanging = b"MTrk\0\0\0\x10\0\x90\x3c\x40\x60\x90\x40\x40\x60\x80\x3c\0\0\xff\x2f\0"
    (folder / "hanging.mid").write_bytes(b"MThd\0\0\0\6\0\0\0\1\0\x60" + hanging)
    reports = {"memory": str(read_folder(folder, recursive=True, audit=True))}
    for name in ("article", "events"):
        config = ReadConfig(ENCODINGS[name], performances="bend", audit=True)
        reports[name] = str(build_store(folder, tmp / name, config))
        store = Dataset.load(tmp / name)
        ids = np.concatenate([*store.train_own_key, *store.valid, *store.test])
        reports[f"{name} ids"] = digest(ids.astype(np.int32).tobytes())
        reports[f"{name} vocabulary"] = digest(store.vocabulary.tokens)
    return reports


def compute(tmp: Path) -> dict:
    """Everything that golden.json holds."""
    ensemble = {"events": EventEncoding(tracks=True)}
    return {
        "songs": song_hashes("midi_songs", ENCODINGS, tmp),
        "ensembles": song_hashes("midi_songs/ensemble", ensemble, tmp),
        "networks": {name: network_values(name, tmp) for name in NETWORKS},
        "benchmarks": {name: benchmark_loss(name) for name in BENCHMARKS},
        "reports": folder_reports(tmp),
    }


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("key", "folder", "encodings"),
    [
        ("songs", "midi_songs", ENCODINGS),
        ("ensembles", "midi_songs/ensemble", {"events": EventEncoding(tracks=True)}),
    ],
)
def test_every_song_gives_the_same_tokens_and_the_same_file(
    golden, tmp_path, key, folder, encodings
):
    assert song_hashes(folder, encodings, tmp_path) == golden[key]


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_networks_measure_and_write_the_same(golden, tmp_path, name):
    found, expected = network_values(name, tmp_path), golden["networks"][name]
    assert found.pop("test_loss") == pytest.approx(expected.pop("test_loss"), abs=2e-3)
    assert found == expected


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_networks_measure_the_same(golden, name):
    if not (LENT / BENCHMARKS[name]).exists():
        pytest.skip(f"{BENCHMARKS[name]} is not part of the repository")
    assert benchmark_loss(name) == pytest.approx(golden["benchmarks"][name], abs=2e-3)


def test_a_folder_gives_the_same_reports(golden, tmp_path):
    assert folder_reports(tmp_path) == golden["reports"]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(compute(Path(folder)), indent=1, ensure_ascii=False)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
