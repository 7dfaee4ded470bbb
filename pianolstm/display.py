"""Everything a notebook shows of a `Piece`: piano roll, engraved score, sound, and a player.

All of them work with pip's packages alone: matplotlib draws the roll, verovio engraves, symusic
plays with the sound font that pretty_midi ships.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import symusic
from matplotlib import font_manager, get_data_path
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pianolstm.decoding import to_musicxml
from pianolstm.midi import to_symusic
from pianolstm.piece import Piece, pitch_name

SAMPLE_RATE = 22_050
LONGEST_SOUND = 600.0  # seconds; an hour of MP3 would make a page of 30 MB
MANY_BARS = 60  # in a roll with more, edges and bar lines would hide the notes
DOTS = 100  # per inch, of the pictures in a player
# After Okabe and Ito, darkened to a contrast of at least 4.5 to 1 on white; the patterns tell them
# apart without colour
TRACK_COLOURS = ("#0072B2", "#C04F00", "#007A58", "#A64D79", "#8A6100", "#5B5BD6")
HATCHES = ("", "////", "....", "xxxx", "", "////")


def piano_roll(piece: Piece, ax: Axes | None = None) -> Axes:
    """Draw the notes: time to the right in bars, pitch upwards with note names.

    One colour and pattern a track, with a legend. Returns the axes; draws on `ax` if given.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(10, 3.2), layout="constrained")
    tpq, notes = piece.ticks_per_quarter, piece.notes
    names = piece.track_names or ("Piano",)
    many = len(piece.bar_starts()) > MANY_BARS
    thinnest = piece.end / tpq / 900 if many else 0.0  # about a pixel: thinner ones would vanish
    for track in np.unique(notes["track"]):
        mine = notes[notes["track"] == track]
        boxes = [
            Rectangle((onset / tpq, pitch - 0.45), max(length / tpq, thinnest), 0.9)
            for onset, length, pitch, *_ in mine.tolist()
        ]
        edge = 0.0 if many else 0.4  # would swallow thin strips
        style = {
            "edgecolor": "white",
            "linewidth": edge,
            "facecolor": TRACK_COLOURS[track % len(TRACK_COLOURS)],
            "hatch": HATCHES[track % len(HATCHES)],
        }
        label = _plain(names[track]) if track < len(names) else f"Track {track + 1}"
        ax.add_patch(Rectangle((0, 0), 0, 0, label=label, **style))
        ax.add_collection(PatchCollection(boxes, **style))
    _label_axes(ax, piece)
    if len(np.unique(notes["track"])) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, prop=_font(8))
    return ax


