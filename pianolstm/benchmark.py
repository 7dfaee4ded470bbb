"""The polyphonic benchmark of Boulanger-Lewandowski, Bengio and Vincent (2012).

Four sets of binary piano rolls, each with its own split. The measure is the negative log-likelihood
of the test pieces in nats a frame: every frame counts, the first of a piece too, and all pieces are
pooled. The number of frames is given, so no end of a piece is paid for.

A model *factorises* over the notes of a frame if, given the past, it draws each note without
looking at the others; it then cannot know that a chord has one third and not two.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pianolstm.baselines import Bigram, KneserNey, fitted_bigram
from pianolstm.dataset import Dataset
from pianolstm.encodings.rolls import FRAME_END, KEYS, PianoRollEncoding
from pianolstm.vocabulary import Vocabulary

PARTS = ("traindata", "validdata", "testdata")
ORDERS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)  # of n-grams, tried upwards


@dataclass(frozen=True)
class Published:
    """A row of the literature: test nats a frame."""

    name: str
    source: str
    factorises: bool  # over the notes of a frame
    nats: dict[str, float]


PUBLISHED = (
    Published("LSTM", "Chung et al. 2014", True,
              {"JSB": 8.67, "Nottingham": 3.20, "MuseData": 6.23, "Piano-midi": 9.03}),
    Published("TCN", "Bai et al. 2018", True, {"JSB": 8.10, "Nottingham": 3.07}),
    Published("RNN-RBM", "Boulanger-Lewandowski et al. 2012", False,
              {"JSB": 6.27, "Nottingham": 2.39, "MuseData": 6.01, "Piano-midi": 7.09}),
    Published("RNN-NADE, Hessian-free", "Boulanger-Lewandowski et al. 2012", False,
              {"JSB": 5.56, "Nottingham": 2.31, "MuseData": 5.60, "Piano-midi": 7.05}),
)  # fmt: skip


class BenchmarkError(ValueError):
    """A file that is no benchmark of this kind. Says which, what was found and what to do."""


def load_rolls(path: str | Path) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Training, validation and test pieces of a `.mat` file, each a bool roll (frames, 88).

    Raises BenchmarkError for a file that cannot be read or holds something else.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = Path(path)
    advice = "Use a file such as JSB_Chorales.mat, see the README"
    if not path.is_file():
        raise BenchmarkError(f"{path}: no such file. {advice}")
    try:
        content = loadmat(path)
    except (MatReadError, ValueError, TypeError, NotImplementedError, EOFError, OSError,
            IndexError, zlib.error) as error:  # fmt: skip
        raise BenchmarkError(f"{path.name}: no MATLAB file ({error}). {advice}") from error
    missing = [part for part in PARTS if part not in content]
    if missing:
        raise BenchmarkError(f"{path.name}: {', '.join(missing)} missing. {advice}")
    parts = []
    for part in PARTS:
        rolls = [np.asarray(roll) for roll in content[part].ravel()]
        for number, roll in enumerate(rolls):
            if roll.ndim != 2 or roll.shape[1] != KEYS or not np.isin(roll, (0, 1)).all():
                raise BenchmarkError(
                    f"{path.name}: piece {number + 1} of {part} has shape {roll.shape}; expected "
                    f"frames × {KEYS} of zeros and ones. {advice}"
                )
        parts.append([roll.astype(bool) for roll in rolls])
    return tuple(parts)


def roll_dataset(
    train: Sequence[np.ndarray],
    valid: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    encoding: PianoRollEncoding,
) -> Dataset:
    """Rolls (frames, 88) as training data."""
    vocabulary = Vocabulary(encoding.all_tokens())
    parts = (
        [vocabulary.encode(encoding.write(r)) for r in rolls] for rolls in (train, valid, test)
    )
    return Dataset.from_ids(encoding, vocabulary, *parts)


def frame_losses(losses: Sequence[np.ndarray], pieces: Sequence[np.ndarray], frame_end: int):
    """Nats of every frame, one array (frames,) a piece.

    losses: nats of every token after `<bos>`, as from `nll`; pieces: their ids, `<bos>` in front.
    Raises ValueError where a piece does not end with a whole frame.
    """
    result = []
    for loss, ids in zip(losses, pieces, strict=True):
        ends = np.flatnonzero(ids[1:] == frame_end)
        if not len(ends) or ends[-1] != len(loss) - 1:
            raise ValueError("a piece does not end with a whole frame")
        result.append(np.add.reduceat(loss.astype(float), np.concatenate([[0], ends[:-1] + 1])))
    return result


def frame_nll(losses: Sequence[np.ndarray], data: Dataset, pieces: Sequence[np.ndarray]) -> float:
    """Nats a frame, every frame counted, pooled over pieces."""
    frames = frame_losses(losses, pieces, data.vocabulary.ids[FRAME_END])
    return float(np.concatenate(frames).mean())


# ---- baselines


def best_order(data: Dataset) -> KneserNey:
    """The interpolated Kneser-Ney model, in all keys or own, of the order best on validation.

    Orders are tried upwards until two in turn bring nothing.
    """
    best, least = None, np.inf
    for pieces in (data.train_own_key, data.train_all_keys):
        lowest, worse = np.inf, 0
        for order in ORDERS:
            model = KneserNey(pieces, len(data.vocabulary), order)
            loss = np.concatenate(model.losses(data.valid)).mean()
            if loss < least:
                best, least = model, loss
            worse = 0 if loss < lowest else worse + 1
            lowest = min(lowest, loss)
            if worse == 2:
                break
    return best


def repeat_losses(bigram: Bigram, data: Dataset, pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Nats of every frame under a model that repeats the last frame, or else draws a new one.

    p(frame) = r · [it is the last one] + (1 − r) · bigram(frame), where r is the share of frames of
    the training pieces that repeat the one before. A piece's first frame has none before it.
    """
    frame_end = data.vocabulary.ids[FRAME_END]
    train = np.concatenate([repeats(ids, frame_end) for ids in data.train_own_key])
    r = train.mean()
    frames = frame_losses(bigram.losses(pieces), pieces, frame_end)
    mixed = [
        -np.log(r * repeats(ids, frame_end) + (1 - r) * np.exp(-loss))
        for loss, ids in zip(frames, pieces)
    ]
    for loss, alone in zip(mixed, frames):
        loss[:1] = alone[:1]
    return mixed


