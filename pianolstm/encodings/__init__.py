"""`Piece` ↔ tokens: strings that a person can read. One class an encoding, one interface."""

# ruff: noqa: F401 (all that is imported here is offered)

from pianolstm.encodings.article import ArticleEncoding, article_tokens
from pianolstm.encodings.base import (
    BOS,
    ENCODINGS,
    EOS,
    RESOLUTION,
    Encoding,
    PieceError,
    encoding_named,
    register,
)
from pianolstm.encodings.events import EventEncoding
from pianolstm.encodings.rhythm import RhythmEncoding
from pianolstm.encodings.rolls import PianoRollEncoding
