"""From a network and seeds to finished pieces: generation and decoding, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pianolstm.checkpoint import Checkpoint
from pianolstm.encodings import BOS, EOS
from pianolstm.generation import generate
from pianolstm.piece import Piece

LONGEST = 6000  # tokens, for a network that ends by itself
CHORDS = 120  # about 40 seconds, for one that does not


def compose(
    network: Checkpoint,
    seeds: Sequence[int],
    prompts: Sequence[Sequence[int]] | None = None,
    length: int | None = None,
    temperature: float = 1.0,
    top_p: float | None = None,
    progress: bool | None = False,
) -> list[Piece]:
    """One piece for each seed, all side by side, of `length` tokens after the prompt at most.

    Unless given, the length is `LONGEST` for a network that ends by itself, else `CHORDS`.
    prompts: one list of ids a piece; none is `<bos>`, a beginning of the network's own. The other
    options are those of `generate`. A piece that did not end by itself says so in `repaired`
    ("no end"), if the network's encoding has an end at all. Raises ValueError as `generate` does,
    and for a network that needs a prompt and gets none.
    """
    ids = network.vocabulary.ids
    if prompts is None and BOS not in ids:
        raise ValueError("this network knows no <bos>. Give each piece a prompt")
    if prompts is None:
        prompts = [[ids[BOS]]] * len(seeds)
    if not len(seeds):
        return []
    length = length or (LONGEST if EOS in ids else CHORDS)
    new = generate(network.model, prompts, length, seeds, temperature, top_p=top_p,
                   progress=progress, stop=ids.get(EOS), counts=network.counts)  # fmt: skip
    return pieces_of(network, prompts, new, length)


def pieces_of(
    network: Checkpoint,
    prompts: Sequence[Sequence[int]],
    new: Sequence[np.ndarray],
    length: int = LONGEST,
) -> list[Piece]:
    """Generated ids, each after its prompt, as pieces; a piece shorter than `length` has ended."""
    end = [EOS] if EOS in network.vocabulary else []
    pieces = []
    for i, (prompt, ids) in enumerate(zip(prompts, new, strict=True)):
        tokens = network.vocabulary.decode([*prompt, *ids])
        ended = end if len(ids) < length else []
        pieces.append(network.encoding.decode([*tokens, *ended], name=f"piece {i}"))
    return pieces
