import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from pianolstm.__main__ import main, run
from pianolstm.checkpoint import load_pretrained
from pianolstm.dataset import ALL_KEYS
from pianolstm.encodings import PianoRollEncoding
from pianolstm.encodings.rolls import FRAME_END, KEYS, LOWEST
from pianolstm.evaluation import Bigram, nll
from pianolstm.evaluation.benchmark import (
    frame_ends,
    frame_losses,
    frame_nll,
    load_rolls,
    repeat_losses,
    repeats,
    roll_dataset,
    table,
)
from pianolstm.vocabulary import Vocabulary

PUBLISHED_SETS = Path(__file__).resolve().parents[2] / "shared" / "benchmarks"


def roll(*frames):
    """A roll from the pitches of its frames."""
    result = np.zeros((len(frames), KEYS), dtype=bool)
    for row, pitches in zip(result, frames):
        row[np.array(pitches, dtype=int) - LOWEST] = True
    return result


TUNE = roll([60, 64], [60, 64], [62], [], [60])


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    pieces = [np.roll(TUNE, int(s), axis=1) for s in rng.integers(-5, 5, size=30)]
    return roll_dataset(pieces[:24], pieces[24:27], [TUNE], PianoRollEncoding())


def test_rolls_come_back_from_a_file_and_through_the_vocabulary(mat_file):
    path = mat_file(traindata=[TUNE, TUNE[:2]], validdata=[TUNE[1:]], testdata=[TUNE])
    parts = load_rolls(path)
    assert [len(part) for part in parts] == [2, 1, 1]
    assert np.array_equal(parts[0][1], TUNE[:2])
    data = roll_dataset(*parts, PianoRollEncoding())
    for version, semitones in zip(data.train[0], ALL_KEYS):
        back = data.encoding.decode(data.vocabulary.decode(version))
        assert np.array_equal(data.encoding.roll(back), np.roll(TUNE, semitones, axis=1))
        assert not back.repaired


def test_files_that_are_no_benchmark_are_named(tmp_path, mat_file):
    with pytest.raises(ValueError, match=r"gone\.mat: no file of piano rolls.*README"):
        load_rolls(tmp_path / "gone.mat")
    (tmp_path / "text.mat").write_text("not a matrix" * 100)
    with pytest.raises(ValueError, match=r"text\.mat: no file of piano rolls"):
        load_rolls(tmp_path / "text.mat")
    whole = mat_file(traindata=[TUNE], validdata=[TUNE], testdata=[TUNE]).read_bytes()
    for cut in (50, len(whole) // 2):
        (tmp_path / "cut.mat").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"cut\.mat: no file of piano rolls"):
            load_rolls(tmp_path / "cut.mat")
    with pytest.raises(
        ValueError, match=r"tiny\.mat: no file of piano rolls \(KeyError: 'validdata'\)"
    ):
        load_rolls(mat_file(traindata=[TUNE]))
    for wrong in (TUNE[:, :80], TUNE * 2):
        with pytest.raises(ValueError, match="piece 2 of testdata has shape"):
            load_rolls(mat_file(traindata=[TUNE], validdata=[TUNE], testdata=[TUNE, wrong]))


def test_every_frame_counts_the_first_and_the_silent_too(data):
    (ids,) = data.test  # <bos> 64 60 | 64 60 | 62 | | 60 |
    losses = [np.arange(1.0, 12.0)]
    (frames,) = frame_losses(losses, [ids], data.vocabulary.ids[FRAME_END])
    assert frames.tolist() == [1 + 2 + 3, 4 + 5 + 6, 7 + 8, 9, 10 + 11]
    assert frame_nll(losses, data, [ids]) == pytest.approx(66 / 5)


@pytest.mark.parametrize("changes", [False, True])
def test_which_frames_repeat(changes):
    encoding = PianoRollEncoding(changes=changes)
    vocabulary = Vocabulary(encoding.all_tokens())
    ids = vocabulary.encode(encoding.write(np.concatenate([TUNE, TUNE[3:4], TUNE[3:4]])))
    assert repeats(ids, vocabulary).tolist() == [0, 1, 0, 0, 0, 0, 1]


def test_frames_cost_as_many_nats_where_only_changes_are_written():
    data = roll_dataset([TUNE], [TUNE], [TUNE], PianoRollEncoding(changes=True))
    (ids,) = data.test  # <bos> 64 60 | = 62 | | 60 |
    (frames,) = frame_losses([np.arange(1.0, 10.0)], [ids], frame_ends(data.vocabulary))
    assert frames.tolist() == [1 + 2 + 3, 4, 5 + 6, 7, 8 + 9]


