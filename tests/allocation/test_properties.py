"""The fast allocator against the slow one, over random clusters and all that befalls them.

`python -m tests.allocation.properties --seeds 10000` is the long run of the same.
"""

from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.allocation.properties import play

SEEDS = 150


@pytest.mark.parametrize("start", range(0, SEEDS, 50))
def test_fast_and_slow_decide_alike_and_nothing_is_given_out_twice(start: int) -> None:
    for seed in range(start, start + 50):
        play(Random(seed))


def test_with_preemption_nothing_is_given_out_twice_and_only_lower_ones_make_room() -> None:
    seen = sum((play(Random(seed), preemption=True) for seed in range(50)), Counter[str]())
    assert seen["preempted"]


def test_with_other_ways_tried_no_fewer_are_in_place_and_nothing_is_given_out_twice() -> None:
    for seed in range(50, 100):
        play(Random(seed), attempts=8)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(some.randoms(use_true_random=False))
def test_a_disagreement_would_be_found_small(rng: Random) -> None:
    """The same with a generator that hypothesis makes, which can cut a story short."""
    play(rng, steps=4)
