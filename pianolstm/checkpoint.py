"""Checkpoints that can rebuild their own network.

A checkpoint is one safetensors file: the weights, and as JSON in its header the configurations of
network and training, the vocabulary, the encoding and the history. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from pianolstm.encodings import Encoding, encoding_named
from pianolstm.memory import PASSED_OVER, Memory
from pianolstm.networks import NETWORKS, InSeveralKeys, NetworkConfig, build_network, network_config
from pianolstm.vocabulary import Vocabulary, transposed_ids

FORMAT = "pianolstm 2"
OWN_KEY = (0,)  # semitones by which a piece is moved
FOLDER = Path(__file__).with_name("checkpoints")  # of those that come with the package


@dataclass(frozen=True)
class TrainConfig:
    """How to train. A network may have defaults of its own, see `networks.register`."""

    epochs: int = 240  # passes over all pieces, each in one key drawn at random
    batch: int = 16  # B: parallel rows, or windows
    steps: int = 32  # T: steps of a chunk, or the window's length
    learning_rate: float = 8e-3  # the largest
    constant_rate: bool = False  # no rise and no fall
    warmup: float = 0.02  # share of the run in which the rate rises to its maximum
    final_rate: float = 0.02  # share of the maximum at the end of the cosine
    optimizer: str = "adamw"  # or "rmsprop", as the article's
    weight_decay: float = 0.03  # AdamW's
    noise: float = 0.0  # share of the tokens read that are replaced by others of the batch
    clip: float = 1.0  # largest gradient norm; 0 = off
    transpose: bool = True  # a new random key for each piece in each epoch
    transpose_until: float = 1.0  # share of the run after which pieces stay in their own keys
    keep_improvements: bool = False  # the article's checkpoint whenever the training loss improves
    seconds: float | None = None  # stop after so long, validation included; no limit unless given
    memory: str = ""  # at the end fit one on validation: "past", or "ngrams" for n-grams beside it
    start: str = ""  # go on from the weights of this network, a file or a name; else drawn anew
    seed: int = 0  # of weights, order, keys and dropout


def train_config(network: str, **changes) -> TrainConfig:
    """The training of a registered network, with changes to its defaults."""
    return TrainConfig(**(NETWORKS[network].training | changes))


def configure(
    network: str, encoding: Encoding, vocabulary_size: int, settings: dict[str, object]
) -> tuple[NetworkConfig, TrainConfig]:
    """The configurations of a network and of its training, with some `settings` changed.

    A network that goes on from another (`TrainConfig.start`) is of that one's size.

    Raises ValueError for a setting that does not exist, or means nothing here, or is impossible.
    """
    model, config = network_config(network, vocabulary_size), train_config(network)
    if start := settings.get("start"):
        model = replace(load_pretrained(start).model.config, vocabulary_size=vocabulary_size)
    kind, known = NETWORKS[network].build, {*vars(model), *vars(config)} - {"name"}
    useless = {*kind.ignores}
    chosen = {"shared": kind.reads == "streams" and encoding.shares} | settings
    if getattr(encoding, "home", False) and "transpose_until" not in settings:
        chosen = {"transpose": False} | chosen  # it would lead away from home
    model = replace(model, **{k: v for k, v in chosen.items() if k in vars(model)})
    config = replace(config, **{k: v for k, v in chosen.items() if k in vars(config)})
    useless |= {"warmup", "final_rate"} if config.constant_rate else set()
    useless |= {"weight_decay"} if config.optimizer == "rmsprop" else set()
    for name in settings:
        if name not in known:
            raise ValueError(f"no setting {name!r}. Choose from {', '.join(sorted(known))}")
        if name in useless:
            raise ValueError(f"{name} means nothing to the network {network!r} trained so")
    if not 0 <= config.transpose_until <= 1:
        raise ValueError(f"transpose_until {config.transpose_until}: a share is between 0 and 1")
    if config.memory not in ("", "past", "ngrams"):
        raise ValueError(f"memory {config.memory!r}: choose past or ngrams, or leave it out")
    return model, config


class CheckpointError(ValueError):
    """A checkpoint file that cannot be used. Says which, what was found and what to do."""


@dataclass
class Checkpoint:
    """A network with all that is needed to use it."""

    model: nn.Module
    vocabulary: Vocabulary
    encoding: Encoding
    history: list[dict] = field(default_factory=list)  # one row an epoch
    train_config: TrainConfig = field(default_factory=TrainConfig)
    command: str = ""  # that trained it
    memory: Memory | None = None  # of a piece's own past, for networks that write with one
    keys: tuple[int, ...] = OWN_KEY  # semitones: in which keys `predictor` reads a piece

    @property
    def predictor(self) -> nn.Module:
        """What measures and writes: the network, or the mean of what it expects in all `keys`."""
        if self.keys == OWN_KEY:
            return self.model
        table = transposed_ids(self.encoding, self.vocabulary, self.vocabulary.tokens, self.keys)
        return InSeveralKeys(self.model, table).eval()

    @property
    def counts(self) -> dict[int, int]:
        """Ids that number something, each with the id that must follow; for `generate`."""
        ids = self.vocabulary.ids
        return {ids[a]: ids[b] for a, b in self.encoding.successors().items() if a in ids}

    @property
    def same(self) -> np.ndarray:
        """Classes (V,) of ids for a `Memory`, as the encoding tells them apart."""
        names = [self.encoding.remembered_as(token) for token in self.vocabulary.tokens]
        return np.array([PASSED_OVER if name is None else names.index(name) for name in names])


def save_checkpoint(
    path: str | Path,
    checkpoint: Checkpoint,
    dtype: torch.dtype = torch.float32,
    extra: dict[str, torch.Tensor] | None = None,
) -> Path:
    """Write a checkpoint whole or not at all: into a temporary file, then renamed over the old one.

    `dtype` is the precision of the stored weights; `extra` holds further tensors (for resuming).
    """
    path = Path(path)
    weights = {k: v.detach().to("cpu", dtype) for k, v in checkpoint.model.state_dict().items()}
    tensors = {k: v.contiguous() for k, v in (weights | (extra or {})).items()}
    header = {
        "format": FORMAT,
        "network": asdict(checkpoint.model.config),
        "encoding": checkpoint.encoding.to_dict(),
        "vocabulary": checkpoint.vocabulary.tokens[1:],
        "train": asdict(checkpoint.train_config),
        "history": checkpoint.history,
        "command": checkpoint.command,
        "keys": checkpoint.keys,
    }
    if checkpoint.memory is not None:
        header["memory"] = checkpoint.memory.to_dict()
    texts = {part: json.dumps(value, ensure_ascii=False) for part, value in header.items()}
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        file.write(save(tensors, metadata=texts))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path


def read_file(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Header and tensors of a checkpoint. Raises CheckpointError for any other file."""
    if not path.is_file():
        raise CheckpointError(
            f"{path.absolute()}: no such checkpoint. Check the path, or train one"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path.name}: damaged, or no checkpoint of ours ({error}). Fetch or train it again"
        ) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path.name}: a safetensors file without our header (format {header.get('format')!r} "
            f"instead of {FORMAT!r}). Use a file that this version's `train` wrote"
        )
    return header, tensors


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Rebuild a network from its file, in evaluation mode and full precision.

    Raises `CheckpointError`, naming the part, for a missing or damaged file.
    """
    path, part = Path(path), ""
    header, tensors = read_file(path)
    try:
        for part, kind in (("vocabulary", list), ("history", list), ("command", str)):
            if type(header[part]) is not kind:
                raise TypeError(f"{kind.__name__} expected")
        part = "vocabulary"
        vocabulary = Vocabulary(header[part])
        tokens = vocabulary.tokens
        part = "encoding"
        encoding = encoding_named(**header[part])
        part = "network"
        config = _of_right_types(NetworkConfig, header[part])
        if config.vocabulary_size != len(vocabulary):
            raise ValueError(f"vocabulary_size is not that of the {len(vocabulary)} tokens")
        model = build_network(config, encoding.features(tokens), encoding.grammar(tokens)).eval()
        part = "weights"
        # Copies into full precision
        model.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("resume.")})
        part = "train"
        train = _of_right_types(TrainConfig, header[part])
        part = "history"
        history = [{**row} for row in header[part]]
        found = Checkpoint(model, vocabulary, encoding, history, train, header["command"])
        part = "memory"
        if part in header:
            found.memory = Memory.from_dict(header[part], found.same)
        part = "keys"
        found.keys = tuple(map(int, header.get(part, OWN_KEY)))
    except Exception as error:  # whatever the parts raise
        raise CheckpointError(
            f"{path.name}: its {part} cannot be used ({type(error).__name__}: {error}). Fetch or "
            "train it again"
        ) from error
    return found


def _of_right_types(kind: type, settings: dict) -> NetworkConfig | TrainConfig:
    """A configuration. Raises TypeError for a setting that is not of its default's type."""
    config = kind(**settings)
    for name, default in vars(kind()).items():
        value = getattr(config, name)
        numbers = (int, float) if type(default) in (float, type(None)) else ()
        if type(value) not in (type(default), *numbers):
            raise TypeError(f"{name} is {value!r}, but by default {default!r}")
    return config


def load_pretrained(name: str) -> Checkpoint:
    """A network that comes with the package, or that a file holds.

    "article", "article_2019" and "note" write chords in even steps (notebooks 04 to 06),
    "rhythm" and "events" write whole pieces with their rhythm (07, 08), "form" does so with a
    memory of the piece (13), "ensemble" writes for four parts (10). "rolls", "jsb" and "nottingham"
    write frames of a piano roll, learned from our chorales and from two published collections (11).

    Raises CheckpointError, which lists the names, for another one.
    """
    if Path(name).suffix:
        return load_checkpoint(name)
    known = {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}
    if name not in known:
        raise CheckpointError(
            f"{name!r} is none of the networks that come with the package: {', '.join(known)}. "
            "Choose one, or give a file"
        )
    return load_checkpoint(known[name])