def _label_axes(ax: Axes, piece: Piece) -> None:
    tpq = piece.ticks_per_quarter
    starts = [tick / tpq for tick in piece.bar_starts()]
    every = max(1, len(starts) // 16)
    ax.set_xticks(starts[::every], [str(i + 1) for i in range(0, len(starts), every)])
    ax.set_xticks(starts if len(starts) <= MANY_BARS else [], minor=True)
    ax.set_xlim(0, max(piece.end / tpq, 1))
    low, high = (int(f(piece.notes["pitch"])) for f in (np.min, np.max)) if len(piece) else (55, 65)
    _pitch_axis(ax, low, high)
    ax.grid(which="both", axis="x", color="0.88", linewidth=0.6)
    ax.grid(axis="y", color="0.88", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel="bar", ylabel="pitch")
    ax.set_title(_plain(piece.name.replace("_", " ")), fontproperties=_font(12))


# Fonts with Japanese, Chinese and Korean signs, of Windows, macOS and Linux
EASTERN_FONTS = (
    "Yu Gothic", "Meiryo", "MS Gothic", "Hiragino Sans", "Hiragino Kaku Gothic ProN",
    "Noto Sans CJK JP", "Noto Sans JP", "IPAGothic", "IPAexGothic", "TakaoGothic",
    "VL Gothic", "Microsoft YaHei", "PingFang SC", "Noto Sans CJK SC", "Malgun Gothic",
    "Noto Sans CJK KR", "WenQuanYi Zen Hei",
)  # fmt: skip


@lru_cache(maxsize=1)
def _fonts() -> tuple[list[str], frozenset[int]]:
    """matplotlib's own font and what this machine adds to it; the signs that they can draw."""
    here = set(font_manager.fontManager.get_font_names())
    names = ["DejaVu Sans", *(name for name in EASTERN_FONTS if name in here)]
    fonts = (font_manager.get_font(font_manager.findfont(name)) for name in names)
    return names, frozenset().union(*(font.get_charmap() for font in fonts))


def _font(size: float) -> font_manager.FontProperties:
    return font_manager.FontProperties(family=_fonts()[0], size=size)


def _plain(text: str) -> str:
    """Text that matplotlib shows as it stands: no formulas, no hidden labels, no control codes.

    A sign that no font of this machine holds becomes a question mark.
    """
    drawable = _fonts()[1]
    visible = (" " if c.isspace() else c for c in text if c.isprintable() or c.isspace())
    shown = "".join(c if ord(c) in drawable else "?" for c in visible)
    return shown.replace("$", r"\$").lstrip("_") or " "


def _pitch_axis(ax: Axes, low: int, high: int) -> None:
    octaves = [p for p in range(128) if p % 12 == 0 and low - 3 <= p <= high + 3]
    ax.set_yticks(octaves, [pitch_name(p) for p in octaves])
    ax.set_ylim(low - 2, high + 2)


@dataclass(frozen=True)
class Picture:
    """A PNG that JupyterLab, an HTML page and a code host's preview all show."""

    png: bytes
    text: str  # what it shows, for readers who do not see it

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        encoded = base64.b64encode(self.png).decode("ascii")
        return {"image/png": encoded, "text/plain": self.text}, {"image/png": {"alt": self.text}}

    def __repr__(self) -> str:
        return self.text

    def save(self, path: str | Path) -> Path:
        """Write the PNG to a file."""
        Path(path).write_bytes(self.png)
        return Path(path)


def described(figure: Figure | Axes, text: str) -> Picture:
    """A matplotlib figure as a picture with words for readers who do not see it; closes it."""
    figure = figure.figure if isinstance(figure, Axes) else figure
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS)
    plt.close(figure)
    return Picture(buffer.getvalue(), text)


def engrave(piece: Piece):
    """The piece laid out by verovio: its toolkit, from which pages and MIDI can be had."""
    import verovio

    toolkit = verovio.toolkit()
    toolkit.setOptions(
        {"pageWidth": 1800, "adjustPageHeight": True, "pageHeight": 60000, "scale": 45,
         "footer": "none", "header": "none", "xmlIdSeed": 1, "breaks": "auto"}
    )  # fmt: skip
    if not toolkit.loadData(to_musicxml(piece)):
        raise ValueError(f"piece {piece.name!r}: verovio could not read its MusicXML")
    return toolkit


def misplaced_notes(piece: Piece, toolkit) -> int:
    """How many notes of the piece an engraving does not hold at their onset.

    Compares with verovio's own MIDI of what it engraved, pitch by pitch, to one of its ticks (120 a
    quarter). 0 for the chorales; music21 and verovio still disagree about some triplets and the
    gaps between them.
    """
    engraved = symusic.Score.from_midi(base64.b64decode(toolkit.renderToMIDI()))
    found = np.array([(n.pitch, n.start) for track in engraved.tracks for n in track.notes])
    wanted = piece.notes["onset"] * engraved.ticks_per_quarter / piece.ticks_per_quarter
    wrong = 0
    for pitch in np.unique(piece.notes["pitch"]):
        ours = np.sort(wanted[piece.notes["pitch"] == pitch])
        theirs = np.sort(found[found[:, 0] == pitch, 1])
        both = min(len(ours), len(theirs))
        wrong += len(ours) - both + int((np.abs(ours[:both] - theirs[:both]) > 1).sum())
        wrong += len(theirs) - both
    return wrong


