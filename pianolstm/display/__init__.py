"""`Piece` → what a person sees and hears: piano roll, engraved score, sound, and a player.

    roll     notes as boxes, time to the right and pitch upwards: `roll`, `piano_roll`; any figure
             with a text alternative: `described`
    score    notes on staves: `score`, `write_musicxml`; `staves` writes them, and `notation`
             decides on times, voices, note values and spelling
    sound    an MP3: `audio`
    player   a piano roll that plays: `player`; several, one above the other: `compare`

Packages from pip are all that this needs: no notation program, no system font, no synthesizer.
The functions `roll`, `score` and `player` hide the modules of the same names: import other names
with `from pianolstm.display.roll import …`.
"""

# ruff: noqa: F401 (all that is imported here is offered)

from pianolstm.display.player import compare, player
from pianolstm.display.roll import TRACK_COLOURS, described, piano_roll, roll
from pianolstm.display.score import score, write_musicxml
from pianolstm.display.sound import audio
