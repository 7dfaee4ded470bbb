import json
import subprocess
import sys
import textwrap

import pytest
import torch

from pianolstm.checkpoint import TrainConfig
from pianolstm.dataset import Dataset
from pianolstm.distributed import all_reduce, broadcast, process_group, rank, world, wrap_ddp
from pianolstm.encodings import ArticleEncoding
from pianolstm.networks import NetworkConfig
from pianolstm.training import train
from pianolstm.vocabulary import Vocabulary


def test_without_torchrun_there_is_one_process():
    with process_group():
        assert (world(), rank()) == (1, 0)
    module = torch.nn.Linear(2, 2)
    assert wrap_ddp(module) is module
    device = torch.device("cpu")
    assert broadcast(0.3, device) == all_reduce(0.3, device) == 0.3


TRAIN = """
    import json, sys
    from dataclasses import replace
    import numpy as np
    from pianolstm.checkpoint import TrainConfig, train_config
    from pianolstm.dataset import Dataset
    from pianolstm.distributed import process_group, rank, world
    from pianolstm.encodings import ArticleEncoding
    from pianolstm.networks import NetworkConfig
    from pianolstm.training import train
    from pianolstm.vocabulary import Vocabulary

    network, folder = sys.argv[1:]
    rng = np.random.default_rng(0)
    walks = [np.cumsum(rng.choice([-1, 1], size=int(n))) % 6 + 1 for n in rng.integers(20, 60, 30)]
    data = Dataset.from_ids(ArticleEncoding(), Vocabulary(list("abcdef")), walks[:24], walks[24:])
    hidden = (16,) if network == "note" else (8, 8, 8)
    config = TrainConfig(epochs=2, batch=4, steps=8)
    if network == "article":
        config = train_config("article", epochs=2, batch=4, steps=8, learning_rate=8e-3)
    with process_group():
        best = train(data, NetworkConfig(network, 7, hidden, 0.0), config, folder)
        if rank() == 0:
            print("history", json.dumps([world(), best.history]))
"""


@pytest.mark.parametrize("network", ["note", "article"])
def test_two_processes_equal_one_at_the_same_batch(tmp_path, network):
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(TRAIN))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    runs = {}
    for name, start in (("one", [sys.executable]), ("two", torchrun)):
        command = [*start, str(script), network, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        (line,) = [x for x in done.stdout.splitlines() if x.startswith("history ")]
        runs[name] = json.loads(line.removeprefix("history "))
    (ones, one), (twos, two) = runs["one"], runs["two"]
    assert (ones, twos) == (1, 2)
    for a, b in zip(one, two, strict=True):
        assert a["batches"] == b["batches"]
        for loss in ("train_loss", "valid_loss"):
            assert b[loss] == pytest.approx(a[loss], rel=1e-3)
    assert one[-1]["valid_loss"] < one[0]["valid_loss"]


def test_fewer_rows_than_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pianolstm.training.world", lambda: 3)
    data = Dataset.from_ids(ArticleEncoding(), Vocabulary(["a"]), [], [])
    with pytest.raises(ValueError, match="a batch of 2 rows is too small for 3 processes"):
        train(data, NetworkConfig("note", 2, (4,)), TrainConfig(batch=2), tmp_path)
