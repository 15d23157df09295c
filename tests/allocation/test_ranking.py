"""Rankings: how little is judged, and that nobody's use of one leaves a trace for the next."""

from collections import Counter
from random import Random
from unittest.mock import patch

import pytest

from roheletd.allocation.allocate import Allocator
from roheletd.allocation.books import Books
from roheletd.allocation.judge import Judge
from roheletd.allocation.snapshot import FreeNode, Profile
from roheletd.fields import StrategyName
from roheletd.model import Neighbour, Node, Service
from tests.allocation.passes import seen
from tests.builders import a_node, a_service


def allocator(*nodes: Node, profile: Profile | None = None) -> Allocator:
    chosen = profile or Profile()
    return Allocator(Books(seen(*nodes, profile=chosen), chosen), 1)


def many(count: int, **labels: str) -> list[Node]:
    return [a_node(f"n{number:03}", labels=labels) for number in range(count)]


def unlike(count: int) -> list[Node]:
    return [a_node(f"n{number:03}", memory_mib=4000 + number) for number in range(count)]


def place(to: Allocator, service: Service, count: int = 1) -> list[str]:
    names = [f"{service.name}.{number}" for number in range(1, count + 1)]
    return [at.node for at in to.fill(service, names, 1)]


class Counted:
    """How often each node is judged."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self._local = Judge.local

    def __enter__(self) -> Counter[str]:
        def local(judge: Judge, free: FreeNode) -> int | None:
            self.times[free.name] += 1
            return self._local(judge, free)

        self._patch = patch.object(Judge, "local", local)
        self._patch.start()
        return self.times

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


def test_a_placement_costs_one_judgement_and_services_of_equal_needs_share_all_of_them() -> None:
    to = allocator(*unlike(50))
    with Counted() as times:
        for number in range(100):
            place(to, a_service(f"s{number}", cores=(10,)))
    assert times.total() == 50 + 100


def test_nodes_that_are_alike_are_judged_once_until_something_is_placed_on_them() -> None:
    to = allocator(*many(50), *(a_node(f"z{number}", cores=8) for number in range(50)))
    with Counted() as times:
        place(to, a_service(cores=(10,)), count=5)
    assert times.total() == 2 + 5
    with Counted() as times:
        place(to, a_service("other", cores=(20,)))
    assert times.total() == 2 + 5 + 1


def test_what_others_placed_is_judged_once_however_much_it_was() -> None:
    to = allocator(*unlike(10))
    first, second = a_service("first", cores=(10,)), a_service("second", cores=(20,))
    place(to, first)
    place(to, second, count=100)
    with Counted() as times:
        place(to, first)
    assert times.total() == 10 + 1


def test_a_node_that_is_refused_for_good_is_not_judged_again() -> None:
    to = allocator(a_node("a"), a_node("b", engine="none"))
    with Counted() as times:
        place(to, a_service(cores=(10,)), count=20)
    assert times["b"] == 0


@pytest.mark.parametrize("strategy", ["worst_fit", "best_fit", "first_fit"])
def test_a_turn_leaves_the_ranking_as_if_it_had_been_made_anew(strategy: StrategyName) -> None:
    profile = Profile(strategy=strategy)
    to = allocator(*many(7), profile=profile)
    services = [a_service(f"s{number}", cores=(100,), memory_mib=64) for number in range(4)]
    rng = Random(5)
    for _ in range(40):
        place(to, rng.choice(services), count=rng.randint(1, 3))
        fresh = Allocator(to.books, 1)
        probe = rng.choice(services)
        (here,) = to.fill(probe, ["probe.1"], 1) or [None]
        if here is None:
            break
        to.books.take_back(here)
        (there,) = fresh.fill(probe, ["probe.1"], 1)
        fresh.books.take_back(there)
        assert here == there


def test_replicas_go_to_different_nodes_before_they_share_one() -> None:
    homes = place(allocator(*many(4)), a_service(cores=(100,)), count=8)
    assert len(set(homes[:4])) == 4
    assert Counter(homes).most_common()[0][1] == 2


def test_replicas_are_spread_over_the_values_of_a_label() -> None:
    nodes = [
        a_node(f"{zone}{number}", labels={"zone": zone})
        for zone, count in (("hall", 5), ("yard", 1), ("attic", 1))
        for number in range(count)
    ]
    homes = place(allocator(*nodes), a_service(cores=(100,), spread_over="zone"), count=6)
    assert Counter(name[:-1] for name in homes) == {"hall": 2, "yard": 2, "attic": 2}


def test_affinity_to_itself_begins_anywhere_and_stays_there() -> None:
    together = a_service(cores=(100,), affinity=(Neighbour(service="web"),))
    homes = place(allocator(*many(5)), together, count=4)
    assert len(set(homes)) == 1
    by_zone = a_service(cores=(100,), affinity=(Neighbour(service="web", over="zone"),))
    nodes = [*many(3, zone="hall"), a_node("yard", labels={"zone": "yard"}), a_node("none")]
    homes = place(allocator(*nodes), by_zone, count=6)
    assert "none" not in homes
    assert len({"yard" if name == "yard" else "hall" for name in homes}) == 1


def test_anti_affinity_to_itself_leaves_one_to_each_zone_and_holds_for_both_sides() -> None:
    apart = a_service(cores=(100,), anti_affinity=(Neighbour(service="web", over="zone"),))
    nodes = [*many(3, zone="hall"), a_node("yard", labels={"zone": "yard"})]
    assert len(place(allocator(*nodes), apart, count=4)) == 2


def test_what_wants_to_be_apart_keeps_the_other_away_as_well() -> None:
    loner = a_service("loner", anti_affinity=(Neighbour(service="web"),))
    snapshot = seen(a_node("a"), a_node("b"), services=(loner,))
    to = Allocator(Books(snapshot, Profile()), 1)
    (home,) = place(to, loner)
    assert home not in place(to, a_service(), count=3)