def score(piece: Piece) -> Picture:
    """Engrave the piece as notes on its staves (`to_stream`); `piece.bars(1, 8)` for a part of it.

    The picture's text says how many notes, if any, do not stand where they sound.
    """
    import resvg_py

    if not len(piece):
        raise ValueError(f"piece {piece.name!r} holds no notes to engrave")
    toolkit = engrave(piece)
    # Text is set in matplotlib's own fonts: a bare machine has none. They lack verovio's private
    # code for the quarter note of a tempo mark, but hold Unicode's.
    svg = toolkit.renderToSVG(1)
    svg = svg.replace("\ueca5", "\N{QUARTER NOTE}").replace('"Leipzig"', '"DejaVu Sans"')
    png = resvg_py.svg_to_bytes(
        svg_string=svg,
        background="white",
        skip_system_fonts=True,
        font_dirs=[str(Path(get_data_path()) / "fonts" / "ttf")],
        font_family="DejaVu Serif",
        serif_family="DejaVu Serif",
    )
    text = f"Score of {piece.name}: {len(piece.bar_starts())} bars, {len(piece)} notes"
    wrong = misplaced_notes(piece, toolkit)
    return Picture(bytes(png), text + (f", {wrong} of them NOT where they sound" if wrong else ""))


@lru_cache(maxsize=1)
def _synthesizer():
    font = resources.files("pretty_midi") / "TimGM6mb.sf2"
    if not font.is_file():
        raise FileNotFoundError(
            "pretty_midi's sound font TimGM6mb.sf2 is missing; reinstall it with "
            "`pip install --force-reinstall pretty-midi`"
        )
    return symusic.Synthesizer(sf_path=str(font), sample_rate=SAMPLE_RATE)


def render(piece: Piece) -> np.ndarray:
    """The piece as sound: mono float32 samples at 22,050 Hz, loudest sample 0.9."""
    if not len(piece):
        raise ValueError(f"piece {piece.name!r} holds no notes to play")
    mono = _synthesizer().render(to_symusic(piece), True).mean(axis=0)
    return (0.9 * mono / max(np.abs(mono).max(), 1e-9)).astype(np.float32)


@dataclass(frozen=True)
class Sound:
    """An MP3 with a player, self-contained in the page."""

    mp3: bytes
    seconds: float
    notes: int
    name: str
    whole: float  # seconds of the whole piece, of which this may be the beginning
    is_cut: bool = False  # whether notes at its end were left out

    @property
    def source(self) -> str:
        """The MP3 as an address that holds it."""
        return "data:audio/mpeg;base64," + base64.b64encode(self.mp3).decode("ascii")

    def _repr_html_(self) -> str:
        label = html.escape(repr(self), quote=True)
        return (
            f'<audio controls preload="metadata" aria-label="{label}" src="{self.source}"></audio>'
        )

    def __repr__(self) -> str:
        cut = f", the beginning of {self.whole:,.0f} s" if self.is_cut else ""
        return f"Sound of {self.name}: {self.notes} notes, {self.seconds:.0f} s{cut}"

    def save(self, path: str | Path) -> Path:
        """Write the MP3 to a file."""
        Path(path).write_bytes(self.mp3)
        return Path(path)


def audio(piece: Piece, longest: float = LONGEST_SOUND) -> Sound:
    """The piece, or its first `longest` seconds, played by a sampled piano: an MP3 in the page.

    Raises ValueError for a piece without notes.
    """
    import soundfile

    heard = piece
    if piece.seconds > longest:
        heard = replace(piece, notes=piece.notes[piece.seconds_at(piece.notes["onset"]) < longest])
    samples = render(heard)[: round((longest + 3) * SAMPLE_RATE)]
    buffer = io.BytesIO()
    # A constant bit rate: with a variable one, browsers jump up to a second beside the place.
    soundfile.write(buffer, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III",
                    compression_level=0.8, bitrate_mode="CONSTANT")  # fmt: skip
    seconds = len(samples) / SAMPLE_RATE
    cut = len(heard) < len(piece) or piece.seconds > longest + 3
    return Sound(buffer.getvalue(), seconds, len(heard), piece.name, piece.seconds, cut)


