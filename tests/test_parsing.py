from pathlib import Path

import pytest
from mido import Message, MetaMessage

from pianolstm.encodings import ArticleEncoding, article_tokens
from pianolstm.folder import find_midi_files, read_folder
from pianolstm.midi import MidiParseError, read_midi, write_midi
from pianolstm.piece import key_name, key_sharps

SHARED = Path(__file__).resolve().parents[2] / "shared" / "midi"


def on(pitch, time=0, channel=0, velocity=80):
    return Message("note_on", note=pitch, time=time, channel=channel, velocity=velocity)


def off(pitch, time=480, channel=0):
    return Message("note_off", note=pitch, time=time, channel=channel)


def rows(piece):
    return [(int(n["onset"]), int(n["duration"]), int(n["pitch"])) for n in piece.notes]


def test_both_hands_are_read_whatever_they_are_called(midi_file):
    path = midi_file(
        [MetaMessage("track_name", name="")],
        [MetaMessage("track_name", name="x"), on(72), off(72)],
        [on(48, channel=3), off(48, channel=3)],
    )
    piece = read_midi(path)
    assert rows(piece) == [(0, 480, 72), (0, 480, 48)]
    assert piece.track_names == ("x", "Track 2")


def test_overlapping_equal_pitches_are_first_in_first_out(midi_file):
    path = midi_file([on(60), on(60, 240), off(60, 120), off(60, 480)])
    assert rows(read_midi(path)) == [(0, 360, 60), (240, 600, 60)]


def test_percussion_and_zero_length_are_counted(midi_file):
    path = midi_file([on(36, channel=9), off(36, channel=9), on(60), off(60, 0), on(62), off(62)])
    piece = read_midi(path)
    assert rows(piece) == [(480, 480, 62)]
    assert piece.dropped == {"percussion": 1, "zero length": 1}


def test_velocity_zero_ends_a_note(midi_file):
    path = midi_file([on(60), on(60, 240, velocity=0)])
    assert rows(read_midi(path)) == [(0, 240, 60)]


def test_tempo_metre_and_key_are_read(midi_file):
    path = midi_file(
        [MetaMessage("set_tempo", tempo=666_667), MetaMessage("key_signature", key="Em"),
         MetaMessage("time_signature", numerator=3, denominator=8), on(60), off(60)]
    )  # fmt: skip
    piece = read_midi(path)
    assert (piece.tempi, piece.time_signatures) == (((0, 90.0),), ((0, 3, 8),))
    assert piece.key == "E minor"


@pytest.mark.parametrize("minor", [False, True])
@pytest.mark.parametrize("sharps", range(-7, 8))
def test_key_names_are_reversible(sharps, minor):
    assert key_sharps(key_name(sharps, minor)) == (sharps, minor)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.mid"
    path.write_bytes(b"")
    with pytest.raises(MidiParseError, match=r"empty\.mid: the file is empty.*another copy"):
        read_midi(path)


def test_text_file_named_mid(tmp_path):
    path = tmp_path / "text.mid"
    path.write_text("dear diary, today I wrote a waltz")
    with pytest.raises(MidiParseError, match=r"text\.mid: not a MIDI file.*'dear diary, '"):
        read_midi(path)


@pytest.mark.parametrize("cut", [20, 30, 60, -1])
def test_truncated_file(tmp_path, songs_folder, cut):
    path = tmp_path / "cut.mid"
    path.write_bytes((songs_folder / "bach_bwv269.mid").read_bytes()[:cut])
    with pytest.raises(MidiParseError, match=r"cut\.mid: truncated: .*complete copy"):
        read_midi(path)


def test_damaged_events(tmp_path, midi_file):
    data = bytearray(midi_file([on(60), off(60)]).read_bytes())
    data[22:26] = b"\x00\x11\x22\x33"  # a delta time, then data bytes without any status
    path = tmp_path / "damaged.mid"
    path.write_bytes(data)
    with pytest.raises(MidiParseError, match=r"damaged\.mid: the events of a track"):
        read_midi(path)


