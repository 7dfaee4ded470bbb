import base64
from itertools import pairwise
from types import SimpleNamespace

import music21
import numpy as np
import pytest
import symusic
from hypothesis import given
from hypothesis import strategies as st
from music21 import converter

from pianolstm.display import score, write_musicxml
from pianolstm.display.notation import voices
from pianolstm.display.score import coloured, engrave, misplaced_notes, to_musicxml
from pianolstm.display.staves import to_stream
from pianolstm.grid import quantise
from pianolstm.midi import read_midi
from pianolstm.piece import Piece

note = st.tuples(st.integers(0, 4000), st.integers(1, 2000), st.integers(0, 127))


def engraved(piece):
    """verovio's own MIDI of the engraving."""
    return symusic.Score.from_midi(base64.b64decode(engrave(piece).renderToMIDI()))


def test_the_engraving_holds_every_onset_and_pitch_of_20_songs(song_pieces):
    for song in song_pieces[::19]:
        piece = song.bars(1, 6)
        midi = engraved(piece)
        found = [(n.start, n.pitch) for track in midi.tracks for n in track.notes]
        ticks = np.round(piece.onsets * midi.ticks_per_quarter).astype(int)
        assert sorted(found) == sorted(zip(ticks.tolist(), piece.notes["pitch"].tolist()))
        assert midi.tempos[0].qpm == pytest.approx(piece.tempi[0][1], rel=0.01)


@pytest.mark.parametrize("name", ["mozart_k80_mvt3", "bach_bwv269", "haydn_op1no1_mvt2"])
def test_four_parts_get_four_staves_with_their_names_and_every_note(songs_folder, name):
    piece = quantise(read_midi(songs_folder / "ensemble" / f"{name}.mid")).piece.bars(1, 8)
    assert misplaced_notes(piece, engrave(piece)) == 0
    xml = to_musicxml(piece)
    assert xml.count("<score-part ") == 4
    assert all(f"<part-name>{part}</part-name>" in xml for part in piece.track_names)
    assert score(piece).png.startswith(b"\x89PNG")


@given(st.lists(note, max_size=40))
def test_nothing_overlaps_within_a_voice_and_nothing_is_lost(rows):
    notes = Piece.from_quarters([(on / 480, length / 480, p) for on, length, p in rows]).notes
    found = set()
    for voice in voices(notes):
        assert all(chord.end <= after.onset for chord, after in pairwise(voice))
        found |= {(chord.onset, chord.end, pitch) for chord in voice for pitch in chord.pitches}
    assert found == {(on, on + length, pitch) for on, length, pitch, *_ in notes.tolist()}


def test_the_top_voice_holds_the_tune():
    tune = [(i, 1, 72 + i) for i in range(4)]
    top, second = voices(Piece.from_quarters([(0, 2, 60), (2, 2, 62), *tune]).notes)
    assert [chord.pitches for chord in top] == [[72], [73], [74], [75]]
    assert [chord.pitches for chord in second] == [[60], [62]]


def test_musicxml_holds_every_note(scale, tmp_path):
    path = write_musicxml(scale, tmp_path / "scale.musicxml")
    read = converter.parse(path, forceSource=True)
    pitches = sorted(p.midi for n in read.stripTies().recurse().notes for p in n.pitches)
    assert pitches == sorted(scale.notes["pitch"].tolist())


def test_an_accidental_is_written_once_for_tied_notes():
    xml = to_musicxml(Piece.from_quarters([(0.5, 7 / 6, 61)]))
    assert xml.count("<accidental>") == 1
    assert xml.count('<tie type="start"') == xml.count('<tie type="stop"') == 1


def test_a_performance_without_a_beat_is_put_on_the_grid_and_the_picture_says_so():
    random = np.random.default_rng(0)
    onsets = np.cumsum(random.uniform(0.1, 0.9, 60))
    piece = Piece.from_quarters([(onset, 0.4, 60 + i % 9) for i, onset in enumerate(onsets)])
    assert not quantise(piece).has_beat
    drawn = score(piece)
    wrong = misplaced_notes(piece, engrave(piece))
    assert wrong > 40 and "NOT where they sound" in drawn.text
    line = f">{wrong} of 60 notes were moved to the grid: this is a performance without a beat<"
    assert line in drawn.svg and drawn.png.startswith(b"\x89PNG")
    assert misplaced_notes(quantise(piece, bend=True).piece, engrave(piece)) == 0


@pytest.mark.parametrize(("ticks", "wrong"), [(-1, 0), (1, 0), (2, 500)])
def test_a_tick_of_the_engraver_is_allowed_wherever_it_falls(ticks, wrong):
    """Late in a long piece rounding made one tick look like more, and the score warned falsely."""
    onsets = [4 * bar + 5 / 24 for bar in range(100, 600)]
    piece = Piece.from_quarters([(onset, 1, 60) for onset in onsets], 24)
    engraved = symusic.Score(120)
    engraved.tracks.append(symusic.Track())
    for onset in onsets:
        engraved.tracks[0].notes.append(symusic.Note(round(120 * onset) + ticks, 60, 60, 80))
    midi = base64.b64encode(engraved.dumps_midi()).decode()
    assert misplaced_notes(piece, SimpleNamespace(renderToMIDI=lambda: midi)) == wrong