def describe(piece: Piece) -> str:
    """A piano roll in words, for readers who do not see it."""
    if not len(piece):
        return f"Piano roll of {piece.name or 'a piece'}: no notes"
    low, high = piece.notes["pitch"].min(), piece.notes["pitch"].max()
    hands = len(np.unique(piece.notes["track"]))
    return (
        f"Piano roll of {piece.name or 'a piece'}: {len(piece)} notes on {hands} "
        f"track{'s' if hands > 1 else ''}, {len(piece.bar_starts())} bars, {piece.seconds:.0f} s, "
        f"pitches from {pitch_name(int(low))} to {pitch_name(int(high))}"
    )


def roll(piece: Piece) -> Picture:
    """The piano roll as a picture with a text alternative."""
    return Picture(
        _roll_png([piece], max(1.0, piece.end / piece.ticks_per_quarter)), describe(piece)
    )


@dataclass(frozen=True)
class Player:
    """Piano rolls with their sounds, in one output that needs no network and no other file.

    A cursor follows the sound; a click or an arrow key on a roll moves both. Without scripts the
    pictures and plain audio controls remain, without HTML one picture of all rolls.
    """

    rolls: tuple[Picture, ...]
    sounds: tuple[Sound | None, ...]  # None for a piece without notes
    places: tuple[tuple[tuple[float, float], ...], ...]  # (seconds, share of the picture's width)
    bars: tuple[float, ...]  # seconds of a bar: the step of an arrow key
    together: Picture

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data, metadata = self.together._repr_mimebundle_()
        return data | {"text/html": self.html(), "text/plain": repr(self)}, metadata

    def html(self) -> str:
        """The output cell: pictures, audio controls, and the script that ties them together."""
        parts = []
        for picture, sound, places, bar in zip(self.rolls, self.sounds, self.places, self.bars):
            text = html.escape(picture.text, quote=True)
            source = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
            control = (
                f'<audio controls preload="metadata" aria-label="{html.escape(repr(sound))}" '
                f'src="{sound.source}"></audio>'
                if sound
                else "<p>There is nothing to play.</p>"
            )
            slider = (
                f"tabindex='0' role='slider' aria-label='Place in {text}; space plays, arrow keys "
                f"move by a bar' aria-valuemin='0' aria-valuenow='0' "
                f"aria-valuemax='{min(places[-1][0], sound.seconds):.1f}'"
                if sound
                else ""
            )
            part = silent = ""
            if sound and sound.is_cut:
                part = f"<p>{html.escape(repr(sound))}; the rest, shaded, has no sound.</p>"
                left = np.interp(sound.seconds, *zip(*places))
                right = 1 - places[-1][1]
                silent = f'<span class="silent" style="left:{left:.2%};right:{right:.2%}"></span>'
            parts.append(
                f"<figure class='pianolstm-player' role='group' aria-label='{text}' "
                f"data-places='{json.dumps(places)}' data-bar='{bar:.3f}'>"
                f'<div class="roll" {slider}><img src="{source}" alt="{text}">'
                f'{silent}<span class="cursor"></span></div>{control}{part}</figure>'
            )
        folder = resources.files("pianolstm") / "templates"
        style, script = ((folder / f"player.{kind}").read_text("utf-8") for kind in ("css", "js"))
        return f"<style>{style}</style>{''.join(parts)}<script>{script}</script>"

    def __repr__(self) -> str:
        return "\n".join(
            f"{picture.text}; {'playable' if sound else 'nothing to play'}"
            for picture, sound in zip(self.rolls, self.sounds)
        )

    @property
    def size(self) -> int:
        """Bytes of the pictures and sounds of the HTML."""
        return sum(len(p.png) for p in self.rolls) + sum(len(s.mp3) for s in self.sounds if s)


