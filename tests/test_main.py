import json

import pytest

from pianolstm.__main__ import main
from pianolstm.checkpoint import load_checkpoint
from pianolstm.decoding import write_midi
from pianolstm.parsing import read_midi


@pytest.fixture
def small_folder(tmp_path, song_pieces):
    folder = tmp_path / "songs"
    folder.mkdir()
    for piece in song_pieces[:30]:
        write_midi(piece, folder / f"{piece.name}.mid")
    return folder


def test_train_evaluate_compose(tmp_path, small_folder, capsys):
    out, log = tmp_path / "run", tmp_path / "log.jsonl"
    options = ["--epochs", "2", "--hidden", "16", "--batch", "4"]
    command = [
        "train",
        "--songs",
        str(small_folder),
        "--out",
        str(out),
        "--log",
        str(log),
        *options,
    ]
    assert main([*command, "--export", str(tmp_path / "half.safetensors")]) == 0
    assert json.loads(log.read_text())["epoch"] in (1, 2)
    best = out / "best.safetensors"
    exported = load_checkpoint(tmp_path / "half.safetensors")
    assert exported.history == load_checkpoint(best).history

    assert main(["evaluate", "--songs", str(small_folder), str(best)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("uniform", "unigram", "bigram", "best"))

    piece = tmp_path / "piece"
    prompt = exported.vocabulary.tokens[1]
    options = ["--tokens", "12", "--prompt", prompt, "--out", str(piece)]
    assert main(["compose", "--checkpoint", str(best), *options]) == 0
    assert len(set(read_midi(piece.with_suffix(".mid")).onsets)) == 13
    assert piece.with_suffix(".mp3").exists() and piece.with_suffix(".png").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "--songs", "nowhere"], "no such folder"),
        (["compose", "--checkpoint", "gone.safetensors"], "no such checkpoint"),
        (["compose", "--prompt", "H9", "--tokens", "3"], "'H9', is not among"),
        (["compose", "--temperature", "0"], "temperature is 0"),
    ],
)
def test_faults_of_the_user_are_one_line(command, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
