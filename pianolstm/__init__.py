"""How a neural network learns to write piano music: one straight line from a file to new music.

 .mid ──midi──▶ Piece ──encodings──▶ tokens ──vocabulary──▶ ids ──dataset──▶ batches ──networks──▶ logits
                  ▲                    ▲                     ▲                                      │
 .mid ◀──midi── Piece ◀──encodings── tokens ◀──vocabulary── ids ◀───────── generation ◀─────────────┘
                  └──▶ display: piano roll · engraved score · sound · a player that combines them

Every name of `STAGES` can be had from here (`from pianolstm import read_midi`). Its module is loaded
when it is first asked for (PEP 562), so that `import pianolstm` costs nothing.
"""  # noqa: E501

from importlib import import_module

__version__ = "0.2.0"

STAGES = {
    "piece": "Piece",
    "midi": "MidiParseError read_midi write_midi",
    "grid": "quantise",
    "encodings": "ArticleEncoding Encoding EventEncoding PianoRollEncoding RhythmEncoding",
    "vocabulary": "Vocabulary fill_unknown",
    "split": "split_pieces",
    "folder": "read_folder",
    "store": "ReadConfig build_store",
    "dataset": "Dataset load_songs prepare",
    "networks": "ArticleLSTM NetworkConfig NoteLSTM build_network",
    "checkpoint": "TrainConfig load_checkpoint load_pretrained save_checkpoint",
    "memory": "Memory",
    "generation": "generate generate_by_window",
    "rules": "PartRules part_ranges",
    "evaluation": "Bigram KneserNey bootstrap nll note_likelihood",
    "training": "train",
    "composing": "compose read_prompt",
    "harmonising": "harmonise read_melody",
    "display": "audio compare piano_roll player roll score",
}
_MODULES = {name: stage for stage, names in STAGES.items() for name in names.split()}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'pianolstm' has no attribute {name!r}")
    return getattr(import_module(f"pianolstm.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
