"""How good is a model, and is its music new?

    likelihood   nats a token and nats a note of held-out pieces
    fitting      how much a memory of the piece counts beside the network
    baselines    models that only count tokens: bigram and Kneser-Ney
    benchmark    nats a frame of piano rolls, beside results from the literature
    statistics   what a piece is like, in numbers; sets of pieces with confidence intervals
    copying      runs that a piece shares with the training music; loops; bars that return
    judge        a network that tells human from generated pieces

The names below can be imported from here; those of `benchmark` and `judge` come from their
modules. A module is loaded when one of its names is first used (PEP 562), so that statistics
of pieces do not need PyTorch.
"""

from importlib import import_module

_NAMES = {
    "statistics": "Interval agreement bars bootstrap crossings ends_on_tonic_triad "
    "ends_with_cadence key_of off_beat_share parallels part_lines ratio "
    "silences sounding written_key",
    "copying": "bar_contents longest_copied_runs longest_copies repetition returning_bars "
    "self_similarity",
    "baselines": "Bigram KneserNey fitted_bigram unigram_nll",
    "likelihood": "NoteLikelihood nll note_likelihood predictions",
    "fitting": "best_keys best_memory fit_memory",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = list(_MODULE_OF)


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
