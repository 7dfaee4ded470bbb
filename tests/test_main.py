import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pianolstm import commands, output
from pianolstm.__main__ import SETTINGS, arguments, main, options, parser, run, summaries
from pianolstm.checkpoint import FOLDER, load_checkpoint, load_pretrained
from pianolstm.encodings import ArticleEncoding
from pianolstm.evaluation import parallels, part_lines
from pianolstm.midi import read_midi, write_midi


@pytest.fixture
def small_folder(tmp_path, song_pieces):
    folder = tmp_path / "songs"
    folder.mkdir()
    for piece in song_pieces[:30]:
        write_midi(piece, folder / f"{piece.name}.mid")
    return folder


def test_train_evaluate_compose(tmp_path, small_folder, capsys):
    out = tmp_path / "run"
    options = ["--epochs", "2", "--hidden", "16", "--batch", "4", "--set", "memory=past"]
    command = ["train", "--songs", str(small_folder), "--out", str(out), *options]
    assert main([*command, "--export", str(tmp_path / "half.safetensors")]) == 0
    best = out / "best.safetensors"
    exported = load_checkpoint(tmp_path / "half.safetensors")
    assert exported.history == load_checkpoint(best).history
    assert exported.memory is not None and exported.memory.shares[0] == 0
    assert load_checkpoint(best).memory.to_dict() == exported.memory.to_dict()
    assert main(command) == 0  # the same command goes on, here with nothing left to do

    assert main(["evaluate", "--songs", str(small_folder), str(best)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("uniform", "unigram", "bigram", "best"))

    options = ["--length", "12", "--prompt", "C4", "--out", str(tmp_path), "--name", "piece"]
    assert main(["compose", "--checkpoint", str(best), *options]) == 0
    assert len(set(read_midi(tmp_path / "piece.mid").onsets)) == 13
    assert (tmp_path / "piece.mp3").exists() and (tmp_path / "piece.png").exists()


def test_training_says_what_is_kept_where_it_is_stopped(
    tmp_path, small_folder, capsys, monkeypatch
):
    command = ["train", "--songs", str(small_folder), "--out", str(tmp_path / "run")]
    command += ["--epochs", "3", "--hidden", "8"]
    shown, train = commands._shown, commands.train_network

    def stop(row):
        shown(row)
        raise KeyboardInterrupt

    def stop_at_once(*args, **kwargs):
        raise KeyboardInterrupt

    for replaced, name, ending in (
        (
            stop_at_once,
            "train_network",
            "stopped; the epoch is lost. The same command starts again",
        ),
        (stop, "_shown", "The same command goes on from "),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(commands, name, replaced)
            assert main(command) == 130
        assert ending in capsys.readouterr().err
    assert main(command) == 0
    assert "training goes on from " in (error := capsys.readouterr().err) and "epoch   3" in error
    assert main(command) == 0
    assert "no epoch is left" in capsys.readouterr().err and commands.train_network is train
    best = tmp_path / "run" / "best.safetensors"
    lowest = min(row["valid_loss"] for row in load_checkpoint(best).history)
    command[4:] = [str(tmp_path / "new"), "--epochs", "1", "--set", f"start={best}"]
    assert main(command) == 0
    loss = re.search(r"begins from .*, validation (\S+) nats", capsys.readouterr().err)[1]
    assert float(loss) == pytest.approx(lowest, abs=2e-3)


def test_compose_writes_another_piece_each_time_and_overwrites_none(tmp_path, capsys):
    command = ["compose", "--length", "60", "--out", str(tmp_path)]
    assert main([*command, "--pieces", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith(f"{tmp_path / 'composition-2'}.mid, .mp3, .png: ")
    assert "cut off after 60 tokens; network 'form', --seed " in printed[0]
    seeds = [int(re.search(r"--seed (\d+) repeats it", line)[1]) for line in printed]
    assert seeds[1] == seeds[0] + 1
    for seed in (seeds[1], seeds[1] + 1):
        assert main([*command, "--seed", str(seed)]) == 0
    first, second, again, other = (
        read_midi(tmp_path / f"composition{number}.mid") for number in ("", "-2", "-3", "-4")
    )
    assert second == again and first != second != other != first
    assert main(command) == main(command) == 0
    assert read_midi(tmp_path / "composition-5.mid") != read_midi(tmp_path / "composition-6.mid")


@pytest.mark.parametrize("network", ["events", "form"])
def test_a_piece_has_as_many_bars_as_were_asked_for(network, tmp_path, songs_folder):
    song = str(songs_folder / "bach_bwv269.mid")
    options = {"checkpoint": network, "bars": 12, "out": tmp_path, "pieces": 10, "top_p": 0.9}
    for prompt, seed in ((song, 10), (None, 8)):
        for piece in commands.compose(prompt=prompt, seed=seed, **options):
            assert len(piece.bar_starts()) == 12


def test_compose_sounds_and_is_written_as_asked(tmp_path, capsys):
    command = ["compose", "--length", "60", "--seed", "1", "--out", str(tmp_path)]
    wishes = ["--tempo", "60", "--instrument", "CHURCH organ", "--format", "musicxml", "svg", "png"]
    assert main([*command, *wishes]) == 0
    assert ".mid, .mp3, .png, .musicxml, .svg, -score.png: " in capsys.readouterr().out
    piece = read_midi(tmp_path / "composition.mid")
    assert piece.tempi == ((0, 60.0),) and set(piece.notes["program"]) == {19}
    begins = {".svg": "<svg", ".musicxml": "<?xml"}
    for ending, begin in begins.items():
        assert (tmp_path / f"composition{ending}").read_text(encoding="utf-8").startswith(begin)
    pictures = {(tmp_path / f"composition{e}.png").read_bytes() for e in ("", "-score")}
    assert len(pictures) == 2 and all(png.startswith(b"\x89PNG") for png in pictures)


def test_compose_keeps_the_rules_of_four_parts_with_the_ensemble(tmp_path):
    (piece,) = commands.compose(checkpoint="ensemble", length=800, seed=3, out=tmp_path)
    assert len(piece) > 50 and parallels(part_lines(piece))[0] == 0


def test_notices_are_a_short_line_and_details_are_given_on_demand(tmp_path, capsys):
    network = load_pretrained("events")
    broken = network.encoding.decode(["<bos>", "bar:1", "at:0", "pitch:60", "pitch:62", "for:1"])
    assert output.corrections(broken) == ["errors were corrected in it (1): 1 pitch"]
    assert output.corrections(network.encoding.decode(["<bos>", "bar:1", "<eos>"])) == []
    command = ["compose", "--length", "30", "--checkpoint", "article", "--out", str(tmp_path)]
    command += ["--prompt", "C2.D-2.D2.E-2"]
    assert main(command) == 0
    short = capsys.readouterr().err
    assert short == "prompt: tokens were replaced, 1 unknown\n"
    assert main([*command, "--verbose"]) == 0
    assert "replaced, 1 unknown: 0.1.2.3 → " in capsys.readouterr().err


def test_a_folder_of_five_pieces_from_reading_to_composing(tmp_path, song_pieces, capsys):
    folder, store, run = (tmp_path / name for name in ("songs", "data", "run"))
    folder.mkdir()
    for piece in song_pieces[:250:50]:
        write_midi(piece, folder / f"{piece.name}.mid")
    options = ["--encoding", "events", "--performances", "bend"]
    assert main(["read", str(folder), "--out", str(store), *options]) == 0
    train = ["train", "--songs", str(store), "--out", str(run), "--hidden", "8"]
    assert main([*train, "--epochs", "2"]) == 0
    parts = r"5 pieces: (\d) to train on, (\d) to choose the best epoch \(validation\), (\d) for"
    assert sum(map(int, re.search(parts, capsys.readouterr().err).groups())) == 5
    assert main([*train, "--encoding", "rhythm"]) == 2
    refused = capsys.readouterr().err
    assert "which need not be given again" in refused and "Leave --encoding out" in refused
    prompt = str(next(folder.glob("*.mid")))
    compose = ["compose", "--checkpoint", str(run / "best.safetensors"), "--prompt", prompt]
    assert main([*compose, "--length", "200", "--name", "mine", "--out", str(tmp_path)]) == 0
    assert len(read_midi(tmp_path / "mine.mid")) > 8


def test_compose_goes_on_from_a_midi_file(tmp_path, songs_folder, capsys):
    song = songs_folder / "bach_bwv269.mid"
    command = ["compose", "--length", "40", "--out", str(tmp_path), "--prompt", str(song)]
    assert main([*command, "--seed", "53"]) == 0  # which would add a note to the last chord
    assert "prompt: bars 1 to 2 of bach_bwv269\n" in capsys.readouterr().err
    begun, given = (read_midi(path).bars(1, 2) for path in (tmp_path / "composition.mid", song))
    assert sorted(begun.notes["pitch"]) == sorted(given.notes["pitch"])
    assert np.array_equal(np.unique(begun.onsets), np.unique(given.onsets))


def test_a_prompt_of_which_all_is_unknown_still_gives_music_and_a_notice(tmp_path, scale, capsys):
    strange = scale.from_quarters([(i, 1, 20 + i + j) for i in range(4) for j in range(6)])
    path = str(write_midi(strange, tmp_path / "strange.mid"))
    for network in ("article", "note", "rhythm"):
        command = ["compose", "--length", "8", "--out", str(tmp_path), "--name", network]
        assert main([*command, "--checkpoint", network, "--prompt", path]) == 0
        assert "prompt: tokens were replaced, 4 unknown" in capsys.readouterr().err
        assert len(read_midi(tmp_path / f"{network}.mid")) >= 8
    assert main(["compose", "--length", "8", "--out", str(tmp_path), "--prompt", path]) == 0
    assert "unknown" not in capsys.readouterr().err  # events know every note
    assert set(strange.notes["pitch"]) <= set(
        read_midi(tmp_path / "composition.mid").notes["pitch"]
    )


def test_compose_finds_a_place_that_is_no_folder_before_it_writes(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("here")
    monkeypatch.setattr(commands.composing, "compose", None)  # calling it would raise TypeError
    assert main(["compose", "--length", "60", "--out", str(tmp_path / "file")]) == 2
    assert "pianolstm compose: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "--songs", "nowhere"], "no such folder"),
        (["compose", "--checkpoint", "gone.safetensors"], "no such checkpoint"),
        (
            ["compose", "--prompt", "H9", "--length", "3"],
            "H9: 'H9:1' is no chord with its quarters",
        ),
        (["compose", "--prompt", "song.musicxml"], "only MIDI files are read. Export it as MIDI"),
        (["compose", "--prompt", "gone.mid"], "gone.mid: cannot be opened"),
        (["compose", "--length", "0"], "--length 0: give at least 1"),
        (["compose", "--pieces", "0"], "--pieces 0: give at least 1"),
        (["compose", "--name", "sub/x"], "give the folder with --out"),
        (["compose", "--seed", "-1"], "--seed -1: give 0 or more"),
        (["compose", "--checkpoint", "nosuch"], "article, article_2019, ensemble, events, form"),
        (["compose", "--prompt", __file__], "only MIDI files are read"),
        (["compose", "--prompt", "READ.md"], "READ.md: 'READ.md:1' is no chord"),
        (["compose", "--tempo", "0"], "--tempo 0: give 4 to 960 quarters a minute"),
        (["compose", "--format", "pdf"], "--format pdf: choose from musicxml, svg, png"),
        (["compose", "--instrument", "kazoo"], "no instrument 'kazoo'. Choose from Acoustic Grand"),
        (
            ["compose", "--prompt", "C4:0.1"],
            "'C4:0.1' is no chord with its quarters (steps of 1/12)",
        ),
        (["train", "--helpers", "house"], "'events' has no helper house; choose from home, "),
        (["train", "--encoding", "rhythm", "--helpers", "home"], "'rhythm' has no helper home"),
        (["train", "--set", "clip"], "--set clip: give FIELD=VALUE"),
        (
            ["read", ".", "--out", "x", "--set", "clip=0"],
            "--set clip: no field of --encoding, whose fields are",
        ),
        (["train", "--encoding", "morse"], "unknown encoding 'morse'; known are article"),
        (["compose", "--temperature", "0"], "temperature is 0.0; it must be above 0"),
        (["harmonise", "C4:1", "D4:1"], "D4:1 is not expected here. Put notes, or a name with "),
        (["compose", "--prompt", "C4:1", "D4:1"], "Put notes, or a name with spaces, in quotation"),
        (["compose", "--tempi", "90"], "--tempi is not expected here. See --help"),
    ],
)
def test_faults_of_the_user_are_one_line(command, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_compose_says_what_it_leaves_out_of_a_prompt(tmp_path, capsys, scale):
    command = ["compose", "--length", "6", "--out", str(tmp_path), "--prompt"]
    assert main([*command, "C4:1 rest:1"]) == 0
    assert "a rest at its end is left out" in capsys.readouterr().err
    assert main([*command, "C3.G3.E4:1 rest:1 D4", "--checkpoint", "note"]) == 0
    assert "durations and rests left out" in capsys.readouterr().err
    late = scale.from_quarters([(8, 1, 60), (9, 1, 64)])
    assert main([*command, str(write_midi(late, tmp_path / "late.mid"))]) == 0
    assert "prompt: bars 3 to 3" in capsys.readouterr().err


def test_compose_goes_on_where_a_network_writes_nothing(tmp_path, capsys):
    command = ["compose", "--length", "3", "--pieces", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    assert "no note was written. Try another seed or length" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_judge_tells_a_bigram_from_bach(songs_folder, tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(songs_folder.glob("bach_bwv2*.mid"))[:60]:
        shutil.copy(path, few)
    (entry,) = run(["judge", "bigram", "--songs", str(few)])
    assert "told from human in" in capsys.readouterr().out
    assert entry["composer"] == "bigram" and entry["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "article", "--set", "shared=false"], "shared means nothing to the network"),
        (["--set", "optimizer=rmsprop", "--set", "weight_decay=1"], "weight_decay means nothing"),
        (["--final-rate", "0.1", "--set", "constant_rate=true"], "final_rate means nothing"),
        (["--set", "cliff=0"], "no setting 'cliff'. Choose from batch, batch_norm, clip"),
        (["--encoding", "events", "--set", "voicing=true"], "no setting 'voicing'"),
        (["--epochs", "0"], "--epochs 0: give at least 1"),
        (["--steps", "0"], "--steps 0: give at least 1"),
        (["--batch", "0"], "--batch 0: give at least 1"),
        (["--last"], "last says which epoch export writes"),
        (["--transpose-until", "60"], "a share is between 0 and 1"),
        (["--set", "memory=long"], "choose past or ngrams, or leave it out"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    small_folder, tmp_path, capsys, options, message
):
    out = ["--songs", str(small_folder), "--out", str(tmp_path / "run")]
    assert main(["train", *out, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", summaries())
def test_help_is_one_screen_in_which_every_option_is_described(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert len(capsys.readouterr().out.splitlines()) <= (24 if command == "compose" else 25)
    function = getattr(commands, command)
    found = options(function)
    assert all(len(words["help"]) > 5 for words in found.values())
    flags = {flag.strip("-").replace("-", "_") for flag in found}
    parameters = inspect.signature(function).parameters.keys() - {"settings", "command"}
    assert parameters <= flags


def printed_commands():
    """Every command that a notebook, a stored result or a checkpoint shows."""
    root = Path(__file__).parents[1]
    files = [*root.glob("notebooks/*.ipynb"), *FOLDER.glob("*.jsonl")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    text += "\n".join(load_checkpoint(p).command for p in FOLDER.glob("*.safetensors"))
    text = re.sub(r' \\"([^"\\]*)\\"', r" '\1'", text)  # an argument, its quotes as JSON has them
    found = re.findall(r"(.{24})python -m pianolstm ([a-z][^`\"\n\\…]*)", "\n" * 24 + text, re.S)
    earlier = re.compile("--average|--no-locked")  # options that an older commit had
    return sorted(
        {line.strip() for before, line in found if "git checkout" not in before}
        - {line.strip() for _, line in found if earlier.search(line)}
    )


def test_every_command_that_we_print_is_understood():
    lines = printed_commands()
    assert len(lines) > 30
    for line in lines:
        argv = shlex.split(line)
        args = vars(parser(argv[0]).parse_args(argv))
        found = arguments(getattr(commands, args.pop("command")), args)
        settings = {k: v for k, v in found.items() if k in {*SETTINGS, "clip", "warmup"}}
        if argv[0] in ("train", "benchmark"):
            known = found.get("encoding") or ArticleEncoding()
            commands.configure(found.get("network", "note"), known, 10, settings)


def test_threads_sleep_while_they_wait_and_torch_is_not_loaded_for_help():
    code = (
        "import os, sys, pianolstm.__main__; print(os.environ['GOMP_SPINCOUNT'], "
        "{'torch', 'music21'} & set(sys.modules))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=True, env=environment)  # fmt: skip
    assert done.stdout.strip() == "300 set()"


def test_a_console_without_our_characters_does_not_decide_the_exit_status(small_folder, tmp_path):
    (small_folder / os.fsdecode(b"caf\xe9.mid")).write_bytes(b"")
    command = [sys.executable, "-m", "pianolstm", "read", small_folder, "--out", tmp_path / "store"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert r"\u2192" in done.stdout and r"caf\xe9.mid: the file is empty" in done.stdout
    assert r"caf\xe9.mid,damaged" in (tmp_path / "store" / "report.csv").read_text(encoding="utf-8")


def test_harmonise_writes_a_score_and_says_what_it_took(tmp_path, capsys):
    options = ["--checkpoint", "rolls", "--particles", "4", "--out", str(tmp_path)]
    command = ["harmonise", "C5.E5:1 D5:1 E5:0.5 rest:0.5 C5:2", "--pieces", "2", *options]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "melody: the top line is taken, 4 of 5 notes" in printed.err
    assert "harmonisation-2.mid, .mp3, .png, .musicxml: " in printed.out
    piece = read_midi(tmp_path / "harmonisation.mid")
    assert {76, 74, 72} <= set(piece.notes["pitch"].tolist()) and len(piece) > 4
    assert (tmp_path / "harmonisation.musicxml").read_text().startswith("<?xml")
    assert main(command) == 0 and (tmp_path / "harmonisation-4.mid").exists()
    assert main(["harmonise", "rest:4", *options]) == 2
    assert "no note in the melody" in capsys.readouterr().err
