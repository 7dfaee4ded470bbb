"""Damaged files: reading gives a `Piece` or `MidiParseError`, quickly and in bounded memory."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pianolstm.encodings import ArticleEncoding
from pianolstm.folder import find_midi_files
from pianolstm.grid import quantise
from pianolstm.midi import MidiParseError, read_midi
from pianolstm.piece import Piece

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi"


def flip_bits(data, rng):
    for _ in range(rng.integers(1, 20)):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def cut_tail(data, rng):
    """Mostly with a chunk length that has been made to fit."""
    start = data.rfind(b"MTrk")
    del data[rng.integers(start + 8, len(data)) :]
    if rng.integers(3):
        data[start + 4 : start + 8] = (len(data) - start - 8).to_bytes(4)


def swap_pieces(data, rng):
    a, b, c = sorted(rng.integers(14, len(data), 3).tolist())
    data[a:c] = data[b:c] + data[a:b]


def lie(data, rng):
    """About the length of a track, or in the header."""
    start = data.find(b"MTrk", int(rng.integers(len(data) - 8)) % (len(data) // 2))
    lies = [0, 1, 2**31 - 1, 2**32 - 1, int(rng.integers(2**16))]
    data[start + 4 : start + 8] = int(rng.choice(lies)).to_bytes(4)
    data[int(rng.integers(4, 14))] = int(rng.integers(256))


def odd_events(data, rng):
    """Insert some at the end of an event of the last track, mostly, and mend its length."""
    kinds = [b"\x00\xff\x2f\x00", b"\x00\xff\x58\x04\x00\xff\x00\x00", b"\x00\xf0\x7f\x00",
             b"\x00\xff\x03\x82\x00", b"\x00\xf7\x00", b"\x00\x90\xff\xff", b"\x00\xc0\xff",
             b"\x00\xf8", b"\x00\xff\x59\x02\x7f\x07", b"\x00\xff\x01\x03\xff\x2f\x00",
             b"\xff\xff\xff\x7f\xff\x01\x00" * int(rng.integers(1, 40)),  # far away
             b"\x00\xff\x51\x03" + rng.choice([0, 1, 2**24 - 1]).item().to_bytes(3)]  # fmt: skip
    start = data.rfind(b"MTrk")
    place = int(rng.integers(start + 8, len(data)))
    data[place:place] = kinds[rng.integers(len(kinds))]
    data[start + 4 : start + 8] = (len(data) - start - 8).to_bytes(4)


def noise(data, rng):
    a = int(rng.integers(14, len(data)))
    b = min(len(data), a + int(rng.integers(1, 200)))
    data[a:b] = rng.bytes(b - a)


MUTATIONS = [flip_bits, cut_tail, swap_pieces, lie, odd_events, noise]


def read_mutated(folder: Path, sources: list[bytes], count: int, seed: int) -> dict[str, int]:
    """Read `count` mutated files, and whatever can be read also to tokens; counts of outcomes."""
    path, found = folder / "mutated.mid", {}
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        data = bytearray(sources[rng.integers(len(sources))])
        mutation = MUTATIONS[number % len(MUTATIONS)]
        mutation(data, rng)
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            piece = read_midi(path)
            outcome = "piece"
            assert isinstance(piece, Piece)
            ArticleEncoding().encode(quantise(piece).piece)
            assert piece.seconds >= 0
            assert repr(piece)
        except MidiParseError as error:
            outcome = "error"
            assert str(error).startswith("mutated.mid: ")
        seconds = time.perf_counter() - start
        assert seconds < 1, f"{mutation.__name__} {number}: {seconds:.2f} s"
        found[outcome] = found.get(outcome, 0) + 1
    return found


def check_memory(before: int) -> None:
    resource = pytest.importorskip("resource")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000 * (1024 if sys.platform == "darwin" else 1), f"{grown:,} kB more"


def most_memory() -> int:
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_few_hundred_mutated_files(tmp_path, songs_folder):
    sources = [path.read_bytes() for path in find_midi_files(songs_folder)[::20]]
    before = most_memory()
    found = read_mutated(tmp_path, sources, 400, seed=0)
    check_memory(before)
    assert found["piece"] > 50
    assert found["error"] > 50


@pytest.mark.slow
def test_twenty_thousand_mutated_files(tmp_path, songs_folder):
    sources = [path.read_bytes() for path in find_midi_files(songs_folder)]
    if LENT.is_dir():  # more kinds of events: drums, controllers, sixteen channels
        sources += 20 * [path.read_bytes() for path in find_midi_files(LENT, recursive=True)]
    before = most_memory()
    found = read_mutated(tmp_path, sources, 20_000, seed=1)
    check_memory(before)
    print(found)
