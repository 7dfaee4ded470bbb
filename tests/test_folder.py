import os
from pathlib import Path

import pytest
from mido import Message

from pianolstm.folder import FileResult, FolderReport, find_midi_files, read_folder
from pianolstm.midi import write_midi

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi"


@pytest.fixture
def folder(tmp_path, scale, midi_file):
    """A good file, a damaged one, drums, a file of another kind, and a good one further down."""
    write_midi(scale, tmp_path / "good.mid")
    (tmp_path / "bad.mid").write_bytes(b"")
    drum = {"note": 36, "channel": 9}
    midi_file([Message("note_on", **drum), Message("note_off", time=9, **drum)], name="drums.mid")
    (tmp_path / "notes.txt").write_text("not music")
    (tmp_path / "sub").mkdir()
    write_midi(scale.transpose(1), tmp_path / "sub" / "deep.MIDI")
    return tmp_path


def test_every_file_is_reported_and_the_rest_goes_on(folder):
    report = read_folder(folder)
    assert [piece.name for piece in report.pieces] == ["good"]
    assert report.files == {"read": 1, "empty": 1, "damaged": 1}
    assert report.dropped == {"percussion": 1}
    assert list(report.messages) == ["bad.mid", "drums.mid"]
    assert str(report).splitlines() == [
        "3 files: 1 read, 1 empty, 1 damaged",
        "10 notes kept (music: everything but drums); left out: 1 percussion",
        "  bad.mid: the file is empty (0 bytes). Get another copy of the file",
        "  drums.mid: no notes to learn from (1 percussion). Use a file with at least one pitched "
        "instrument",
    ]


def test_a_note_that_is_lost_shows_in_the_audit():
    report = FolderReport()
    report.add("a.mid", FileResult("read", notes=9, note_ons=11, dropped={"zero length": 1}))
    report.add("b.mid", FileResult("read", notes=5))  # not audited
    assert "audited 1 of 2 pieces: 11 note-ons, 1 unaccounted for" in str(report)


def test_twenty_messages_are_enough():
    report = FolderReport()
    for i in range(25):
        report.add(f"{i}.mid", FileResult("damaged", f"{i}.mid: damaged"))
    assert str(report).endswith("19.mid: damaged\n  … and 5 more")


def test_a_broken_link_and_a_pipe_are_named_with_the_reason(folder):
    (folder / "gone.mid").symlink_to(folder / "nowhere.mid")
    os.mkfifo(folder / "pipe.mid")
    report = read_folder(folder)
    assert report.files == {"read": 1, "empty": 1, "damaged": 3}
    assert "gone.mid: cannot be opened (No such file or directory)" in report.messages["gone.mid"]
    assert "pipe.mid: the file is empty" in report.messages["pipe.mid"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_closed_folder_is_named_with_the_reason(folder):
    (folder / "sub").chmod(0)
    report = read_folder(folder, recursive=True)
    (folder / "sub").chmod(0o700)
    assert "sub: cannot be opened (Permission denied)" in report.messages["sub"]


def test_a_linked_folder_is_followed_once(folder, tmp_path_factory, scale):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_midi(scale.transpose(2), elsewhere / "linked.mid")
    (elsewhere / "round").symlink_to(folder)
    (folder / "one").symlink_to(elsewhere)
    (folder / "two").symlink_to(elsewhere)
    names = [str(path.relative_to(folder)) for path in find_midi_files(folder, recursive=True)]
    assert names == ["bad.mid", "drums.mid", "good.mid", "one/linked.mid", "sub/deep.MIDI"]
    assert len(find_midi_files(folder)) == 3


def test_names_that_are_not_utf_8_are_read_and_written_as_text(tmp_path, scale):
    name = os.fsdecode(b"caf\xe9")
    write_midi(scale, tmp_path / f"{name}.mid")
    (tmp_path / f"{name}2.mid").write_bytes(b"")
    report = read_folder(tmp_path, audit=True)
    assert [piece.name for piece in report.pieces] == [r"caf\xe9"]
    assert r"  caf\xe92.mid: the file is empty" in str(report)
    str(report).encode()  # can be printed


def test_karaoke_and_files_in_a_riff_wrapper_are_read(tmp_path, scale):
    data = write_midi(scale, tmp_path / "song.KAR").read_bytes()
    info = b"LIST" + (4).to_bytes(4, "little") + b"INFO"
    chunk = b"data" + len(data).to_bytes(4, "little") + data
    riff = b"RIFF" + (4 + len(chunk + info)).to_bytes(4, "little") + b"RMID" + chunk + info
    (tmp_path / "song.rmi").write_bytes(riff)
    first, second = read_folder(tmp_path).pieces
    assert first == second == scale and not second.repaired
    (tmp_path / "song.rmi").write_bytes(riff[:60])
    assert "song.rmi: truncated" in read_folder(tmp_path).messages["song.rmi"]


def test_folder_without_midi_files(tmp_path):
    (tmp_path / "folder.mid").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no file that ends in \.mid .*recursive=True"):
        find_midi_files(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Give a folder of MIDI files$"):
        find_midi_files(tmp_path, recursive=True)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_midi_files(tmp_path / "nowhere")


@pytest.mark.skipif(not LENT.is_dir(), reason="the lent MIDI files are not here")
def test_lent_files_read_or_say_why():
    report = read_folder(LENT, recursive=True, audit=True)
    assert report.files == {"read": len(find_midi_files(LENT, True)) - 1, "empty": 1}
    assert list(report.messages) == ["corrupted/empty.mid"]
    assert report.audited == len(report.pieces) and report.unaccounted == 0
