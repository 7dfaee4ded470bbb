"""The polyphonic benchmark of Boulanger-Lewandowski, Bengio and Vincent (2012).

Four sets of binary piano rolls, each with its own split. The measure is the negative log-likelihood
of the test pieces in nats a frame: every frame counts, the first of a piece too, and all pieces are
pooled. The number of frames is given, so no end of a piece is paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pianolstm.dataset import ALL_KEYS, Dataset
from pianolstm.encoding.pianoroll import KEYS, PianoRollEncoding
from pianolstm.vocabulary import Vocabulary

PARTS = ("traindata", "validdata", "testdata")


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
    except (MatReadError, ValueError, TypeError, NotImplementedError, EOFError) as error:
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
    train: Sequence[np.ndarray], valid: Sequence[np.ndarray], test: Sequence[np.ndarray]
) -> Dataset:
    """Rolls (frames, 88) as training data, in all keys in which a piece fits on the piano.

    Where it does not fit, the piece stands in its own key instead.
    """
    encoding = PianoRollEncoding()
    vocabulary = Vocabulary(encoding.all_tokens())

    def ids(roll: np.ndarray) -> np.ndarray:
        return vocabulary.encode(encoding.write(roll))

    def in_all_keys(roll: np.ndarray) -> list[np.ndarray]:
        used = np.flatnonzero(roll.any(axis=0))
        low, high = (used[0], used[-1]) if len(used) else (0, KEYS - 1)
        fits = [s if low + s >= 0 and high + s < KEYS else 0 for s in ALL_KEYS]
        return [ids(np.roll(roll, s, axis=1)) for s in fits]

    return Dataset(
        None,
        encoding,
        vocabulary,
        [in_all_keys(roll) for roll in train],
        [ids(roll) for roll in valid],
        [ids(roll) for roll in test],
    )


def frame_nll(losses: Sequence[np.ndarray], pieces: Sequence[np.ndarray], frame_end: int) -> float:
    """Nats a frame, pooled over pieces; `losses` of every token after `<bos>`, as from `nll`."""
    frames = sum(int((ids == frame_end).sum()) for ids in pieces)
    return float(sum(loss.sum() for loss in losses) / frames)
