"""`Piece` ↔ tokens: strings that a person can read. One class an encoding, one interface."""

from pianolstm.encodings.article import ArticleEncoding, article_tokens, normal_order
from pianolstm.encodings.base import (
    BOS,
    ENCODINGS,
    EOS,
    RESOLUTION,
    Encoding,
    PieceError,
    TokenError,
    encoding_from_dict,
    pitch_number,
    register,
)
from pianolstm.encodings.events import EventEncoding
from pianolstm.encodings.rhythm import RhythmEncoding
from pianolstm.encodings.rolls import PianoRollEncoding

__all__ = [
    "BOS",
    "ENCODINGS",
    "EOS",
    "RESOLUTION",
    "ArticleEncoding",
    "Encoding",
    "EventEncoding",
    "PianoRollEncoding",
    "PieceError",
    "RhythmEncoding",
    "TokenError",
    "article_tokens",
    "encoding_from_dict",
    "normal_order",
    "pitch_number",
    "register",
]
