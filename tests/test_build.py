"""The songs of `midi_songs`, and the script that builds them."""

import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from pianolstm.folder import read_folder
from pianolstm.midi import read_midi, write_midi
from pianolstm.midi_bytes import count_note_ons
from pianolstm.split import split_pieces

SAMPLE = ["bach/bwv269.mxl", "bach/bwv66.6.mxl", "schoenberg/opus19/movement6.mxl"]


@pytest.fixture(scope="module")
def built(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    entries = [*SAMPLE, "bach/bwv277.krn", "bach/bwv1.6.mxl", "no/such.mxl"]
    return folder, build.build_songs(folder, entries=entries)


def test_same_music21_same_bytes(built, songs_folder):
    folder, _ = built
    for name in ("bach_bwv269", "bach_bwv066.6", "schoenberg_op19_no6"):
        assert (folder / f"{name}.mid").read_bytes() == (songs_folder / f"{name}.mid").read_bytes()


def test_what_cannot_be_exported_is_named_and_the_rest_goes_on(built):
    _, report = built
    assert len(report.written) == 3
    assert "rights line forbids" in report.skipped["bach/bwv277.krn"]
    assert report.skipped["bach/bwv1.6.mxl"] == "5 parts, not 4"
    assert "FileNotFoundError" in report.skipped["no/such.mxl"]
    assert "no/such.mxl" in str(report)
    notes = sum(len(piece) for _, piece in report.written)
    assert f"3 songs written with {notes:,} notes" in str(report)


def test_a_song_that_reads_back_differently_is_not_written(build, tmp_path, monkeypatch):
    def first_half(piece, path):
        return write_midi(piece.bars(1, 3), path)

    monkeypatch.setattr(build, "write_midi", first_half)
    report = build.build_songs(tmp_path, entries=SAMPLE[:1])
    assert "reads back as something else" in report.skipped[SAMPLE[0]]
    assert not list(tmp_path.glob("*.mid"))


@pytest.mark.parametrize("name", ["notes.txt", "mine.mid", "SOURCES.md"])
def test_a_folder_with_other_files_is_refused(build, built, tmp_path, capsys, name):
    (tmp_path / "SOURCES.md").write_bytes((built[0] / "SOURCES.md").read_bytes())
    (tmp_path / name).write_text("mine")
    with pytest.raises(SystemExit) as stop:
        build.main(["--out", str(tmp_path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"build.py: {tmp_path / name} was not made by this script. Move it")
    assert error.count("\n") == 1
    assert (tmp_path / name).read_text() == "mine"
    assert not list(tmp_path.glob("bach*"))


def test_its_own_folders_can_be_built_again(build, built, songs_folder):
    own = [songs_folder / name for name in ("", "ensemble", "repeats", "new")]
    for folder in (built[0], *own):
        build.refuse_other_files(folder)


def test_a_build_that_is_stopped_writes_nothing(build, tmp_path, capsys, monkeypatch):
    def stop_after_first(entry, *options, build_song=build.build_song):
        if entry != SAMPLE[0]:
            raise KeyboardInterrupt
        return build_song(entry, *options)

    monkeypatch.setattr(build, "candidates", lambda ensemble: SAMPLE)
    monkeypatch.setattr(build, "build_song", stop_after_first)
    with pytest.raises(SystemExit):
        build.main(["--out", str(tmp_path)])
    assert "nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_it_runs_as_a_script(songs_folder):
    command = [sys.executable, str(songs_folder / "build.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--ensemble" in result.stdout


def test_a_pickup_keeps_its_place_in_the_bar(songs_folder):
    piece = read_midi(songs_folder / "bach_bwv269.mid")
    assert piece.time_signatures == ((0, 3, 4),)
    assert piece.onsets[0] == 2.0  # a pick-up of one quarter, on the third beat


def test_repeats_are_not_expanded_and_ties_are_one_note(songs_folder):
    from music21 import corpus

    score = corpus.parse("bach/bwv269")
    struck = {
        (n.offset + 2, p.midi, half)
        for half, parts in enumerate((score.parts[:2], score.parts[2:]))
        for part in parts
        for n in part.flatten().stripTies().notes
        for p in n.pitches
    }
    piece = read_midi(songs_folder / "bach_bwv269.mid")
    ours = {(n["onset"] / 480, int(n["pitch"]), int(n["track"])) for n in piece.notes}
    assert ours == {(float(onset), pitch, half) for onset, pitch, half in struck}


def test_tempo_metre_key_and_staves_are_in_every_file(song_pieces):
    for piece in song_pieces:
        assert piece.track_names == ("Upper staff", "Lower staff")
        assert piece.tempi and piece.time_signatures
        assert piece.key, piece.name


def test_a_key_is_struck_once_at_a_time(build):
    notes = [(60, 3, 2), (60, 0, 2), (60, 0, 4), (64, 0, 9)]  # pitch, onset, duration
    counts = Counter()
    assert build.strike_once(notes, counts) == [(60, 0, 3), (60, 3, 2), (64, 0, 9)]
    assert counts == {"unisons merged": 1, "notes cut where struck again": 1}


def test_sources_quote_the_corpus(build):
    bach = build.read_source("bach/bwv269.mxl")
    assert (bach.catalogue, bach.title) == ("BWV 269", "Aus meines Herzens Grunde")
    assert "Margaret Greentree" in bach.rights
    clara = build.read_source("schumann_clara/polonaise_op1n1.mxl")
    assert "CC BY-SA 4.0" in clara.rights
    assert "Craig Stuart Sapp" in build.read_source("chopin/mazurka06-2.krn").encoder


def test_sources_table_has_a_row_for_every_song(songs_folder):
    table = (songs_folder / "SOURCES.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| (\S+\.mid) \|", table, re.MULTILINE))
    assert listed == {path.name for path in songs_folder.glob("*.mid")}
    size = sum(path.stat().st_size for path in songs_folder.iterdir())
    assert size < 3_000_000


def test_an_ensemble_has_a_named_track_for_each_part(build, tmp_path, songs_folder):
    entries = ["bach/bwv269.mxl", "mozart/k80/movement3.mxl", "beethoven/opus18no1/movement3.mxl"]
    report = build.build_songs(tmp_path, ensemble=True, entries=entries)
    assert "build.py --ensemble`" in (tmp_path / "SOURCES.md").read_text(encoding="utf-8")
    names = [source.file for source, _ in report.written]
    assert names == ["bach_bwv269", "mozart_k80_mvt3", "beethoven_op18no1_mvt3"]
    titles = [(source.catalogue, source.title) for source, _ in report.written[1:]]
    assert titles == [("K. 80", "String quartet, movement 3"),
                      ("Op. 18 No. 1", "String quartet, movement 3")]  # fmt: skip
    for name in names:
        shipped = songs_folder / "ensemble" / f"{name}.mid"
        assert (tmp_path / f"{name}.mid").read_bytes() == shipped.read_bytes()
    choir, strings = (read_midi(tmp_path / f"{name}.mid") for name in names[:2])
    assert choir.track_names == ("Soprano", "Alto", "Tenor", "Bass")
    assert strings.track_names == ("Violin I", "Violin II", "Viola", "Cello")
    programs = {int(n["track"]): int(n["program"]) for n in strings.notes}
    assert programs == {0: 40, 1: 40, 2: 41, 3: 42}
    piano = read_midi(songs_folder / "bach_bwv269.mid")
    assert set(piano.notes["pitch"]) == set(choir.notes["pitch"])


def test_the_ensembles_are_small_and_their_notes_all_accounted_for(songs_folder):
    files = sorted((songs_folder / "ensemble").glob("*.mid"))
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    assert len(files) == 410
    for path in files[::20]:
        assert count_note_ons(path) == len(read_midi(path))


def test_repeats_are_written_out_as_sung(build, tmp_path, songs_folder):
    entries = ["bach/bwv269.mxl", "chopin/mazurka06-2.krn"]
    report = build.build_songs(tmp_path, entries=entries, repeats=True)
    assert "build.py --repeats`" in (tmp_path / "SOURCES.md").read_text(encoding="utf-8")
    for source, _ in report.written:
        built, shipped = (f / f"{source.file}.mid" for f in (tmp_path, songs_folder / "repeats"))
        assert built.read_bytes() == shipped.read_bytes()
    (_, sung), (_, as_printed) = report.written
    onsets = sung.onsets  # seven bars after a pick-up on beat 3, twice
    first, second = ((start <= onsets) & (onsets < start + 21) for start in (2, 23))
    assert np.array_equal(sung.notes["pitch"][first], sung.notes["pitch"][second])
    assert np.array_equal(onsets[first] + 21, onsets[second])
    assert sung.time_signatures == ((0, 3, 4),)  # the second time begins no bar of its own
    assert as_printed.dropped["score as printed, its repeats not understood"] == 1
    assert len(as_printed) == len(read_midi(songs_folder / "chopin_mazurka_op06_no2.mid"))


def test_with_repeats_the_songs_and_the_test_pieces_are_the_same(song_pieces, songs_folder):
    sung = read_folder(songs_folder / "repeats").pieces
    assert {piece.name for piece in sung} == {piece.name for piece in song_pieces}
    assert sum(map(len, sung)) > 1.15 * sum(map(len, song_pieces))
    names = [[{p.name for p in part} for part in split_pieces(s)] for s in (song_pieces, sung)]
    (train, valid, test), (sung_train, sung_valid, sung_test) = names
    assert test == sung_test
    # With its repeats written out it has the top line of two training pieces
    assert sung_train - train == valid - sung_valid == {"bach_bwv244.17"}
