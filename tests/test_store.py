import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mido import Message

from pianolstm.__main__ import main
from pianolstm.dataset import Dataset, prepare
from pianolstm.encodings import ArticleEncoding, EventEncoding
from pianolstm.folder import find_midi_files, read_folder
from pianolstm.grid import quantise
from pianolstm.midi import read_midi, write_midi
from pianolstm.store import ReadConfig, StoreError, build_store, encode_file, is_store
from pianolstm.vocabulary import ALL_KEYS


def rows(store):
    with open(Path(store) / "report.csv", encoding="utf-8", newline="") as table:
        return {row["file"]: row for row in csv.DictReader(table)}


@pytest.fixture(scope="module")
def piano_songs(tmp_path_factory, songs_folder):
    """The 376 songs without the ensembles that lie in a folder below them."""
    folder = tmp_path_factory.mktemp("piano")
    for path in songs_folder.glob("*.mid"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def our_store(tmp_path_factory, piano_songs):
    out = tmp_path_factory.mktemp("stores") / "songs"
    return build_store(piano_songs, out, ReadConfig(audit=True)), Dataset.load(out)


def own_keys(store):
    """The ids of each piece in its own key, by its name."""
    found = {}
    for part, pieces in enumerate((store.train_own_key, store.valid, store.test)):
        found |= zip(np.array(store.names)[store.parts == part], pieces, strict=True)
    return found


def test_a_store_holds_the_tokens_of_its_files(our_store, songs_folder):
    report, store = our_store
    assert report.files["read"] == len(store.names) == 375
    assert report.note_ons == report.notes + report.dropped.total() == 90_481
    for name, ids in list(own_keys(store).items())[::25]:
        expected = encode_file(songs_folder / name, ReadConfig()).tokens.split(" ")
        got = store.vocabulary.decode(ids)
        assert all(a in (b, "<unk>") for a, b in zip(got, expected, strict=True))


def test_a_store_splits_and_numbers_as_prepare_does(our_store, song_pieces):
    """The same music both ways, where the grid changes nothing; of two equal files it keeps one."""
    _, store = our_store
    data = prepare(song_pieces, ArticleEncoding(), chorales_only=False)
    place = {Path(name).stem: i for i, name in enumerate(store.names)}
    for part, pieces in enumerate(data.split):
        assert all(store.parts[place[p.name]] == part for p in pieces if p.name in place)
    assert len(data.parts) - len(store.parts) == 1
    assert data.vocabulary == store.vocabulary
    mine = next(i for i, p in enumerate(data.split.train) if p.name == "bach_bwv269")
    stored = np.flatnonzero(store.parts == 0).tolist().index(place["bach_bwv269"])
    for key in range(len(ALL_KEYS)):
        assert np.array_equal(store.train[stored][key], data.train[mine][key])


def test_commands_read_and_train(tmp_path, piano_songs, capsys):
    store = tmp_path / "store"
    assert main(["read", str(piano_songs), "--out", str(store), "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    assert "376 files" in printed
    assert "1 duplicate" in printed
    command = ["train", "--songs", str(store), "--hidden", "8", "--seconds", "0.1", "--epochs", "1"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    other = ["--encoding", "events", "--out", str(tmp_path / "run2")]
    assert main([*command, *other]) == 2
    assert "Leave --encoding out" in capsys.readouterr().err
    assert main([*command, "--only", "bach_*"]) == 2
    assert "a token store is used whole" in capsys.readouterr().err


@pytest.fixture
def mixed_folder(tmp_path, scale, midi_file, songs_folder):
    """One of each: good, in a subfolder, duplicate, empty, damaged, not MIDI, without a beat."""
    folder = tmp_path / "mixed"
    (folder / "deep" / "er").mkdir(parents=True)
    songs = find_midi_files(songs_folder)
    for i in range(40):  # enough for every part of the split
        (folder / f"song{i}.mid").write_bytes(songs[i * 9].read_bytes())
    write_midi(scale, folder / "deep" / "er" / "scale.MID")
    write_midi(scale, folder / "deep" / "scale again.mid")
    (folder / "bad.mid").write_bytes(songs[0].read_bytes()[:300])
    (folder / "zero.mid").write_bytes(b"")
    (folder / "silence.mid").write_bytes(midi_file([]).read_bytes())
    (folder / "notes.txt").write_text("no music")
    random = np.random.default_rng(0).integers(0, 480 * 100, 200)
    free = scale.from_quarters([(t / 480, 0.5, 60 + t % 12) for t in random])
    write_midi(free, folder / "free.mid")
    return folder


def test_every_file_is_accounted_for(mixed_folder, tmp_path):
    report = build_store(mixed_folder, tmp_path / "out")
    table = rows(tmp_path / "out")
    assert len(table) == 46
    assert report.files == {"read": 42, "damaged": 2, "empty": 1, "duplicate": 1}
    assert table["bad.mid"]["status"] == table["zero.mid"]["status"] == "damaged"
    assert "bad.mid: truncated" in str(report)
    assert "zero.mid: the file is empty" in str(report)
    assert table["silence.mid"]["status"] == "empty"
    assert table["deep/scale again.mid"]["message"] == "same notes as deep/er/scale.MID"
    assert "no beat" in table["free.mid"]["message"] and report.performances == 1
    assert "1 pieces without a beat left as played" in str(report)
    assert "everything but drums" in str(report)


def test_performances_can_be_dropped_or_bent(mixed_folder, tmp_path):
    build_store(mixed_folder, tmp_path / "kept")
    dropped = build_store(mixed_folder, tmp_path / "dropped", ReadConfig(performances="drop"))
    bent = build_store(mixed_folder, tmp_path / "bent", ReadConfig(performances="bend"))
    assert "1 performance" in str(dropped)
    assert bent.performances == dropped.performances == 1
    assert "1 pieces without a beat bent to the grid" in str(bent)
    assert "left as it was played" in rows(tmp_path / "kept")["free.mid"]["message"]
    assert rows(tmp_path / "dropped")["free.mid"]["status"] == "performance"
    assert dropped.dropped["in performances without a beat"] == 200
    assert "the furthest moved by 0.1" in rows(tmp_path / "bent")["free.mid"]["message"]


def test_several_processes_give_the_same_store(mixed_folder, tmp_path):
    build_store(mixed_folder, tmp_path / "one", processes=1)
    build_store(mixed_folder, tmp_path / "two", processes=2)
    for name in ("ids.bin", "report.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_taken_place_and_an_empty_folder(mixed_folder, tmp_path):
    with pytest.raises(StoreError, match="exists already"):
        build_store(mixed_folder, tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"no file that ends in \.mid"):
        build_store(empty, tmp_path / "x")
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "zero.mid").write_bytes(b"")
    with pytest.raises(StoreError, match=r"no notes to store(.|\n)*zero\.mid: the file is empty"):
        build_store(silent, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="performances='swing'; choose from keep, drop, bend"):
        ReadConfig(performances="swing")
    with pytest.raises(ValueError, match=r"grid \(0, 3\): give divisions of a quarter"):
        ReadConfig(grid=(0, 3))
    with pytest.raises(ValueError, match=r"'events' writes times in 1/12.*'drop' or 'bend'"):
        ReadConfig(EventEncoding())
    with pytest.raises(ValueError, match=r"give a grid that divides it"):
        ReadConfig(EventEncoding(), grid=(5,), performances="bend")
    with pytest.raises(ValueError, match="no instrument 'kazoo'"):
        ReadConfig(instruments="kazoo")


def test_a_fault_of_ours_is_named_and_does_not_stop_the_rest(mixed_folder, tmp_path, monkeypatch):
    def fails_once(piece, *options, **more):
        if piece.name == "song3":
            raise ZeroDivisionError("oh")
        return quantise(piece, *options, **more)

    monkeypatch.setattr("pianolstm.store.quantise", fails_once)
    report = build_store(mixed_folder, tmp_path / "out")
    assert report.files["failed"] == 1
    assert "song3.mid: reading failed (ZeroDivisionError: oh). Please report it" in str(report)


def test_a_store_that_is_not_whole_is_refused(mixed_folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(StoreError, match=r"no whole token store.*python -m pianolstm read"):
        Dataset.load(out)
    build_store(mixed_folder, out)
    header = json.loads((out / "store.json").read_text())
    (out / "store.json").write_text(json.dumps(header | {"lengths": header["lengths"][:-1]}))
    with pytest.raises(StoreError, match=r"tokens promised, .* are there\). Make one"):
        Dataset.load(out)
    (out / "store.json").write_text(json.dumps(header))
    (out / "ids.bin").unlink()
    with pytest.raises(StoreError, match="no whole token store"):
        Dataset.load(out)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_nothing_looks_finished(tmp_path, songs_folder, how):
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    songs = [shutil.copy(path, tmp_path) for path in find_midi_files(songs_folder)[:50]]
    for i in range(12_000):  # many, so that even a busy machine stops it in the middle
        os.link(songs[i % 50], folder / f"{i}.mid")
    command = [sys.executable, "-m", "pianolstm", "read", str(folder), "--out", str(out)]
    heed_ctrl_c = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored in background
    process = subprocess.Popen([*command, "--processes", "2"], stderr=subprocess.PIPE,
                               start_new_session=True, preexec_fn=heed_ctrl_c)  # fmt: skip
    report = tmp_path / "out.unfinished" / "report.csv"
    while not (report.exists() and report.stat().st_size > 10_000):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as Ctrl-C does: to the readers as well
    else:
        process.send_signal(how)
    error = process.communicate(timeout=120)[1].decode()
    assert not is_store(out)
    with pytest.raises(StoreError, match="no whole token store"):
        Dataset.load(tmp_path / "out.unfinished")
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "stopped; nothing was written" in error
        assert "Traceback" not in error
        assert not (tmp_path / "out.unfinished").exists()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # the readers end with their parent
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("processes are left over")


def resident_bytes(group: int) -> int:
    """Memory of all processes of a group."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text().rsplit(")", 1)[1].split()
            if int(text[2]) == group:
                total += int(text[21]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ProcessLookupError):
            continue  # it ended meanwhile
    return total


def write_variants(folder: Path, songs: Path, count: int) -> None:
    """Write `count` files: our songs cut to 4 to 16 bars and transposed, 1,000 to a folder."""
    pieces = read_folder(songs).pieces
    bars = [len(piece.bar_starts()) for piece in pieces]
    variants = (
        piece.bars(start, start + length - 1).transpose(semitones)
        for length in (16, 12, 8, 6, 5, 4)
        for start in range(1, max(bars))
        for piece, last in zip(pieces, bars)
        if start + length - 1 <= last
        for semitones in range(-5, 7)
    )
    for number, piece in enumerate(itertools.islice(filter(len, variants), count)):
        place = folder / f"{number // 1000:03d}"
        place.mkdir(exist_ok=True)
        write_midi(piece, place / f"{number % 1000:03d}.mid")
    assert number == count - 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_a_collection_of_130_000_files(tmp_path, songs_folder):
    """In five minutes on two cores and under 2 GiB; damaged files are all named."""
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    write_variants(folder, songs_folder, 129_990)
    whole = find_midi_files(songs_folder)[0].read_bytes()
    damaged = [f"damaged {i}.mid" for i in range(10)]
    for i, name in enumerate(damaged):
        (folder / f"{12 * i:03d}" / name).write_bytes(whole[: 100 * (i + 1)])
    command = [sys.executable, "-m", "pianolstm", "read", str(folder), "--out", str(out)]
    start, most = time.perf_counter(), 0
    process = subprocess.Popen([*command, "--processes", "2"], stdout=subprocess.PIPE,
                               start_new_session=True)  # fmt: skip
    while process.poll() is None:
        most = max(most, resident_bytes(process.pid))
        time.sleep(0.5)
    seconds = time.perf_counter() - start
    summary = process.stdout.read().decode()
    size = sum(path.stat().st_size for path in folder.rglob("*.mid"))
    print(f"\n{summary}{size / 1e6:.0f} MB; {seconds:.0f} s; {most / 2**30:.2f} GiB at most")
    assert summary.startswith("130,000 files")
    assert all(name in summary for name in damaged)
    assert seconds < 300
    assert most < 2 * 2**30


def test_a_store_of_events_holds_what_the_encoding_gives(tmp_path, songs_folder):
    config = ReadConfig(EventEncoding(tracks=True), performances="bend")
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted((songs_folder / "ensemble").glob("bach_bwv1*.mid"))[:40]:
        shutil.copy(path, folder)
    report = build_store(folder, tmp_path / "out", config)
    store = Dataset.load(tmp_path / "out")
    assert store.encoding == config.encoding
    assert store.vocabulary.tokens[1:] == sorted(config.encoding.all_tokens())
    first = store.vocabulary.decode(own_keys(store)[store.names[0]])
    assert first[0] == "<bos>" and first[-1] == "<eos>"
    assert report.notes == sum(len(read_midi(path)) for path in folder.glob("*.mid"))
    columns = ["onset", "duration", "pitch", "program"]
    notes = quantise(read_midi(folder / store.names[0])).piece.notes
    decoded = config.encoding.decode(first).notes
    assert sorted(decoded[columns].tolist()) == sorted(notes[columns].tolist())


def test_a_piece_that_the_encoding_has_no_tokens_for_is_named(midi_file, tmp_path):
    note = [Message("note_on", note=60, velocity=80), Message("note_off", note=60, time=9)]
    path = midi_file(*[note] * 65, name="crowd.mid")
    config = ReadConfig(EventEncoding(tracks=True), performances="bend")
    message = r"1 failed(?s:.*)crowd\.mid: piece 'crowd' has a track 65"
    with pytest.raises(StoreError, match=message):
        build_store(path.parent, tmp_path / "out", config)


def test_too_few_tunes_leave_no_store(tmp_path, scale):
    for i in range(3):  # one tune in three keys
        write_midi(scale.transpose(i), tmp_path / f"{i}.mid")
    (tmp_path / "none.mid").write_bytes(b"")
    with pytest.raises(StoreError, match="1 different pieces are too few") as caught:
        build_store(tmp_path, tmp_path / "out")
    assert "none.mid: the file is empty" in str(caught.value)  # perhaps one of those that lack
    assert not list(tmp_path.glob("out*"))
