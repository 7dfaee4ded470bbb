"""`Piece` ↔ tokens: strings that a person can read. One class an encoding, one interface."""

from pianolstm.encoding.article import ArticleEncoding, normal_order
from pianolstm.encoding.base import (
    BOS,
    EOS,
    Encoding,
    PieceError,
    TokenError,
    missing_tokens,
    pitch_number,
)
from pianolstm.encoding.events import EventEncoding
from pianolstm.encoding.pianoroll import PianoRollEncoding
from pianolstm.encoding.rhythm import RhythmEncoding

__all__ = [
    "BOS",
    "ENCODINGS",
    "EOS",
    "ArticleEncoding",
    "Encoding",
    "EventEncoding",
    "PianoRollEncoding",
    "PieceError",
    "RhythmEncoding",
    "TokenError",
    "encoding_from_dict",
    "missing_tokens",
    "normal_order",
    "pitch_number",
]

ENCODINGS = {
    kind.__name__: kind
    for kind in (ArticleEncoding, RhythmEncoding, EventEncoding, PianoRollEncoding)
}


def encoding_from_dict(header: dict) -> Encoding:
    """The encoding that `to_dict` described. Raises ValueError for an unknown name."""
    settings = dict(header)
    name = settings.pop("encoding", None)
    if name not in ENCODINGS:
        raise ValueError(f"unknown encoding {name!r}; this version knows {', '.join(ENCODINGS)}")
    return ENCODINGS[name](**settings)
