"""How fast reading and writing are, beside the article's loops and pretty_midi.

Slow: `pytest -m slow -s`, on a machine that does nothing else.
"""

import time
import warnings
from statistics import median

import pretty_midi
import pytest
import reference

from pianolstm.checkpoint import load_pretrained
from pianolstm.encodings import ArticleEncoding
from pianolstm.generation import generate, generate_by_window
from pianolstm.grid import quantise
from pianolstm.midi import read_midi


def tokens_of(path):
    return ArticleEncoding().encode(quantise(read_midi(path)).piece)


def pretty(path):
    return pretty_midi.PrettyMIDI(str(path))


def seconds(function, files, repeats=1, **options):
    start = time.perf_counter()
    for _ in range(repeats):
        for path in files:
            function(path, **options)
    return (time.perf_counter() - start) / repeats / len(files)


@pytest.mark.slow
def test_reading_beside_the_article_and_pretty_midi(songs_folder, tmp_path):
    """All sides read the same files in turn, five times, in one process and one thread.

    The article's loop is timed as printed, at its first reading of a file, and once more without
    the cache that music21 writes then.
    """
    from music21 import environment

    files = sorted(songs_folder.glob("*.mid"))[::8]
    settings = environment.Environment()
    scratch, rounds = settings["directoryScratch"], []
    try:
        for number in range(5):
            folder = tmp_path / str(number)
            folder.mkdir()
            settings["directoryScratch"] = folder
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rounds.append({
                    "as printed": seconds(reference.article_tokens, files, cache=True),
                    "without cache": seconds(reference.article_tokens, files),
                    "pretty_midi": seconds(pretty, files),
                    "read": seconds(read_midi, files, 10),
                    "tokens": seconds(tokens_of, files, 10),
                })  # fmt: skip
    finally:
        settings["directoryScratch"] = scratch

    def ratio(slow, fast):
        values = [times[slow] / times[fast] for times in rounds]
        print(f"  {slow} / {fast}: {median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})")
        return median(values)

    each = {side: f"{1e3 * median([t[side] for t in rounds]):.3f}" for side in rounds[0]}
    print(f"\n{len(files)} files, milliseconds a file: {each}")
    ratios = {
        (slow, fast): ratio(slow, fast)
        for slow in ("as printed", "without cache", "pretty_midi")
        for fast in ("read", "tokens")
    }
    assert ratios["as printed", "read"] >= 1000
    assert ratios["as printed", "tokens"] >= 400
    assert ratios["pretty_midi", "read"] >= 15


@pytest.mark.slow
def test_writing_beside_the_articles_loop():
    """The article's network, the same weights: window by window, one stream, 64 pieces at once."""
    article = load_pretrained("article").model
    ways = {
        "window": (lambda: generate_by_window(article, range(1, 101), 20), 20),
        "one stream": (lambda: generate(article, [[5]], 200), 200),
        "64 at once": (lambda: generate(article, [[5]] * 64, 40, range(64)), 64 * 40),
    }
    rounds = []
    for _ in range(21):
        times = {}
        for name, (write, notes) in ways.items():
            start = time.perf_counter()
            write()
            times[name] = 1e3 * (time.perf_counter() - start) / notes
        rounds.append(times)
    for what, typical in (("median", median), ("fastest", min)):
        each = {name: typical([times[name] for times in rounds]) for name in ways}
        faster = {name: each["window"] / each[name] for name in ("one stream", "64 at once")}
        print(f"\n{what} round, milliseconds a note: {each}; times faster: {faster}")
    assert faster["one stream"] >= 12  # of the fastest rounds: what is slower was disturbed
    assert faster["64 at once"] >= 80