def test_a_right_score_says_nothing(scale):
    assert "stand off the grid" not in score(scale).svg


def test_the_text_says_what_is_not_engraved_where_it_sounds():
    run = Piece.from_quarters([(i * 2 / 13, 2 / 13, 60 + i) for i in range(13)], name="thirteen")
    assert repr(score(run)).endswith("13 notes, 12 of them NOT where they sound")
    assert ">12 of 13 notes stand off the grid<" in score(run).svg


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("E- major", "E- F G A- B- C D E-"),
        ("D- major", "D- E- F G- A- B- C D-"),
        ("B major", "B C# D# E F# G# A# B"),
        ("G- major", "G- A- B- C- D- E- F G-"),
        ("F# minor", "F# G# A B C# D E# F#"),
        (None, "C D E F G A B C"),
    ],
)
def test_a_scale_is_spelled_by_its_key(key, names):
    pitches = [music21.pitch.Pitch(name).midi for name in names.split()]
    rising = [pitch + 12 * (i > 0 and pitch < pitches[0]) for i, pitch in enumerate(pitches)]
    rising[-1] = rising[0] + 12
    piece = Piece.from_quarters([(i, 1, pitch) for i, pitch in enumerate(rising)], key=key)
    written = [note.pitches[0] for note in to_stream(piece).parts[0].recurse().notes]
    assert [pitch.name for pitch in written] == names.split()
    assert [pitch.midi for pitch in written] == rising
    shown = [pitch for pitch in written if pitch.accidental.displayStatus]
    assert [pitch.name for pitch in shown] == (["E#"] if key == "F# minor" else [])


def test_an_accidental_holds_for_all_voices_of_its_bar_and_is_taken_back_in_the_next():
    rows = [(0, 2, 76), (2, 1, 72), (3, 1, 79), (0, 1, 73), (1, 3, 67), (4, 4, 73), (8, 4, 72)]
    notes = to_stream(Piece.from_quarters(rows)).parts[0].recurse().notes
    shown = [(n.getOffsetInHierarchy(n.activeSite), p) for n in notes for p in n.pitches]
    printed = [pitch.nameWithOctave for _, pitch in shown if pitch.accidental.displayStatus]
    assert sorted(printed) == ["C#5", "C#5", "C5", "C5"]


def test_silence_is_printed_as_rests_to_the_end():
    piece = Piece.from_quarters(
        [(0, 1, 72), (1.5, 0.5, 74), (8, 2.5, 76), (0, 2, 48, 1)], name="general_pause"
    )
    assert repr(score(piece)) == "Score of general_pause: 3 bars, 4 notes"
    upper, lower = to_stream(piece).parts
    lengths = [[r.quarterLength for r in part[music21.note.Rest]] for part in (upper, lower)]
    assert lengths == [[0.5, 2, 4, 0.5, 1], [2, 4, 4]]
    assert to_musicxml(piece).count("light-heavy") == 1


def test_bars_are_those_of_the_piece_where_the_metre_changes_inside_a_bar():
    metres = ((0, 4, 4), (480 * 6, 3, 4), (480 * 11, 5, 8))
    rows = [(i / 2, 0.5, 60 + i) for i in range(27)]
    piece = Piece.from_quarters(rows, time_signatures=metres, name="metres")
    bars = to_stream(piece).parts[1][music21.stream.Measure]
    assert [bar.offset * 480 for bar in bars] == piece.bar_starts()
    assert repr(score(piece)) == "Score of metres: 5 bars, 27 notes"


def test_a_metre_that_is_stated_again_is_not_printed_again():
    metres = ((0, 3, 4), (480 * 3, 3, 4), (480 * 6, 2, 4))
    piece = Piece.from_quarters([(0, 8, 60)], time_signatures=metres)
    shown = to_stream(piece).parts[0].recurse().getElementsByClass(music21.meter.TimeSignature)
    assert [metre.ratioString for metre in shown] == ["3/4", "2/4"]


def test_the_lower_part_stands_on_the_bass_staff_whatever_the_order_of_tracks():
    left, right = [(i, 1, 41 + i, 0) for i in range(4)], [(i, 1, 74, 1) for i in range(4)]
    upper, lower = to_stream(Piece.from_quarters(left + right)).parts
    assert {n.pitches[0].midi for n in upper.recurse().notes} == {74}
    assert [part[music21.clef.Clef].first().sign for part in (upper, lower)] == ["G", "F"]


