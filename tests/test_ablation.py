import json
import shlex

from pianolstm.__main__ import parser


def test_a_row_makes_one_change_and_every_command_can_be_typed(ablation):
    every = list(ablation.runs())
    assert len({run.command for run in every}) == len({run[::2] for run in every}) == len(every)
    for run in every:
        parser("benchmark").parse_args(shlex.split(run.command)[3:])
    recipe = len(shlex.split(ablation.RECIPE))
    changes = [shlex.split(run.options)[recipe:] for run in every if "--epochs 45" in run.options]
    assert all(len(change) <= 2 or "optimizer=rmsprop" in change for change in changes)


def test_stored_lines_are_of_planned_runs_and_hold_no_test_loss(ablation):
    planned = {run.command: run for run in ablation.runs()}
    lines = [json.loads(line) for line in ablation.STORED.read_text("utf-8").splitlines()]
    assert len({line["command"] for line in lines}) == len(lines)
    for line in lines:
        assert planned[line["command"]][::2] == (line["row"], line["seed"])
        assert "test" not in line and (4 < line["valid"] < 6 or line["row"].endswith("speed"))


def test_only_what_is_missing_is_trained(ablation, tmp_path, monkeypatch):
    asked = []

    def benchmark(argv):
        asked.append(argv)
        return {"valid": 4.5, "test": 4.4, "parameters": 1, "minutes": 2, "tokens_per_second": 3}

    monkeypatch.setattr(ablation, "pianolstm", benchmark)
    stored = tmp_path / "stored.jsonl"
    paths = ["--out", str(stored), "--runs", str(tmp_path / "runs")]
    for rows, trained in ((["no dropout"], 3), (["no dropout", "GRU, speed"], 8)):
        monkeypatch.setattr("sys.argv", ["ablation.py", "JSB.mat", *paths, "--row", *rows])
        ablation.main()
        assert len(asked) == len(stored.read_text().splitlines()) == trained
    assert asked[0][:2] == ["benchmark", "JSB.mat"]
    assert asked[2][-2:] == ["--dropout", "0"] and asked[2][3:5] == ["--seed", "2"]