def test_repeating_mixes_with_the_bigram(data):
    bigram = Bigram(data.train_own_key, len(data.vocabulary))
    (mixed,) = repeat_losses(data, bigram.losses(data.test))
    (alone,) = frame_losses(bigram.losses(data.test), data.test, data.vocabulary.ids[FRAME_END])
    r = 1 / 5  # one frame of five repeats, in every training piece
    assert mixed[0] == pytest.approx(alone[0])
    assert mixed[1] == pytest.approx(-np.log(r + (1 - r) * np.exp(-alone[1])))


def test_published_rows_stand_beside_ours():
    text = table("JSB_Chorales", {"ours": 4.5})
    assert "RNN-NADE, Hessian-free (Boulanger-" in text and " 5.56   together" in text
    assert " 8.10   each by itself" in text and " 4.50   together" in text
    for name in ("MuseData", "Piano_midi", "Piano-midi.de"):
        assert len(table(name, {}).splitlines()) == 1 + 3  # without the TCN
    columns = {line.index(" 5.56") for line in text.splitlines() if " 5.56" in line}
    assert columns == {line.index(" 4.50") for line in text.splitlines() if " 4.50" in line}
    assert "5.56" not in table("midi_songs", {"ours": 4.5})


@pytest.mark.parametrize("network", ["note", "gru", "transformer"])
def test_the_command_trains_measures_and_logs(mat_file, tmp_path, capsys, network):
    pieces = [np.roll(TUNE, s, axis=1) for s in range(8)]
    path = mat_file(traindata=pieces, validdata=pieces[:2], testdata=pieces[2:4])
    options = ["--hidden", "16", "--epochs", "2", "--batch", "2"]
    options += ["--set", "memory=ngrams"] * (network == "note")
    options += ["--encoding", "rolls", "--set", "changes=true"] * (network == "gru")
    out = ["--out", str(tmp_path / "run")]
    entry = run(["benchmark", str(path), "--network", network, *options, *out])
    printed = capsys.readouterr().out
    assert "Kneser-Ney" in printed
    assert len(entry["with"]) == 2 * (network == "note")
    assert all(row in printed and nats["test"] > 0 for row, nats in entry["with"].items())
    assert entry["network"] == network
    for row in (entry, *entry["with"].values()):
        nats, frames = zip(*row["pieces"])
        assert sum(nats) / sum(frames) == pytest.approx(row["test"], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "rolls", "--dropout", "0"], "dropout: a checkpoint is not trained"),
        (["--checkpoint", "rolls", "--encoding", "rolls"], "encoding: a checkpoint is not trained"),
        (["--encoding", "events"], "writes no piano rolls. Use rolls, or what benchmark"),
        (["--checkpoint", "events"], "writes no piano rolls. Use rolls, or what benchmark"),
    ],
)
def test_options_that_would_change_nothing_are_refused(mat_file, capsys, options, message):
    path = mat_file(traindata=[TUNE], validdata=[TUNE], testdata=[TUNE])
    assert main(["benchmark", str(path), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_is_measured_and_nothing_else(mat_file, capsys):
    path = mat_file(traindata=[TUNE], validdata=[TUNE], testdata=[TUNE])
    entry = run(["benchmark", str(path), "--checkpoint", "rolls", "--no-baselines"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("rolls ") and f"{entry['test']:.2f}" in line


@pytest.mark.slow
@pytest.mark.parametrize("data", ["JSB", "Nottingham"])
def test_the_shipped_networks_have_the_stored_test_loss(data):
    """Half precision loses nothing: README and notebook 11 show what `shipped` gives."""
    path = next(PUBLISHED_SETS.glob(f"{data}*.mat"), None)
    if path is None:
        pytest.skip(f"{data} is not here; the README says where its authors publish it")
    network = load_pretrained(data.lower())
    parts = [part[:8] if i < 2 else part for i, part in enumerate(load_rolls(path))]
    rolls = roll_dataset(*parts, network.encoding)
    found = frame_nll(nll(network.model, rolls.test).per_piece, rolls, rolls.test)
    stored = resources.files("pianolstm") / "checkpoints" / "benchmark.jsonl"
    results = [json.loads(line) for line in stored.read_text(encoding="utf-8").splitlines()]
    best = min((r for r in results if r["name"].startswith(data)), key=lambda r: r["valid"])
    assert found == pytest.approx(best["test"], abs=2e-3)
