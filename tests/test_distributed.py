import json
import os
import subprocess
import sys
import textwrap

import pytest

from pianolstm.checkpoint import TrainConfig
from pianolstm.dataset import Dataset
from pianolstm.encodings import ArticleEncoding
from pianolstm.networks import NetworkConfig
from pianolstm.training import train
from pianolstm.vocabulary import Vocabulary

NO_GPU = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # two processes cannot share one

TRAIN = """
    import json, sys
    import numpy as np
    from pianolstm.checkpoint import TrainConfig, train_config
    from pianolstm.dataset import Dataset
    from pianolstm.distributed import process_group, rank, world
    from pianolstm.encodings import ArticleEncoding
    from pianolstm.networks import NetworkConfig
    from pianolstm.training import train
    from pianolstm.vocabulary import Vocabulary

    rng = np.random.default_rng(0)
    walks = [np.cumsum(rng.choice([-1, 1], size=int(n))) % 6 + 1 for n in rng.integers(20, 60, 30)]
    data = Dataset.from_ids(ArticleEncoding(), Vocabulary(list("abcdef")), walks[:24], walks[24:])
    runs = {
        "note": ((16,), TrainConfig(epochs=2, batch=4, steps=8)),
        "article": ((8, 8, 8), train_config("article", epochs=2, batch=16, steps=8,
                                            learning_rate=8e-3)),
    }
    with process_group():
        for name, (hidden, config) in runs.items():
            best = train(data, NetworkConfig(name, 7, hidden, 0.0), config, f"{sys.argv[1]}/{name}")
            if rank() == 0:
                print("history", json.dumps([name, world(), best.history]))
"""


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
    """{(network, number of processes): history} of the same training."""
    folder, found = tmp_path_factory.mktemp("distributed"), {}
    script = folder / "train.py"
    script.write_text(textwrap.dedent(TRAIN))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, start in (("one", [sys.executable]), ("two", torchrun)):
        command = [*start, str(script), str(folder / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=NO_GPU)
        assert done.returncode == 0, done.stderr[-2000:]
        for line in done.stdout.splitlines():
            if line.startswith("history "):
                network, processes, history = json.loads(line.removeprefix("history "))
                found[network, processes] = history
    return found


@pytest.mark.parametrize("network", ["note", "article"])
def test_two_processes_equal_one_at_the_same_batch(histories, network):
    one, two = histories[network, 1], histories[network, 2]
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
