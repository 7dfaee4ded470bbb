"""A sound font as symusic's synthesizer has to read it to play in tune.

A SoundFont holds recorded samples, and instruments, each a list of zones: which sample plays which
keys. A sample's header names its root key, the key at which it sounds as recorded. A zone may name
another one, and most do in the font that we play. The synthesizer reads headers only, and so played
C4 of the piano as G#5 (https://github.com/Yikai-Liao/symusic/issues/55); at high notes of other
instruments, a loop shorter than one sample made it run forever.

Source of the format: E-mu Systems 2006, "SoundFont Technical Specification" 2.04, section 7.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

INSTRUMENT = np.dtype([("name", "S20"), ("zone", "<u2")])
ZONE = np.dtype([("generator", "<u2"), ("modulator", "<u2")])
GENERATOR = np.dtype([("kind", "<u2"), ("amount", "<i2")])
SAMPLE = np.dtype([
    ("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop_start", "<u4"), ("loop_end", "<u4"),
    ("rate", "<u4"), ("root", "u1"), ("cents", "i1"), ("link", "<u2"), ("kind", "<u2"),
])  # fmt: skip
SAMPLE_OF_ZONE, ROOT_OF_ZONE = 53, 58  # kinds of generators


def with_root_keys(font: bytes) -> bytes:
    """The font with a sample header for each root key at which its zones use a sample."""
    font = bytearray(font)
    zones, samples = _table(font, b"ibag", ZONE), _table(font, b"shdr", SAMPLE)
    generators = _table(font, b"igen", GENERATOR)
    headers: dict[tuple[int, int], np.void] = {}  # by number of the sample and root key
    for first, last in pairwise(_table(font, b"inst", INSTRUMENT)["zone"].tolist()):
        common: dict[int, int] = {}  # generators of all zones of an instrument
        for start, stop in pairwise(zones["generator"][first : last + 1].tolist()):
            kinds = generators["kind"][start:stop].tolist()
            zone = common | dict(zip(kinds, generators["amount"][start:stop].tolist()))
            if SAMPLE_OF_ZONE not in zone:
                common = zone
                continue
            number = zone[SAMPLE_OF_ZONE]
            header = samples[number].copy()
            header["root"] = root = zone.get(ROOT_OF_ZONE, header["root"])
            if (number, root) not in headers:
                # The synthesizer tells samples apart by where they start
                header["start"] += sum(number == other for other, _ in headers)
                header["loop_start"] = max(header["start"], header["loop_start"])
                headers[number, root] = header
            place = start + kinds.index(SAMPLE_OF_ZONE)
            generators["amount"][place] = list(headers).index((number, root))
    table = np.array([*headers.values(), samples[-1]], dtype=SAMPLE)  # the last one ends the table
    start = font.rindex(b"shdr") + 8
    result = bytearray(font[:start] + table.tobytes())
    for chunk in (4, font.rindex(b"pdta") - 4, start - 4):  # three that end with the file: sizes
        result[chunk : chunk + 4] = (len(result) - chunk - 4).to_bytes(4, "little")
    return bytes(result)


def _table(font: bytearray, name: bytes, dtype: np.dtype) -> np.ndarray:
    """A table of the last chunk of a font, which can be changed in place."""
    start = font.index(name, font.rindex(b"pdta")) + 8
    size = int.from_bytes(font[start - 4 : start], "little")
    return np.frombuffer(font, dtype, size // dtype.itemsize, start)
