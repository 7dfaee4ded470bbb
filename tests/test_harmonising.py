"""A melody gets voices below it, and comes back note for note."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pianolstm.checkpoint import Checkpoint, load_pretrained
from pianolstm.encodings import EventEncoding, PianoRollEncoding
from pianolstm.harmonising import (
    SUNG,
    harmonise,
    known_frames,
    melody_frames,
    melody_of,
    read_melody,
    with_voices,
)
from pianolstm.midi import write_midi
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.piece import Piece
from pianolstm.vocabulary import Vocabulary


def untrained(encoding):
    torch.manual_seed(0)
    vocabulary = Vocabulary(encoding.all_tokens())
    grammar = encoding.grammar(vocabulary.tokens)
    model = build_network(NetworkConfig("note", len(vocabulary), (8,), 0.0), None, grammar)
    return Checkpoint(model.eval(), vocabulary, encoding)


NETWORK = untrained(PianoRollEncoding())
NOTES = st.tuples(  # rest before, length, pitch; in 1/12 quarter
    st.sampled_from([0, 0, 0, 3, 4, 6, 12, 30]),
    st.sampled_from([1, 3, 4, 6, 9, 12, 24, 60, 110]),
    st.integers(SUNG[0], SUNG[-1]),
)


def melody_from(rows):
    notes, time = [], 0
    for rest, length, pitch in rows:
        notes.append(((time + rest) / 12, length / 12, pitch))
        time += rest + length
    return Piece.from_quarters(notes, 12)


@settings(max_examples=60, deadline=None)
@given(st.lists(NOTES, min_size=1, max_size=8), st.integers(0, 99))
def test_any_melody_comes_back_note_for_note_with_voices_below(rows, seed):
    melody = melody_from(rows)
    (piece,) = harmonise(melody, NETWORK, particles=3, seed=seed)
    fields = ["onset", "duration", "pitch"]
    notes, tune = (set(map(tuple, p.notes[fields].tolist())) for p in (piece, melody))
    assert tune <= notes
    assert piece.end == melody.end
    for onset, length, pitch in notes - tune:
        same_time = [p for o, n, p in tune if o < onset + length and onset < o + n]
        assert all(pitch < p for p in same_time)
    line = set(map(tuple, melody_of(piece).notes[["onset", "pitch"]].tolist()))
    assert {(onset, pitch) for onset, _, pitch in tune} <= line


@pytest.mark.parametrize("semitones", range(-6, 6))
def test_a_melody_in_every_key(semitones):
    tune, _ = read_melody("C5:1 D5:0.5 E5:0.5 rest:0.5 G4:1.5 C5:2")
    melody = tune.transpose(semitones)
    (piece,) = harmonise(melody, NETWORK, particles=2)
    assert melody_of(piece).notes["pitch"].tolist()[0] == melody.notes["pitch"][0]
    assert {*map(tuple, melody.notes[["onset", "pitch"]].tolist())} <= {
        *map(tuple, piece.notes[["onset", "pitch"]].tolist())
    }


def test_pieces_differ_and_a_seed_gives_the_same_again():
    tune, _ = read_melody("C5 D5 E5 F5 G5:2")
    three = harmonise(tune, NETWORK, particles=4, seed=5, pieces=3)
    assert len({str(piece.notes.tolist()) for piece in three}) == 3
    (second,) = harmonise(tune, NETWORK, particles=4, seed=6)
    assert second == three[1]


def test_what_a_melody_says_of_each_frame():
    tune, _ = read_melody("C5:1 rest:0.5 D5:0.25 E5:0.25 E5:1")
    pitches, bounds = melody_frames(tune, 2)
    assert pitches == [72, 72, None, 74, 76, 76]
    assert bounds == [72, 72, 72, 74, 76, 76]
    frames, vocabulary = known_frames(tune, NETWORK), NETWORK.vocabulary
    assert [vocabulary.decode(frame.known) for frame in frames[1:4]] == [["C5"], [], ["D5"]]
    drawable = {*vocabulary.decode(np.flatnonzero(frames[0].allowed))}
    assert {"B4", "A0", "|"} <= drawable and not {"C5", "<bos>", "<unk>"} & drawable


def test_a_note_that_stays_is_struck_again_where_the_melody_is_on_a_beat():
    tune, _ = read_melody("C5:1 D5:0.5 E5:0.5 F5:2")
    ids = NETWORK.vocabulary.encode(["C4", "|"])
    piece = with_voices(tune, NETWORK, [ids] * 8)
    low = piece.notes[piece.notes["pitch"] == 60]
    assert (low["onset"] / 12).tolist() == [0, 1, 2] and (low["duration"] / 12).tolist() == [
        1,
        1,
        2,
    ]


def test_melodies_are_read_from_midi_and_from_text(tmp_path, scale):
    path = str(write_midi(scale, tmp_path / "scale.mid"))
    melody, notices = read_melody(path)
    assert melody.notes["pitch"].tolist() == [60, 62, 64, 65, 67, 69, 71, 72]
    assert "the top line is taken, 8 of 10 notes" in notices
    low, notices = read_melody(path, track=2)
    assert low.notes["pitch"].tolist() == [60, 55]
    assert notices[-1] == "moved by +12 semitones, as no voice sings so low"
    chords, notices = read_melody("C4.E4.G4:1 D4.F4:1")
    assert chords.notes["pitch"].tolist() == [67, 65]
    assert notices == ["the top line is taken, 2 of 5 notes"]
    high, notices = read_melody("C7:1 D7:0.5")
    assert high.notes["pitch"].tolist() == [84, 86]
    assert notices == ["moved by -12 semitones, as no voice sings so high"]


def test_a_melody_moves_by_octaves_or_else_by_the_fewest_semitones(tmp_path):
    for low, high, moved, notice in (
        (39, 63, 12, "moved by +12 semitones, as no voice sings so low"),
        (48, 84, 3, "moved by +3 semitones, as no voice sings so low"),
        (52, 88, -1, "moved by -1 semitones, as no voice sings so high"),
        (102, 120, -36, "moved by -36 semitones, as no voice sings so high"),
        (51, 87, 0, None),
        (50, 87, 0, None),  # spans too much
    ):
        piece = Piece.from_quarters([(0, 1, low), (1, 1, high)], 12)
        melody, notices = read_melody(str(write_midi(piece, tmp_path / "tune.mid")))
        assert melody.notes["pitch"].tolist() == [low + moved, high + moved]
        assert notice in notices or notice is None


@pytest.mark.parametrize(
    ("text", "track", "message"),
    [
        ("tune.musicxml", None, "only MIDI files are read. Export it as MIDI first"),
        ("C4:1 H4:1", None, "'H4:1' is no chord"),
        ("C4:1", 1, "a track is part of a MIDI file"),
        ("SCALE", 3, "has no track 3. Choose from 1 'Right', 2 'Left'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, scale, text, track, message):
    path = str(write_midi(scale, tmp_path / "scale.mid"))
    with pytest.raises(ValueError, match=message):
        read_melody(path if text == "SCALE" else text, track)


@pytest.mark.parametrize("text", ["", "rest:4", "C2:1 C7:1"])
def test_what_cannot_be_harmonised_is_refused(text):
    melody, _ = read_melody(text)
    with pytest.raises(
        ValueError, match=r"no note in the melody|from C2 to C7; .*such as one --track"
    ):
        harmonise(melody, NETWORK)


@pytest.mark.parametrize("encoding", [EventEncoding(), PianoRollEncoding(changes=True)])
def test_a_network_without_whole_frames_is_refused(encoding):
    with pytest.raises(ValueError, match=r"Encoding\(.*cannot be told a melody"):
        harmonise(read_melody("C5:1")[0], untrained(encoding))


# ---- measures


def test_voices_are_compared_without_the_melody(harmonies):
    eh = harmonies
    melody, _ = read_melody("C5:1 D5:1")
    one, other = (
        Piece.from_quarters([(0, 1, 72), (1, 1, 74), *rows], 12)
        for rows in (
            [(0, 1, 48), (0, 1, 64), (1, 1, 55), (1, 1, 59)],
            [(0, 1, 45), (0, 1, 64), (1, 1, 55), (1, 1, 62)],
        )
    )
    # C (the melody's) and E against A and E: 1 of 2; G and B against G and D (the melody's): 1 of 2
    assert eh.shared_pitch_classes(one, other, melody) == 0.5
    assert eh.same_bass(one, other, melody) == 0.5
    assert eh.shared_pitch_classes(one, one, melody) == eh.same_bass(one, one, melody) == 1
    last = np.array([False, False, True, True])
    assert eh.same_bass(one, other, melody, last) == 1


def test_cadences_parallels_and_repeated_notes(harmonies):
    eh = harmonies
    melody, _ = read_melody("B4:1 C5:1 C5:2")
    voices = [(0, 1, 67), (0, 1, 62), (0, 1, 55), (1, 3, 67), (1, 1, 64), (2, 2, 64), (1, 3, 48)]
    rows = [(0, 1, 71), (1, 1, 72), (2, 2, 72), *voices]
    piece = Piece.from_quarters(rows, 12)
    assert eh.struck_again(piece, melody) == (2, 4)  # G4 and E4 are struck again, G4 and C3 held
    assert eh.cadences(piece, melody) == (0, 1)  # the last note is reached from its own chord
    early, _ = read_melody("B4:1 C5:3")
    assert eh.cadences(Piece.from_quarters([*rows[:1], (1, 3, 72), *voices], 12), early) == (1, 1)
    lines = eh.voice_lines(piece, melody)
    assert lines[0].tolist() == [71, 67, 62, 55] and lines[2].tolist() == [72, 67, 64, 48]


def test_the_shipped_network_ends_a_phrase_on_its_tonic():
    network = load_pretrained("rolls")
    tune, _ = read_melody("G4:1 A4:1 B4:1 C5:1 D5:2 D5:1 C5:1 B4:1 A4:1 G4:2")
    pieces = harmonise(tune, network, particles=16, pieces=3)
    lowest = [min(p for o, n, p in piece.notes[["onset", "duration", "pitch"]].tolist()
                  if o + n == piece.end) for piece in pieces]  # fmt: skip
    assert sum(pitch % 12 == 7 for pitch in lowest) >= 2


def test_a_key_signature_that_the_notes_contradict_gives_way(tmp_path):
    tune = Piece.from_quarters(
        [(i, 1, p) for i, p in enumerate([63, 65, 67, 68, 70, 72, 74, 75])], key="C major"
    )
    melody, notices = read_melody(str(write_midi(tune, tmp_path / "tune.mid")))
    assert melody.key == "E- major"
    assert "the notes contradict the key signature, C major, taken to be E-flat major" in notices