def test_drums_only(midi_file):
    path = midi_file([on(36, channel=9), off(36, channel=9)], name="drums.mid")
    with pytest.raises(MidiParseError, match=r"drums\.mid: no notes.*1 percussion.*pitched"):
        read_midi(path)


def test_no_notes_at_all(midi_file):
    with pytest.raises(MidiParseError, match="no note events at all"):
        read_midi(midi_file([MetaMessage("track_name", name="silence")]))


def test_missing_file(tmp_path):
    with pytest.raises(MidiParseError, match=r"gone\.mid: cannot be opened"):
        read_midi(tmp_path / "gone.mid")


def test_format_2_and_smpte_time(tmp_path, midi_file):
    data = bytearray(midi_file([on(60), off(60)]).read_bytes())
    for position, value, message in ((9, 2, "MIDI format 2"), (12, 0xE7, "SMPTE")):
        changed = bytearray(data)
        changed[position] = value
        path = tmp_path / "odd.mid"
        path.write_bytes(changed)
        with pytest.raises(MidiParseError, match=message):
            read_midi(path)


def test_folder_reports_every_file_and_goes_on(tmp_path, scale):
    write_midi(scale, tmp_path / "good.mid")
    (tmp_path / "bad.mid").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not music")
    (tmp_path / "sub").mkdir()
    write_midi(scale, tmp_path / "sub" / "deep.MIDI")
    report = read_folder(tmp_path)
    assert [p.name for p in report.pieces] == ["good"]
    assert "bad.mid: the file is empty" in str(report)
    assert "2 files: 1 read, 0 empty, 1 damaged" in str(report)
    assert "music: everything but drums" in str(report)
    assert "not audited" in str(report)
    audited = read_folder(tmp_path, instruments="piano", audit=True)
    assert "audited 1 of 1 pieces: 10 note-ons, 0 unaccounted for" in str(audited)
    assert "music: piano" in str(audited)
    assert len(read_folder(tmp_path, recursive=True).pieces) == 2
    assert read_folder(tmp_path, True, processes=2).pieces == read_folder(tmp_path, True).pieces


def test_what_empty_files_hold_is_counted(tmp_path, midi_file, scale):
    write_midi(scale, tmp_path / "good.mid")
    midi_file([on(36, channel=9), off(36, channel=9)], name="drums.mid")
    report = read_folder(tmp_path)
    assert report.dropped == {"percussion": 1}
    assert "2 files: 1 read, 1 empty, 0 damaged" in str(report)
    assert "drums.mid: no notes to learn from (1 percussion)" in str(report)


def test_folder_without_midi_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file that ends in \.mid"):
        find_midi_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_midi_files(tmp_path / "nowhere")


def test_article_loop_loses_the_hand_that_comes_second(tmp_path, scale):
    """Two tracks without a program change: the article's loop sees one instrument of two."""
    path = write_midi(scale, tmp_path / "two_hands.mid")
    assert len(ArticleEncoding().encode(read_midi(path))) == 8
    ours = {t for token in ArticleEncoding(voicing=True).encode(scale) for t in token.split(".")}
    theirs = {t for token in article_tokens(path) for t in token.split(".")}
    assert "C3" in ours
    assert len(theirs) > 0


def test_our_songs_read_without_loss(song_pieces):
    assert len(song_pieces) > 370
    assert all(not piece.dropped and not piece.repaired for piece in song_pieces)
    assert all(piece.note_ons == len(piece) for piece in song_pieces)
    assert all(len(piece.track_names) == 2 for piece in song_pieces)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the lent MIDI files are not here")
def test_lent_files_read_or_say_why():
    report = read_folder(SHARED, recursive=True, audit=True)
    files = len(find_midi_files(SHARED, True))
    assert len(report.pieces) + len(report.empty) == files
    assert list(report.empty) == ["corrupted/empty.mid"]
    assert all(
        piece.note_ons == len(piece) + sum(piece.dropped.values()) for piece in report.pieces
    )