def player(piece: Piece) -> Player:
    """The piece as a piano roll that plays: press play, click on the roll, or use the arrow keys.

    A piece without notes gives an empty roll, one of more than ten minutes plays its beginning.
    """
    return compare([piece])


def compare(pieces: Sequence[Piece], titles: Sequence[str] | None = None) -> Player:
    """Piano rolls one above the other, time (in quarters) and pitch to one scale, each playable.

    Raises ValueError unless there is a title for each piece.
    """
    titles = [piece.name.replace("_", " ") for piece in pieces] if titles is None else titles
    if len(titles) != len(pieces) or not len(pieces):
        raise ValueError(f"{len(pieces)} pieces and {len(titles)} titles: give one for each")
    longest = max(1.0, *(piece.end / piece.ticks_per_quarter for piece in pieces))
    named = [replace(piece, name=title) for piece, title in zip(pieces, titles)]
    texts = [describe(piece) for piece in named]
    pitches = np.concatenate([piece.notes["pitch"] for piece in pieces])
    span = (int(pitches.min()), int(pitches.max())) if len(pitches) else None
    rolls = [Picture(_roll_png([p], longest, span), text) for p, text in zip(named, texts)]
    together = (
        rolls[0] if len(rolls) == 1 else Picture(_roll_png(named, longest, span), "; ".join(texts))
    )
    sounds = [audio(piece) if len(piece) else None for piece in named]
    bars = [piece.seconds / max(1, len(piece.bar_starts())) or 1.0 for piece in named]
    places = [_places(piece, longest) for piece in named]
    return Player(tuple(rolls), tuple(sounds), tuple(places), tuple(bars), together)


ROLL_SIZE = (10, 3.0)  # inches
ROLL_EDGES = (0.055, 0.985)  # left and right end of the time axis, as shares of the width


def _roll_png(
    pieces: Sequence[Piece], longest: float, span: tuple[int, int] | None = None
) -> bytes:
    """Rolls one above the other, time from 0 to `longest` quarters, the pitches of `span`."""
    width, height = ROLL_SIZE
    figure = Figure(figsize=(width, height * len(pieces)), dpi=DOTS)
    (left, right), share = ROLL_EDGES, 1 / len(pieces)
    for row, piece in enumerate(pieces):
        bottom = (len(pieces) - 1 - row) * share
        ax = figure.add_axes((left, bottom + 0.17 * share, right - left, 0.71 * share))
        piano_roll(piece, ax)
        ax.set_xlim(0, longest)
        if span:
            _pitch_axis(ax, *span)
        title = ax.get_title()
        ax.set_title("")
        ax.set_title(title, loc="left", fontproperties=_font(11))
        if legend := ax.get_legend():
            labels = [text.get_text() for text in legend.get_texts()]
            ax.legend(legend.legend_handles, labels, ncols=6, loc="lower right", frameon=False,
                      bbox_to_anchor=(1.0, 1.0), prop=_font(8), borderaxespad=0.3)  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _places(piece: Piece, longest: float) -> tuple[tuple[float, float], ...]:
    """Where the cursor is: (seconds, share of the width) at the start, each tempo and the end."""
    left, right = ROLL_EDGES
    tempi = (t for t, _ in piece.tempi if 0 < t < piece.end)
    ticks = np.array(sorted({0, *tempi, max(piece.end, 1)}))
    widths = left + ticks * (right - left) / (longest * piece.ticks_per_quarter)
    seconds = piece.seconds_at(ticks)
    return tuple((round(s, 3), round(w, 5)) for s, w in zip(seconds.tolist(), widths.tolist()))
