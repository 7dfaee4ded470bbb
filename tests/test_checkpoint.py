import json
import os

import pytest
import torch
from safetensors.torch import save_file

from pianolstm.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_pretrained,
    read_file,
    save_checkpoint,
)
from pianolstm.dataset import prepare


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_checkpoint_rebuilds_its_own_model(tmp_path, tiny):
    model, vocabulary, encoding = tiny
    history = [{"epoch": 1, "valid_loss": 2.5}]
    whole = Checkpoint(model, vocabulary, encoding, history)
    path = save_checkpoint(tmp_path / "m.safetensors", whole)
    loaded = load_checkpoint(path)
    assert same(loaded.model.state_dict(), model.state_dict())
    assert (loaded.vocabulary, loaded.encoding, loaded.history) == (vocabulary, encoding, history)
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("vocabulary", 7),
        ("encoding", {"encoding": "song"}),
        ("encoding", {"encoding": "events", "loud": True}),
        ("network", {"name": "note", "layers": 3, "hidden": [16]}),
        ("network", []),
        ("network", {"name": "note", "vocabulary_size": 7, "hidden": [17]}),
        ("network", {"name": "note", "vocabulary_size": 7, "hidden": []}),
        ("network", {"name": "note", "vocabulary_size": 9, "hidden": [16]}),
        ("network", {"name": "note", "vocabulary_size": 7, "hidden": [16], "grammar": "no"}),
        ("vocabulary", "C4"),
        ("vocabulary", ["C4", 4]),
        ("encoding", {"encoding": "events", "approach": 10**9}),
        ("train", {"speed": 1}),
        ("train", {"epochs": "many"}),
        ("train", {"seconds": [1]}),
        ("history", 3),
        ("history", {}),
        ("history", [[]]),
        ("command", None),
    ],
)
def test_a_header_of_the_wrong_shape_names_the_part(tmp_path, tiny, part, value):
    path = save_checkpoint(tmp_path / "m.safetensors", Checkpoint(*tiny))
    header, tensors = read_file(path)
    changed = header | {part: value}
    save_file(tensors, path, {key: json.dumps(value) for key, value in changed.items()})
    named = "weights" if value == {"name": "note", "vocabulary_size": 7, "hidden": [17]} else part
    with pytest.raises(CheckpointError, match=f"m.safetensors: its {named} cannot be used"):
        load_checkpoint(path)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_checkpoint(tmp_path, tiny, damage):
    path = save_checkpoint(tmp_path / "m.safetensors", Checkpoint(*tiny))
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-100], "garbage": b"x" * 500, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"m\.safetensors: damaged.*train it again"):
        load_checkpoint(path)


def test_missing_and_foreign_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "gone.safetensors")
    save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="without our header"):
        load_checkpoint(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"'symphony' is none of .*: article, article_2019"):
        load_pretrained("symphony")


NAMES = ("article", "note")


def test_shipped_vocabularies_are_what_the_songs_give(song_pieces):
    for name in NAMES[1:]:
        checkpoint = load_pretrained(name)
        assert prepare(song_pieces, checkpoint.encoding).vocabulary == checkpoint.vocabulary
    assert load_pretrained("article").vocabulary == load_pretrained("note").vocabulary