def repeats(ids: np.ndarray, frame_end: int) -> np.ndarray:
    """For each frame of a piece whether it is the same as the one before; bool, (frames,)."""
    frames = np.split(ids[1:], np.flatnonzero(ids[1:] == frame_end) + 1)[:-1]
    same = [np.array_equal(a, b) for a, b in itertools.pairwise(frames)]
    return np.array([False, *same])


# ---- what the likelihood is made of

KINDS = ("notes of the last frame", "new notes", "ends of frames")


def kinds_of_tokens(ids: np.ndarray, frame_end: int) -> np.ndarray:
    """What each token after `<bos>` is, an index into `KINDS`; shape (T − 1,)."""
    kinds, last, current = [], set(), set()
    for token in ids[1:].tolist():
        if token == frame_end:
            kinds.append(2)
            last, current = current, set()
        else:
            kinds.append(int(token not in last))
            current.add(token)
    return np.array(kinds)


def copying(
    losses: Sequence[np.ndarray], data: Dataset, pieces: Sequence[np.ndarray]
) -> dict[str, tuple[int, float, float]]:
    """For each of `KINDS`: its tokens, nats a token, and nats a frame that all of them cost."""
    frame_end = data.vocabulary.ids[FRAME_END]
    kinds = np.concatenate([kinds_of_tokens(ids, frame_end) for ids in pieces])
    every = np.concatenate(losses)
    frames = (kinds == 2).sum()
    return {
        name: (int((kinds == i).sum()), float(every[kinds == i].mean()),
               float(every[kinds == i].sum() / frames))
        for i, name in enumerate(KINDS)
    }  # fmt: skip


def baselines(data: Dataset) -> dict[str, float]:
    """Test nats a frame of the models that only count; what they choose, validation chooses."""
    bigram, ngram = fitted_bigram(data), best_order(data)
    repeated = repeat_losses(bigram, data, data.test)
    return {
        "repeat the last frame": float(np.concatenate(repeated).mean()),
        "bigram": frame_nll(bigram.losses(data.test), data, data.test),
        f"Kneser-Ney, order {ngram.order}": frame_nll(ngram.losses(data.test), data, data.test),
    }


def table(name: str, rows: dict[str, float]) -> str:
    """Test nats a frame of our rows, and beside them what is published for the set."""
    lines = [f"{'test nats a frame':60}{'':9}notes of a frame"]
    plain = name.lower().replace("_", "-")
    key = next((key for key in PUBLISHED[0].nats if plain.startswith(key.lower())), None)
    for row in PUBLISHED:
        if key in row.nats:
            drawn = "each by itself" if row.factorises else "together"
            source = f"{row.name} ({row.source})"
            lines.append(f"{source:60}{row.nats[key]:6.2f}   {drawn}")
    lines += [f"{name:60}{nats:6.2f}   together" for name, nats in rows.items()]
    return "\n".join(lines)
