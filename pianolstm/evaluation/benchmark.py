"""The polyphonic benchmark of Boulanger-Lewandowski, Bengio and Vincent (2012).

Four sets of binary piano rolls, each with its own split. The measure is the negative log-likelihood
of the test pieces in nats a frame: every frame counts, the first of a piece too, and all pieces are
pooled. The number of frames is given, so the end of a piece costs nothing.

A model *factorises* over the notes of a frame if, given the past, it draws each note independently
of the others. It then cannot know that a chord has one third and not two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from pianolstm.checkpoint import OWN_KEY, Checkpoint
from pianolstm.dataset import Dataset, load_songs
from pianolstm.encodings.rolls import FRAME_ENDS, KEYS, SAME, PianoRollEncoding
from pianolstm.evaluation.baselines import KneserNey, fitted_bigram
from pianolstm.evaluation.fitting import ngrams_of
from pianolstm.evaluation.likelihood import nll
from pianolstm.evaluation.statistics import bootstrap, ratio
from pianolstm.memory import Memory
from pianolstm.vocabulary import Vocabulary

PARTS = ("traindata", "validdata", "testdata")
ORDERS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)  # of n-grams, tried upwards


class Published(NamedTuple):
    """A result from the literature: test nats a frame."""

    name: str  # with its source
    factorises: bool  # over the notes of a frame
    nats: dict[str, float]


PUBLISHED = (
    Published("LSTM (Chung et al. 2014)", True,
              {"JSB": 8.67, "Nottingham": 3.20, "MuseData": 6.23, "Piano-midi": 9.03}),
    Published("TCN (Bai et al. 2018)", True, {"JSB": 8.10, "Nottingham": 3.07}),
    Published("RNN-RBM (Boulanger-Lewandowski et al. 2012)", False,
              {"JSB": 6.27, "Nottingham": 2.39, "MuseData": 6.01, "Piano-midi": 7.09}),
    Published("RNN-NADE, Hessian-free (Boulanger-Lewandowski et al. 2012)", False,
              {"JSB": 5.56, "Nottingham": 2.31, "MuseData": 5.60, "Piano-midi": 7.05}),
)  # fmt: skip


def load_rolls(path: Path) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Training, validation and test pieces of a `.mat` file: rolls (frames, 88) of 0 and 1.

    Raises ValueError for a file that cannot be read or holds something else.
    """
    from scipy.io import loadmat  # slow to import

    advice = "Use a file such as JSB_Chorales.mat, see the README"
    try:
        content = loadmat(str(path))
        parts = tuple([np.asarray(roll) for roll in content[part].ravel()] for part in PARTS)
    except Exception as error:  # a missing or damaged file raises one of many kinds
        found = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path.name}: no file of piano rolls ({found}). {advice}") from error
    for name, rolls in zip(PARTS, parts):
        for number, roll in enumerate(rolls, 1):
            if roll.shape[1:] != (KEYS,) or not np.isin(roll, (0, 1)).all():
                raise ValueError(
                    f"{path.name}: piece {number} of {name} has shape {roll.shape}; expected "
                    f"frames × {KEYS} of zeros and ones. {advice}"
                )
    return parts


def roll_dataset(
    train: Sequence[np.ndarray],
    valid: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
    encoding: PianoRollEncoding,
) -> Dataset:
    """Rolls (frames, 88) as training data."""
    known = Vocabulary(encoding.all_tokens())
    parts = ([known.encode(encoding.write(roll)) for roll in part] for part in (train, valid, test))
    return Dataset.from_ids(encoding, known, *parts)


def roll_data(rolls: Path, encoding: PianoRollEncoding) -> Dataset:
    """Piano rolls of a .mat file, or of a folder of MIDI files, see `load_songs`."""
    if not rolls.is_dir():
        return roll_dataset(*load_rolls(rolls), encoding)
    songs = load_songs(rolls, encoding)
    lost = sum(encoding.lost(piece) for part in songs.split or () for piece in part)
    note = f"{lost:,} notes lie between the frames and are in none"
    return replace(songs, report=f"{songs.report}\n{note}")


def frame_ends(vocabulary: Vocabulary) -> list[int]:
    """The ids that end a frame."""
    return [vocabulary.ids[token] for token in FRAME_ENDS if token in vocabulary]


def frame_losses(
    losses: Sequence[np.ndarray], pieces: Sequence[np.ndarray], ends: int | Sequence[int]
) -> list[np.ndarray]:
    """Nats of every frame, one array (frames,) a piece.

    losses: nats of every token after `<bos>`, as from `nll`; pieces: their ids, `<bos>` in front;
    ends: ids that end a frame.
    """
    result = []
    for loss, ids in zip(losses, pieces, strict=True):
        last = np.flatnonzero(np.isin(ids[1:], ends))
        result.append(np.add.reduceat(loss.astype(float), [0, *last[:-1] + 1]))
    return result


