"""A piece as sound: symusic plays it with the sampled instruments that pretty_midi ships.

`render` returns samples, `audio` an MP3 that a notebook plays.
"""

from __future__ import annotations

import base64
import html
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import symusic

from pianolstm.display.soundfont import with_root_keys
from pianolstm.midi import to_symusic
from pianolstm.piece import Piece

SAMPLE_RATE = 22_050  # samples a second
LONGEST_SOUND = 600.0  # seconds; an hour of MP3 would make a page of 30 MB


@dataclass(frozen=True)
class Sound:
    """An MP3 that a notebook shows as audio controls; the page holds it and needs no other file."""

    mp3: bytes
    text: str  # what is heard
    seconds: float
    is_cut: bool = False  # whether this is only the beginning of a piece

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """Audio controls in a notebook."""
        source = "data:audio/mpeg;base64," + base64.b64encode(self.mp3).decode("ascii")
        label = html.escape(self.text)
        return f'<audio controls preload="metadata" aria-label="{label}" src="{source}"></audio>'

    def save(self, path: str | Path) -> Path:
        """Write the MP3 to a file."""
        Path(path).write_bytes(self.mp3)
        return Path(path)


def audio(piece: Piece) -> Sound:
    """The piece as an MP3.

    A piece longer than `LONGEST_SOUND` is cut there; `is_cut` and the text of the sound say so.
    Raises ValueError for a piece without notes.
    """
    notes = piece.notes[piece.seconds_at(piece.notes["onset"]) < LONGEST_SOUND]
    # Cut before they are played: the synthesizer's memory grows with the end of the last note
    heard_until = bisect_left(range(piece.end), LONGEST_SOUND, key=piece.seconds_at)  # a tick
    notes["duration"] = np.minimum(notes["duration"], heard_until - notes["onset"])
    heard = replace(piece, notes=notes)
    samples = render(heard)[: int(LONGEST_SOUND * SAMPLE_RATE)]
    seconds = len(samples) / SAMPLE_RATE
    # A constant bit rate: with a variable one, browsers jump up to a second beside the place.
    mp3 = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.8}
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "sound.mp3")  # writing to memory would swallow Ctrl-C
        soundfile.write(path, samples, SAMPLE_RATE, **mp3)
        encoded = path.read_bytes()
    text = f"Sound of {piece.name}: {len(heard)} notes, {seconds:.0f} s"
    is_cut = piece.seconds > LONGEST_SOUND
    text += f", the beginning of {piece.seconds:,.0f} s" * is_cut
    return Sound(encoded, text, seconds, is_cut)


def render(piece: Piece) -> np.ndarray:
    """The piece as samples.

    Returns
    -------
    np.ndarray of float32, shape (samples,)
        Mono, `SAMPLE_RATE` samples a second. The loudest sample is 0.9.
    """
    if not len(piece):
        raise ValueError(f"piece {piece.name!r} holds no notes to play")
    mono = _synthesizer().render(to_symusic(piece), True).mean(axis=0)  # of (2, samples)
    return (0.9 * mono / max(np.abs(mono).max(), 1e-9)).astype(np.float32)


@lru_cache(maxsize=1)
def _synthesizer() -> symusic.Synthesizer:
    """The synthesizer, loaded once: its sound font has 6 MB."""
    font = resources.files("pretty_midi") / "TimGM6mb.sf2"
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, font.name)
        path.write_bytes(with_root_keys(font.read_bytes()))
        return symusic.Synthesizer(sf_path=str(path), sample_rate=SAMPLE_RATE)
