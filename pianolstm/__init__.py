"""How a neural network learns to write piano music: the reusable half of the notebooks.

One straight line: MIDI file → `parsing` → `Piece` → `encoding` → tokens → `vocabulary` → ids →
`dataset` → batches → `model` → logits, and back through `generation` to a `Piece`, which
`display` shows and plays.
"""