def test_a_program_change_and_a_track_without_notes_make_no_new_part():
    rows = [(0, 1, 72, 0), (0, 1, 45, 1), (1, 1, 74, 2), (1, 1, 47, 1)]
    notes = Piece.from_quarters(rows).notes.copy()
    notes["program"] = notes["track"] == 2
    names = ("Piano", "Piano", "Piano", "Lyrics")
    parts = to_stream(Piece(notes, track_names=names)).parts
    assert [[n.pitches[0].midi for n in part.recurse().notes] for part in parts] == [
        [72, 74],
        [45, 47],
    ]


def test_nothing_comes_after_the_last_note():
    piece = Piece.from_quarters(
        [(0, 4, 60)],
        tempi=((0, 90.0), (480 * 400, 60.0)),
        time_signatures=((0, 4, 4), (480 * 400, 3, 4)),
    )
    upper = to_stream(piece).parts[0]
    assert len(upper[music21.stream.Measure]) == len(upper[music21.tempo.MetronomeMark]) == 1


def test_a_ritardando_written_note_by_note_has_one_mark_a_bar():
    tempi = tuple((240 * i, 90.0 - i) for i in range(12))
    piece = Piece.from_quarters([(i / 2, 0.5, 60) for i in range(12)], tempi=tempi)
    marks = to_stream(piece).parts[0][music21.tempo.MetronomeMark]
    assert [mark.number for mark in marks] == [90, 83, 79]  # the first of all, the last of each


def test_two_voices_have_stems_up_and_down_and_one_voice_has_neither():
    two = [(0, 4, 52), (0, 1, 60), (1, 1, 62), (2, 2, 64), (4, 2, 59), (4, 2, 50), (6, 2, 60)]
    piece = Piece.from_quarters([*two, (6, 1, 48), (7, 1, 50), (0, 8, 84, 1)], name="voices")
    upper, lower = to_stream(piece).parts
    stems = {"up": [], "down": []}
    for note in lower.recurse().notes:
        stems[note.stemDirection].append(note.pitches[0].midi)
    assert stems == {"up": [60, 62, 64, 59, 60], "down": [52, 50, 48, 50]}
    assert {note.stemDirection for note in upper.recurse().notes} == {"unspecified"}
    assert repr(score(piece)) == "Score of voices: 2 bars, 10 notes"


def test_a_rest_is_printed_once_and_only_where_the_staff_is_silent():
    rows = [(0, 1, 76), (2, 1, 77), (0, 3, 60), (0, 4, 48, 1)]
    upper, _ = to_stream(Piece.from_quarters(rows)).parts
    rests = [
        [(r.offset, r.style.hideObjectOnPrint) for r in v[music21.note.Rest]]
        for v in upper.recurse(streamsOnly=True).getElementsByClass(music21.stream.Voice)
    ]
    assert rests == [[(1, True), (3, False)], [(3, True)]]


def test_a_silent_bar_that_a_change_of_metre_cuts_short_moves_no_note():
    metres = ((0, 4, 4), (480 * 5, 3, 4))  # the second bar has a quarter
    rows = [(0, 4, 72), (5, 1, 74), (7, 1, 76), (8, 3, 77)]
    piece = Piece.from_quarters(rows, time_signatures=metres)
    assert misplaced_notes(piece, engrave(piece)) == 0


def test_triplets_among_rests_and_sixteenths_are_where_they_sound():
    times = [(0, 3), (4, 2), (6, 2), (9, 3), (12, 3), (16, 2), (18, 3), (21, 3), (28, 2), (32, 4)]
    rows = [(onset / 12, length / 12, 60 + i) for i, (onset, length) in enumerate(times)]
    rows += [(4 + i / 6, 1 / 6, 60 + i) for i in range(12)]  # two brackets for a beat
    rows += [(7, 1 / 3, 60), (7 + 11 / 24, 1 / 8, 62), (7 + 17 / 24, 1 / 8, 64)]
    piece = Piece.from_quarters(rows, name="mixed")
    assert repr(score(piece)) == "Score of mixed: 2 bars, 25 notes"


def test_a_piece_without_notes():
    with pytest.raises(ValueError, match="'silence' holds no notes to engrave"):
        score(Piece.from_quarters([], name="silence"))


def test_a_marked_bar_and_no_other_has_its_colour():
    piece = Piece.from_quarters([(i, 1, 60 + i) for i in range(8)])
    svg = engrave(piece).renderToSVG(1)
    first, second = coloured(svg, {2: "#ff0000"}).split('class="measure"')[1:]
    assert "#ff0000" not in first
    assert second.startswith(' color="#ff0000" fill="#ff0000"')
    first, second = coloured(svg, {1: "#00ff00", 2: "#ff0000"}).split('class="measure"')[1:]
    assert first.startswith(' color="#00ff00"') and second.startswith(' color="#ff0000"')
    assert coloured(svg, {}) == svg
    assert score(piece, {2: "#ff0000"}).png != score(piece).png
    for bar in (0, 3):
        with pytest.raises(ValueError, match=f"no bar {bar} to mark; the score has bars 1 to 2"):
            score(piece, {bar: "#ff0000"})
