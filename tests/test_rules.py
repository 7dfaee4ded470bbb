"""Pieces are drawn without parallels and within ranges."""

import numpy as np
import pytest
import torch

from pianolstm.encodings import EventEncoding
from pianolstm.evaluation import parallels, part_lines
from pianolstm.generation import generate
from pianolstm.networks import NetworkConfig, build_network
from pianolstm.rules import PartRules, part_ranges
from pianolstm.vocabulary import Vocabulary

ENCODING = EventEncoding(tracks=True, home=True)
MOMENT = "at:0 track:0 pitch:67 for:1 track:1 pitch:60 for:1"  # a fifth
VOCABULARY = Vocabulary(
    f"<bos> <eos> bar:1 home:-3 {MOMENT} at:1 at:2 at:3 program:40 more "
    "pitch:62 pitch:64 pitch:65 pitch:69 pitch:55 for:2".split()
)


def forbidden(text: str, **options) -> set[str]:
    rule = PartRules(ENCODING, VOCABULARY, **options)
    return set(VOCABULARY.decode([rule(VOCABULARY.ids[token]) for token in text.split()][-1]))


def test_a_part_may_not_follow_another_in_fifths():
    above = f"<bos> bar:1 {MOMENT} at:1 track:0 pitch:69 for:1 track:1"
    assert forbidden(above) == {"pitch:62"}
    assert forbidden(above, parallels=False) == set()
    assert forbidden(above.replace("pitch:69", "pitch:67")) == set()  # the upper part stays
    assert forbidden(above.replace("for:1 track:1", "")) == set()  # a duration comes next


def test_what_sounds_at_the_moment_before_counts_also_if_it_is_held():
    held = "<bos> bar:1 at:0 track:0 pitch:67 for:2 track:1 pitch:64 for:1 at:1 track:1 pitch:60"
    assert forbidden(f"{held} for:1 at:2 track:0 pitch:69 for:1 track:1") == {"pitch:62"}
    silent = held.replace("for:2", "for:1")
    assert forbidden(f"{silent} for:1 at:2 track:0 pitch:69 for:1 track:1") == set()


def test_ranges_are_those_of_the_pieces_and_count_what_sounds(scale):
    ranges = part_ranges([scale])
    assert ranges == {(0, 0): (60, 72), (0, 1): (43, 48)}
    at_home = "<bos> bar:1 home:-3 at:0 track:0"  # everything sounds 3 semitones lower
    found = forbidden(at_home, ranges={(0, 0): (61, 64)})
    assert found == {"pitch:55", "pitch:60", "pitch:62", "pitch:69"}
    assert forbidden(at_home, ranges={(40, 0): (61, 64)}) == set()
    same_track = f"{at_home} pitch:64 for:1"  # a second note that names no track
    assert forbidden(same_track, ranges={(0, 0): (61, 64)}) == found


@pytest.mark.parametrize("seed", range(2))
def test_a_network_under_the_rules_writes_no_parallels(seed):
    torch.manual_seed(seed)
    model = build_network(NetworkConfig("note", len(VOCABULARY), (16,), 0.0)).eval()
    beat = ["track:0", "pitch", "for:1", "track:1", "pitch", "for:1"]
    wanted = ["bar:1", *(t for at in range(4) for t in (f"at:{at}", *beat))] * 40
    ids = VOCABULARY.ids
    pitches = {i for token, i in ids.items() if token.startswith("pitch")}

    class InOrder(PartRules):
        """Nothing but the kind of token that comes next, so that there is a piece to judge."""

        place = 0

        def __call__(self, token):
            bad = set(super().__call__(token))
            token, self.place = wanted[self.place], self.place + 1
            keep = pitches if token == "pitch" else {ids[token]}
            return sorted(bad | (set(ids.values()) - keep))

    counts = []
    for parallels_too in (False, True):
        rule = InOrder(ENCODING, VOCABULARY, parallels=parallels_too)
        (new,) = generate(model, [[ids["<bos>"]]], len(wanted) - 1, [seed], rules=[rule])
        piece = ENCODING.decode(["<bos>", *VOCABULARY.decode(new)])
        counts.append(parallels(part_lines(piece)))
    assert counts[0][0] > 0 and counts[1][0] == 0
    assert np.all([moves > 50 for _, moves in counts])
