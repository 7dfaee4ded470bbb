"""How good are the voices below a melody? The table of notebook 14.

    python notebooks/harmonies.py valid rolls:1:1 rolls:64:1 rolls:64:0.7 --out harmonies.jsonl
    python notebooks/harmonies.py test bach table bigram:64:1 rolls:64:0.7 --judge 100 --out …

Composers are a network (the name of a shipped one, or a file), its particles and the temperature;
`bigram` is a table of which token follows which, in the same frames as `rolls`; `table` sets the
likeliest chord for each note; `bach` compares his settings of one tune with each other. A line of
the result holds, with intervals of 95 % over the chorales:

* `classes`, `bass`: shared with Bach, see `shared_pitch_classes`, `same_bass`;
* `parallels` in 1,000 moves of two voices; `cadences`: share of the phrase ends;
* `struck`: share of the kept notes that are struck again where a melody note begins;
* `nats` a frame of Bach's own lower voices, given the melody (the filter's estimate);
* `seconds` of processor time for a chorale;
* `judge`: how often a network tells the pieces from Bach's, trained on `--judge` training melodies.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pianolstm import evaluation as ev
from pianolstm.checkpoint import Checkpoint, load_pretrained
from pianolstm.dataset import prepare
from pianolstm.encodings import PianoRollEncoding
from pianolstm.encodings.rolls import FRAME_END, KEYS, LOWEST
from pianolstm.evaluation.judge import accuracy, train_judge
from pianolstm.evaluation.statistics import SILENT, key_of, parallels
from pianolstm.folder import read_folder
from pianolstm.harmonising import fill_in, known_frames, melody_frames, melody_of, with_voices
from pianolstm.networks import State
from pianolstm.piece import Piece
from pianolstm.split import Split, is_chorale, split_pieces, top_line

SONGS = Path(__file__).resolve().parents[1] / "midi_songs"
SAME = 0.8  # share of the frames in which two sopranos agree, of settings of one tune
ROLLS = PianoRollEncoding(2)
VOICES = 3  # below the melody, where there are four


def bigram_network(pieces: Sequence[Piece]) -> Checkpoint:
    """The bigram of the frames of the training pieces; what it draws keeps the frames' grammar."""
    data = prepare(pieces, PianoRollEncoding())
    forbidden = torch.from_numpy(~data.encoding.grammar(data.vocabulary.tokens))
    model = ev.fitted_bigram(data)
    what_follows = model.step

    def step(ids: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        logits, state = what_follows(ids, state)
        return logits.masked_fill(forbidden[ids], -torch.inf), state

    model.step = step
    return Checkpoint(model, data.vocabulary, data.encoding)


class ChordTable:
    """The likeliest chord for each note of the scale: how far each voice lies below the melody."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        found: dict[tuple, Counter] = defaultdict(Counter)
        for piece in pieces:
            (tonic, mode), melody = key_of(piece), melody_of(piece)
            for pitch, keys in zip(melody_frames(melody, 2)[0], below(piece, melody)):
                if pitch is not None and keys.any():
                    chord = tuple(pitch - LOWEST - np.flatnonzero(keys))
                    found[(pitch - tonic) % 12, mode][chord] += 1
        self.chords = {note: chords.most_common(1)[0][0] for note, chords in found.items()}

    def __call__(self, melody: Piece) -> Piece:
        """The melody with a chord below each note."""
        (tonic, mode), tpq, rows = key_of(melody), melody.ticks_per_quarter, []
        for onset, length, pitch in melody.notes[["onset", "duration", "pitch"]].tolist():
            for step in (0, *self.chords.get(((pitch - tonic) % 12, mode), ())):
                rows.append((onset / tpq, length / tpq, pitch - step))
        return Piece.from_quarters(rows, tpq)


# ---- voices below a melody beside a composer's, in frames of an eighth, without the melody


def below(piece: Piece, melody: Piece) -> np.ndarray:
    """The piano roll of a piece without the melody: bool (frames, 88), as long as the melody."""
    melody_roll = ROLLS.roll(melody)
    result = np.zeros_like(melody_roll)
    roll = ROLLS.roll(piece)[: len(result)]
    result[: len(roll)] = roll
    return result & ~melody_roll


def shared_pitch_classes(
    piece: Piece, other: Piece, melody: Piece, where: np.ndarray | None = None
) -> float:
    """Jaccard index |A ∩ B| / |A ∪ B| of the pitch classes of a frame, the mean over all frames.

    The melody's pitch class is removed from both sides; frames without another are left out.
    `where`, bool (frames,), chooses frames.
    """
    ours, theirs = classes(below(piece, melody)), classes(below(other, melody))
    others = ~classes(ROLLS.roll(melody))
    both, either = (ours & theirs & others).sum(axis=1), ((ours | theirs) & others).sum(axis=1)
    counted = (either > 0) & (True if where is None else where)
    return float((both[counted] / either[counted]).mean()) if counted.any() else np.nan


def same_bass(piece: Piece, other: Piece, melody: Piece, where: np.ndarray | None = None) -> float:
    """Share of the frames, where the other has voices below, with the same lowest pitch class."""
    ours, theirs = bass(below(piece, melody)), bass(below(other, melody))
    counted = (theirs != SILENT) & (True if where is None else where)
    same = (ours != SILENT) & (ours % 12 == theirs % 12)
    return float(same[counted].mean()) if counted.any() else np.nan


def classes(roll: np.ndarray) -> np.ndarray:
    """Piano roll (frames, 88) → pitch classes, bool (frames, 12)."""
    return np.stack([roll[:, (c - LOWEST) % 12 :: 12].any(axis=1) for c in range(12)], axis=1)


def bass(roll: np.ndarray) -> np.ndarray:
    """The lowest MIDI number of each frame, `SILENT` where there is none."""
    return np.where(roll.any(axis=1), LOWEST + roll.argmax(axis=1), SILENT)


def voice_lines(piece: Piece, melody: Piece) -> np.ndarray:
    """What each of four voices sings in each frame, (frames, 4), the melody first.

    Voices are told apart by height, and only where three sound below the melody: in other frames
    they are `SILENT`. For `parallels`.
    """
    roll, tune = below(piece, melody), ROLLS.roll(melody)
    lines = np.full((len(roll), 1 + VOICES), SILENT)
    lines[:, 0] = np.where(
        tune.any(axis=1), LOWEST + KEYS - 1 - tune[:, ::-1].argmax(axis=1), SILENT
    )
    for t in np.flatnonzero(roll.sum(axis=1) == VOICES):
        lines[t, 1:] = LOWEST + np.flatnonzero(roll[t])[::-1]
    return lines


def struck_again(piece: Piece, melody: Piece) -> tuple[int, int]:
    """(repeated notes, notes that sound on or are repeated) of the voices below.

    Counted where a melody note begins and a voice keeps its pitch: it is held, or struck again.
    """
    roll = below(piece, melody)
    again = struck(piece)[: len(roll)]
    begins = struck(melody)[: len(again)].any(axis=1)
    kept = roll[1 : len(again)] & roll[: len(again) - 1] & begins[1:, None]
    return int((kept & again[1:]).sum()), int(kept.sum())


def struck(piece: Piece) -> np.ndarray:
    """Where a key is struck: bool, of the shape of the piece's roll."""
    result, (first, last) = np.zeros_like(ROLLS.roll(piece)), ROLLS.covered(piece)
    heard = first < last
    result[first[heard], piece.notes["pitch"][heard].astype(int) - LOWEST] = True
    return result


def phrase_ends(melody: Piece) -> Iterator[int]:
    """Ticks at which a melody note begins that lasts two quarters or more, or is the last."""
    line = top_line(melody.notes)
    for i, (onset, length, _) in enumerate(line):
        if length >= 2 * melody.ticks_per_quarter or i == len(line) - 1:
            yield onset


def cadences(piece: Piece, melody: Piece) -> tuple[int, int]:
    """(phrase ends that are reached by an authentic cadence, phrase ends); see `phrase_ends`.

    The bass falls a fifth or rises a fourth to a major or minor triad in root position, and the
    chord before holds the leading note (Aldwell and Schachter, unit 7).
    """
    roll, found, ends = ROLLS.roll(piece), 0, 0
    lowest, held = bass(roll), classes(roll)
    for onset in phrase_ends(melody):
        t = -(-onset * ROLLS.frames // melody.ticks_per_quarter)
        if not 0 < t < len(roll) or SILENT in (lowest[t], lowest[t - 1]):
            continue
        ends += 1
        root = lowest[t] % 12
        chord = {(c - root) % 12 for c in np.flatnonzero(held[t])}
        dominant = (lowest[t - 1] - root) % 12 == 7 and held[t - 1][(root + 11) % 12]
        found += bool(dominant and chord <= {0, 3, 4, 7} and len(chord & {3, 4}) == 1)
    return found, ends


# ---- what is measured


def settings_of_one_tune(pieces: Sequence[Piece]) -> list[dict]:
    """What Bach's settings of one tune share, where their sopranos agree.

    Sopranos of equal length that agree in `SAME` of the frames, transposition set aside, are one
    tune. Two settings that share more than nine tenths count as one.
    """
    lines = [np.array([p or -1 for p in melody_frames(melody_of(piece), 2)[0]]) for piece in pieces]
    found = []
    for (a, first), (b, second) in combinations(enumerate(lines), 2):
        sung = (first > 0) & (second > 0) if len(first) == len(second) else np.zeros(0)
        if not sung.any():
            continue
        up = int(np.median((first - second)[sung]))
        same = sung & (first - second == up)
        if same.mean() < SAME or abs(up) > 7:
            continue
        one, other = pieces[a], pieces[b].transpose(up)
        melody = melody_of(one)
        row = {"classes": shared_pitch_classes(one, other, melody, same),
               "bass": same_bass(one, other, melody, same)}  # fmt: skip
        if row["classes"] < 0.9:
            found.append(row)
    return found


def as_drawn(piece: Piece, network: Checkpoint) -> list[np.ndarray] | None:
    """The voices below a piece's melody as a particle would have drawn them, ids frame by frame.

    None for a piece in which no particle could: its melody is not its highest voice everywhere.
    """
    ids = network.vocabulary.encode(network.encoding.encode(piece))
    place, drawn, end = 1, [], network.vocabulary.ids[FRAME_END]
    for frame in known_frames(melody_of(piece), network):
        known = ids[place : place + len(frame.known)].tolist()
        place += len(known)
        stop = place + int((ids[place:] == end).argmax()) + 1
        if known != list(frame.known) or not frame.allowed[ids[place:stop]].all():
            return None
        drawn.append(ids[place:stop])
        place = stop
    return drawn


def nats(piece: Piece, network: Checkpoint, particles: int) -> float:
    """Nats a frame of the voices below, given the melody: what all cost less what it costs alone.

    NaN for a piece that no particle could have drawn.
    """
    melody = melody_of(piece)
    if as_drawn(piece, network) is None:
        return np.nan
    ids = network.vocabulary.encode(network.encoding.encode(piece))
    everything = float(ev.nll(network.model, [ids]).per_piece[0].sum())
    alone = fill_in(melody, network, particles, 0, 1.0).log_evidence
    return (everything + alone) / len(known_frames(melody, network))


class Composer:
    """Sets melodies as its name says: NETWORK:PARTICLES:TEMPERATURE, bigram, or table."""

    def __init__(self, name: str, split: Split) -> None:
        self.name, *numbers = name.split(":")
        self.particles, self.temperature = int(numbers[0]) if numbers else 1, 1.0
        if len(numbers) > 1:
            self.temperature = float(numbers[1])
        self.table = ChordTable(split.train) if self.name == "table" else None
        if self.name == "bigram":
            self.network = bigram_network([p for part in split for p in part])
        else:
            self.network = None if self.table else load_pretrained(self.name)

    def __call__(self, melody: Piece, seed: int) -> Piece:
        """One setting of a melody."""
        if self.table:
            return self.table(melody)
        run = fill_in(melody, self.network, self.particles, seed, self.temperature)
        return with_voices(melody, self.network, run.path(run.chosen))


def measure(composer: Composer, pieces: Sequence[Piece], quick: bool) -> tuple[list, dict]:
    """The settings of the pieces' melodies, and a line of results."""
    rows, made, start = defaultdict(list), [], time.process_time()
    for seed, piece in enumerate(tqdm(pieces, composer.name, disable=None)):
        made.append(composer(melody_of(piece), seed))
    seconds = (time.process_time() - start) / len(pieces)
    for new, piece in zip(made, pieces):
        melody = melody_of(piece)
        rows["classes"].append(shared_pitch_classes(new, piece, melody))
        rows["bass"].append(same_bass(new, piece, melody))
        if composer.network and hasattr(composer.network.model, "config") and not quick:
            rows["nats"].append(nats(piece, composer.network, composer.particles))
    means = {name: rounded(ev.bootstrap(values)) for name, values in rows.items()}
    return made, {"seconds": round(seconds, 2)} | means | habits(made, pieces)


def habits(made: Sequence[Piece], pieces: Sequence[Piece]) -> dict:
    """Parallels, cadences and repeated notes of settings of the pieces' melodies."""
    counted = {"parallels": [], "cadences": [], "struck": []}
    for new, melody in zip(made, map(melody_of, pieces)):
        events, moves = parallels(voice_lines(new, melody))
        counted["parallels"].append((1000 * events, moves))
        counted["cadences"].append(cadences(new, melody))
        counted["struck"].append(struck_again(new, melody))
    return {name: rounded(ev.bootstrap(rows, ev.ratio)) for name, rows in counted.items()}


def rounded(interval: ev.Interval) -> list[float]:
    """Value, low and high end."""
    return [round(float(x), 4) for x in (interval.value, interval.low, interval.high)]


def judged(composer: Composer, split: Split, made: list[Piece], part: list[Piece], n: int) -> list:
    """How often a judge is right that was trained on settings of `n` training melodies."""
    train = split.train[:: max(1, len(split.train) // n)][:n]
    settings = [composer(melody_of(p), 10_000 + i) for i, p in enumerate(tqdm(train, disable=None))]
    network = composer.network or load_pretrained("rolls")
    human = [as_written(pieces, network) for pieces in (train, part)]
    return rounded(accuracy(train_judge(human[0], settings), human[1], made))


def as_written(pieces: Sequence[Piece], network: Checkpoint) -> list[Piece]:
    """Bach's settings as the encoding writes them, so that this does not give them away."""
    drawn = [(melody_of(piece), as_drawn(piece, network)) for piece in pieces]
    return [with_voices(melody, network, path) for melody, path in drawn if path]


def main() -> None:
    """Measure the composers that are named, and append a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("valid", "test"))
    parser.add_argument("composers", nargs="+", help="NETWORK:PARTICLES:TEMPERATURE, table, bach")
    parser.add_argument("--pieces", type=int, help="only so many")
    parser.add_argument("--quick", action="store_true", help="without nats")
    parser.add_argument("--judge", type=int, default=0, help="train one on so many melodies")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pieces = read_folder(SONGS).pieces
    split = split_pieces(pieces)
    part = getattr(split, args.part)[: args.pieces]
    command = shlex.join(["python", "notebooks/harmonies.py", *sys.argv[1:]])
    for name in args.composers:
        if name == "bach":
            pairs = settings_of_one_tune([p for p in pieces if is_chorale(p)])
            line = {key: rounded(ev.bootstrap([p[key] for p in pairs])) for key in pairs[0]}
            line |= {"pairs": len(pairs)} | habits(part, part)
        else:
            composer = Composer(name, split)
            made, line = measure(composer, part, args.quick)
            if args.judge:
                line["judge"] = judged(composer, split, made, part, args.judge)
        line = {"composer": name, "part": args.part, "pieces": len(part)} | line
        print(line, flush=True)
        with open(args.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"command": command}) + "\n")


if __name__ == "__main__":
    main()