def frame_nll(losses: Sequence[np.ndarray], data: Dataset, pieces: Sequence[np.ndarray]) -> float:
    """Nats a frame, every frame counted, pooled over pieces."""
    frames = frame_losses(losses, pieces, frame_ends(data.vocabulary))
    return float(np.concatenate(frames).mean())


# ---- baselines


def best_order(data: Dataset) -> KneserNey:
    """The Kneser-Ney model, of pieces in their own key or in all keys, that is best on validation.

    Orders are tried upwards until two in succession bring no improvement.
    """
    best, best_loss = None, np.inf
    for pieces in (data.train_own_key, data.train_all_keys):
        losses = []
        for order in tqdm(ORDERS, "n-grams, at most", unit="order", leave=False, disable=None):
            model = KneserNey(pieces, len(data.vocabulary), order)
            losses.append(np.concatenate(model.losses(data.valid)).mean())
            if losses[-1] < best_loss:
                best, best_loss = model, losses[-1]
            if len(losses) - np.argmin(losses) > 2:
                break
    return best


def repeats(ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """For each frame of a piece whether it is the same as the one before; bool, (frames,)."""
    last = np.flatnonzero(np.isin(ids[1:], frame_ends(vocabulary)))
    frames, same = np.split(ids[1:], last + 1)[:-1], [vocabulary.ids.get(SAME)]
    found = [list(frame) == same or np.array_equal(frame, before)
             for before, frame in pairwise(frames)]  # fmt: skip
    return np.array([False, *found])


def repeat_losses(data: Dataset, bigram_losses: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Nats of every test frame under a model that repeats the last frame, or else draws a new one.

    p(frame) = r · [it is the last one] + (1 − r) · bigram(frame), where r is the share of frames of
    the training pieces that repeat the one before. A piece's first frame has none before it.
    """
    known = data.vocabulary
    r = np.concatenate([repeats(ids, known) for ids in data.train_own_key]).mean()
    result = frame_losses(bigram_losses, data.test, frame_ends(known))
    for nats, ids in zip(result, data.test):
        nats[1:] = -np.log(r * repeats(ids, known) + (1 - r) * np.exp(-nats))[1:]
    return result


def baseline_rows(data: Dataset) -> dict[str, float]:
    """Test nats a frame of the models that only count; what they choose, validation chooses."""
    bigram, ngram = fitted_bigram(data).losses(data.test), best_order(data)
    return {
        "repeat the last frame": float(np.concatenate(repeat_losses(data, bigram)).mean()),
        "bigram": frame_nll(bigram, data, data.test),
        f"Kneser-Ney, order {ngram.order}": frame_nll(ngram.losses(data.test), data, data.test),
    }


# ---- results


def measure(trained: Checkpoint, data: Dataset) -> dict:
    """Validation and test nats a frame: of the network, then with what validation has added.

    First it reads in several keys at once, then come its memory, and n-grams beside that: each is
    "less" than the row before, over test pieces. "pieces" are (nats, frames) of each.
    """
    memory, kept = trained.memory, {}
    if len(trained.keys) > 1:
        kept[f"… read in {len(trained.keys)} keys at once"] = _nats(trained, data, None)
    if memory is not None:
        kept["… and a memory of the piece"] = _nats(trained, data, memory)
    if memory is not None and trained.train_config.memory == "ngrams":
        beside = replace(memory, ngrams=ngrams_of(data))
        kept["… and n-grams of the training pieces"] = _nats(trained, data, beside)
    alone = _nats(replace(trained, keys=OWN_KEY), data, None)
    for before, after in pairwise([alone, *kept.values()]):
        was, now = np.array(before["pieces"]), np.array(after["pieces"])
        after["less"] = bootstrap(np.column_stack([was[:, 0] - now[:, 0], now[:, 1]]), ratio)
    return alone | {
        "network": trained.model.config.name,
        "parameters": trained.model.parameter_count(),
        "minutes": round(trained.history[-1]["seconds"] / 60, 2),
        "tokens_per_second": int(np.median([e["tokens_per_second"] for e in trained.history])),
        "with": kept,
    }


def _nats(trained: Checkpoint, data: Dataset, memory: Memory | None) -> dict:
    parts = {"valid": data.valid, "test": data.test}
    losses = {part: nll(trained.predictor, parts[part], memory=memory).per_piece for part in parts}
    found = {part: frame_nll(losses[part], data, parts[part]) for part in parts}
    frames = frame_losses(losses["test"], data.test, frame_ends(data.vocabulary))
    return found | {"pieces": [[round(nats.sum(), 3), len(nats)] for nats in frames]}


def table(name: str, rows: dict[str, float]) -> str:
    """Test nats a frame of our rows, below what is published for the set of that name."""
    lines = [f"{'test nats a frame':66}{'':9}notes of a frame"]
    for row in PUBLISHED:
        for key, nats in row.nats.items():
            if name.lower().replace("_", "-").startswith(key.lower()):
                drawn = "each by itself" if row.factorises else "together"
                lines.append(f"{row.name:66}{nats:6.2f}   {drawn}")
    lines += [f"{label:66}{nats:6.2f}   together" for label, nats in rows.items()]
    return "\n".join(lines)
