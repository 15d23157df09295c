"""The queue: whose turn it is, and how long what found no place is left alone."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as some

from roheletd.allocation.queue import BACKOFF_S_MAX, Waiting, in_turn
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import Definition
from tests.builders import a_service

NONE, CPU, MEMORY, BOTH = range(4)


def defined(name: str, *, at: int = 1, **more: object) -> Definition:
    return Definition(service=a_service(name, **more), created_at=at, revision=at)


def order(*services: Definition, first: int = 3, balance: int = 3) -> list[str]:
    turns = in_turn(services, queue_priority=first, queue_balance=balance)
    return [known.service.name for known in turns]


def words(text: str) -> list[str]:
    return text.split()


def several(prefix: str, count: int, **more: object) -> list[Definition]:
    return [defined(f"{prefix}{number}", at=number, **more) for number in range(1, count + 1)]


def test_first_come_is_first_served_among_equals() -> None:
    assert order(defined("b", at=1), defined("a", at=2), defined("c", at=3)) == ["b", "a", "c"]


def test_of_what_came_together_the_largest_goes_first_and_then_names_decide() -> None:
    services = (
        defined("small", cores=(100,)),
        defined("b", cores=(500,)),
        defined("a", cores=(250, 250)),
        defined("late", at=2, cores=(1000,)),
    )
    assert order(*services) == ["a", "b", "small", "late"]


def test_a_higher_priority_goes_before_everything_else() -> None:
    services = (
        defined("old", at=1, sensitivity=BOTH),
        defined("urgent", at=9, priority=5),
        defined("very-urgent", at=10, priority=10),
    )
    assert order(*services) == ["very-urgent", "urgent", "old"]


def test_which_sensitivity_goes_first_is_what_the_configuration_says() -> None:
    services = (
        defined("none", at=1),
        defined("memory", at=2, sensitivity=MEMORY),
        defined("cpu", at=3, sensitivity=CPU),
        defined("both", at=4, sensitivity=BOTH),
    )
    assert order(*services, first=0) == ["none", "memory", "cpu", "both"]
    assert order(*services, first=1) == ["cpu", "both", "none", "memory"]
    assert order(*services, first=2) == ["memory", "both", "none", "cpu"]
    assert order(*services, first=3) == ["memory", "cpu", "both", "none"]


def test_after_so_many_prioritised_ones_one_other_has_its_turn() -> None:
    services = (*several("s", 7, sensitivity=CPU), *several("n", 3))
    assert order(*services, balance=3) == [
        "s1",
        "s2",
        "s3",
        "n1",
        "s4",
        "s5",
        "s6",
        "n2",
        "s7",
        "n3",
    ]
    assert order(*services, balance=1) == [
        "s1",
        "n1",
        "s2",
        "n2",
        "s3",
        "n3",
        "s4",
        "s5",
        "s6",
        "s7",
    ]
    assert order(*services, balance=0) == [
        "n1",
        "n2",
        "n3",
        "s1",
        "s2",
        "s3",
        "s4",
        "s5",
        "s6",
        "s7",
    ]


@given(
    some.lists(
        some.tuples(some.integers(0, 3), some.integers(0, 2), some.integers(1, 5)), max_size=30
    ),
    some.integers(0, 3),
    some.integers(0, 5),
)
def test_everybody_has_one_turn_and_nobody_is_overtaken_by_more_than_the_balance(
    made: list[tuple[int, int, int]], first: int, balance: int
) -> None:
    services = [
        defined(f"s{number}", at=at, sensitivity=sensitivity, priority=priority)
        for number, (sensitivity, priority, at) in enumerate(made)
    ]
    turns = list(in_turn(services, queue_priority=first, queue_balance=balance))
    assert sorted(known.service.name for known in turns) == sorted(
        known.service.name for known in services
    )
    for left, right in pairwise(turns):
        assert left.service.priority >= right.service.priority


def test_each_refusal_in_a_row_doubles_the_pause_up_to_a_minute() -> None:
    waiting, now_s, pauses = Waiting(), 100.0, []
    for _ in range(12):
        waiting.refused("web", "full", now_s)
        pauses.append(waiting.next_try_s() - now_s)
        assert waiting.resting(now_s) == {"web"}
        now_s = waiting.next_try_s()
        assert waiting.resting(now_s) == frozenset()
    assert pauses[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, BACKOFF_S_MAX]
    assert set(pauses[7:]) == {BACKOFF_S_MAX}


def test_only_the_first_refusal_is_news_and_only_a_wait_ends() -> None:
    waiting = Waiting()
    assert waiting.refused("web", "full", 0.0)
    assert not waiting.refused("web", "still full", 1.0)
    assert waiting.reasons == {"web": "still full"}
    assert waiting.placed("web")
    assert not waiting.placed("web")
    assert waiting.next_try_s() == math.inf


def test_what_is_woken_may_try_at_once_and_starts_with_a_short_pause_again() -> None:
    waiting = Waiting()
    for name in ("a", "b"):
        for now_s in range(5):
            waiting.refused(name, "full", now_s)
    waiting.wake(["a", "nobody"])
    assert waiting.resting(5.0) == {"b"}
    waiting.wake()
    assert waiting.resting(5.0) == frozenset()
    waiting.refused("a", "full", 5.0)
    assert waiting.resting(5.9) == {"a"}
    assert waiting.resting(6.0) == frozenset()


def test_services_that_are_gone_do_not_wait() -> None:
    waiting = Waiting()
    waiting.refused("web", "full", 0.0)
    waiting.keep({"other"})
    assert waiting.reasons == {}


def test_it_is_told_since_when_each_waits_however_often_it_is_tried_or_woken() -> None:
    waiting, soft = Waiting(), SoftState(broker=BrokerLink(mode=""), engine=EngineLink(kind="none"))
    waiting.refused("web", "full", 3.0)
    waiting.wake()
    waiting.refused("web", "still full", 10.0)
    waiting.tell(soft)
    assert (soft.waiting, soft.waiting_times) == ({"web": "still full"}, {"web": (3.0, 11.0)})
    waiting.placed("web")
    waiting.tell(soft)
    assert (soft.waiting, soft.waiting_times) == ({}, {})
