"""How fast reading is, beside the article's loop and pretty_midi. Slow: `pytest -m slow -s`."""

import time
import warnings
from pathlib import Path
from statistics import median

import pretty_midi
import pytest

from pianolstm.encoding import ArticleEncoding
from pianolstm.parsing import article_tokens, read_midi
from pianolstm.quantisation import quantise

LENT = Path(__file__).resolve().parents[2] / "shared" / "midi"


def end_to_end(path):
    return ArticleEncoding().encode(quantise(read_midi(path)).piece)


def seconds(function, files, repeats=1):
    start = time.perf_counter()
    for _ in range(repeats):
        for path in files:
            function(path)
    return (time.perf_counter() - start) / repeats


@pytest.mark.slow
def test_reading_beside_the_article_and_pretty_midi(songs_folder):
    """All sides read the same files in turn, five times, in one process and one thread."""
    sets = {"midi_songs, every 8th": sorted(songs_folder.glob("*.mid"))[::8]}
    if LENT.is_dir():  # pretty_midi cannot read the two files of corrupted/
        sets["lent files"] = sorted(p for p in LENT.rglob("*.mid") if "corrupted" not in p.parts)
    for name, files in sets.items():
        times = {"article": [], "pretty_midi": [], "read": [], "tokens": []}
        for _ in range(5):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                times["article"].append(seconds(article_tokens, files))
                times["pretty_midi"].append(
                    seconds(lambda path: pretty_midi.PrettyMIDI(str(path)), files)
                )
            times["read"].append(seconds(read_midi, files, 10))
            times["tokens"].append(seconds(end_to_end, files, 10))
        each = {side: round(median(t) / len(files) * 1e3, 3) for side, t in times.items()}
        print(f"\n{name}, {len(files)} files, milliseconds a file: {each}")
        ratios = {
            "article / read": [a / r for a, r in zip(times["article"], times["read"])],
            "article / tokens": [a / t for a, t in zip(times["article"], times["tokens"])],
            "pretty_midi / read": [p / r for p, r in zip(times["pretty_midi"], times["read"])],
        }
        for pair, values in ratios.items():
            print(f"  {pair}: {median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})")
        assert median(ratios["article / read"]) >= 1000
        assert median(ratios["article / tokens"]) >= 400
        assert median(ratios["pretty_midi / read"]) >= 15
