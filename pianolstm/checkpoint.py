"""Checkpoints that can rebuild their own model.

A checkpoint is one safetensors file: the weights, and as JSON in its header the model's
configuration, the vocabulary, the encoding and the history. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pianolstm.encodings import Encoding, encoding_from_dict
from pianolstm.model import ModelConfig, RecurrentNetwork, build_model
from pianolstm.vocabulary import Vocabulary, VocabularyMismatchError


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults are `NoteLSTM`'s; `article_config` gives the article's."""

    epochs: int = 240  # passes over all pieces, each in one key drawn at random
    batch: int = 16  # B: parallel rows, or windows
    steps: int = 32  # T: steps of a chunk, or the window's length
    learning_rate: float = 8e-3
    warmup: float = 0.02  # share of the run in which the rate rises to its maximum
    final_rate: float = 0.02  # share of the maximum at the end of the cosine
    optimizer: str = "adamw"  # or "rmsprop", as the article's
    weight_decay: float = 0.03
    noise: float = 0.0  # share of the tokens that the network reads replaced by others of the batch
    clip: float = 1.0  # largest gradient norm; 0 = off
    transpose: bool = True  # a new random key for each piece in each epoch
    transpose_until: float = 1.0  # share of the run after which pieces stay in their own keys
    keep_improvements: bool = False  # the article's checkpoint whenever the training loss improves
    seconds: float | None = None  # stop early after so long
    seed: int = 0


@dataclass
class Checkpoint:
    """A network with all that is needed to use it."""

    model: RecurrentNetwork
    vocabulary: Vocabulary
    encoding: Encoding
    history: list[dict] = field(default_factory=list)  # one row an epoch
    train_config: TrainConfig = field(default_factory=TrainConfig)

    @property
    def counts(self) -> dict[int, int]:
        """Ids that number something, each with the id that must follow; for `generate`."""
        ids = self.vocabulary.ids
        return {ids[a]: ids[b] for a, b in self.encoding.successors().items() if a in ids}


class CheckpointError(ValueError):
    """A checkpoint file that cannot be used. Says which, what was found and what to do."""


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
    header = {
        "format": "pianolstm 1",
        "model": asdict(checkpoint.model.config),
        "encoding": checkpoint.encoding.to_dict(),
        "vocabulary": checkpoint.vocabulary.tokens[1:],
        "train": asdict(checkpoint.train_config),
        "history": checkpoint.history,
    }
    data = save(
        {k: v.contiguous() for k, v in {**weights, **(extra or {})}.items()},
        metadata={key: json.dumps(value, ensure_ascii=False) for key, value in header.items()},
    )
    temporary = path.with_name(path.name + ".part")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return path


def read_file(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path.name}: no such checkpoint. Check the path, or train one")
    try:
        with safe_open(path, framework="pt") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path.name}: damaged, or no checkpoint of ours ({error}). Fetch or train it again"
        ) from error
    if header.get("format") != "pianolstm 1":
        raise CheckpointError(
            f"{path.name}: a safetensors file without our header (format "
            f"{header.get('format')!r} instead of 'pianolstm 1'). Use a file that train wrote"
        )
    for part, config in (("model", ModelConfig), ("train", TrainConfig)):
        header[part] = _known(header[part], config, path)
    return header, tensors


def load_checkpoint(path: str | Path, vocabulary: Vocabulary | None = None) -> Checkpoint:
    """Rebuild a network from its file, in evaluation mode and full precision.

    Give `vocabulary` to make sure that it is the one the network was trained with: raises
    `VocabularyMismatchError` if not. Raises `CheckpointError` for a missing or damaged file.
    """
    header, tensors = read_file(Path(path))
    own = Vocabulary(header["vocabulary"])
    if vocabulary is not None and vocabulary != own:
        raise VocabularyMismatchError(
            f"{Path(path).name} was trained with {len(own)} tokens, the vocabulary given has "
            f"{len(vocabulary)} ({len(set(own.tokens) & set(vocabulary.tokens))} in common). Use "
            "load_checkpoint(path).vocabulary, or train anew with yours"
        )
    encoding = encoding_from_dict(header["encoding"])
    model = build_model(
        model_config_of(header), encoding.features(own.tokens), encoding.grammar(own.tokens)
    )
    weights = {k: v.float() for k, v in tensors.items() if not k.startswith("resume.")}
    model.load_state_dict(weights)
    train_config = train_config_of(header)
    return Checkpoint(model.eval(), own, encoding, header["history"], train_config)


def shipped(name: str) -> Checkpoint:
    """A checkpoint that comes with the package.

    "article", "note" and "voicing" write chords in even steps (notebooks 04 to 06), "rhythm" and
    "events" write whole pieces with their rhythm (07, 08), "ensemble" writes for four parts (10).
    "rolls", "jsb" and "nottingham" write frames of a piano roll, learned from our chorales and from
    two published collections (11).

    Raises CheckpointError for another name.
    """
    path = Path(str(resources.files("pianolstm") / "checkpoints" / f"{name}.safetensors"))
    return load_checkpoint(path)


def train_config_of(header: dict) -> TrainConfig:
    """What a file's header says; before there was a choice, the network chose the optimizer."""
    article = header["model"]["network"] == "article"
    return TrainConfig(**{"optimizer": "rmsprop" if article else "adamw", **header["train"]})


def model_config_of(header: dict) -> ModelConfig:
    return ModelConfig(**{**header["model"], "hidden": tuple(header["model"]["hidden"])})


def _known(options: dict, config: type, path: Path) -> dict:
    """The options that `config` has. Another version's further ones do no harm if they are off.

    Raises CheckpointError if one is on.
    """
    names = {f.name for f in fields(config)}
    for name, value in options.items():
        if name not in names and value:
            raise CheckpointError(
                f"{path.name} was made by another version: trained with {name} = {value}, which "
                "this one does not know. Train it again"
            )
    return {name: value for name, value in options.items() if name in names}
