"""The search: no less is placed than the first way would, and nothing is promised twice."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from roheletd.allocation import search as search_module
from roheletd.allocation.schedule import Round, Schedule, schedule
from roheletd.allocation.snapshot import Profile
from roheletd.cluster.commands import AddServices
from roheletd.model import Neighbour, Service
from tests.allocation.passes import view_of
from tests.builders import Driver, a_node, a_service, with_services

OFF = Profile(search_attempts=0)


def found(cluster: Driver, profile: Profile | None = None, seed: int = 1) -> Schedule:
    return schedule(cluster.state, view_of(cluster), profile or Profile(), Random(seed))


def attempts(cluster: Driver, profile: Profile | None = None) -> int:
    this = Round(cluster.state, view_of(cluster), profile or Profile(), Random(1))
    return sum(1 for _ in this.search())


def too_much() -> Driver:
    """One large service, or four small ones: not both."""
    return with_services(
        a_service("large", cores=(1000, 1000, 1000, 1000)),
        *(a_service(f"small{number}", cores=(500,)) for number in range(4)),
    )


def disturbed(schedule_found: Schedule) -> set[str]:
    """Sensitive instances that share a core with another."""
    placements = schedule_found.place.placements
    return {
        at.instance
        for at in placements
        if at.sensitivity in (1, 3)
        for other in placements
        if other is not at and other.node == at.node and not other.cores.keys().isdisjoint(at.cores)
    }


def test_where_not_all_fits_the_order_that_places_most_is_taken() -> None:
    assert len(found(too_much(), OFF).place.placements) == 1
    assert len(found(too_much()).place.placements) == 4
    assert list(found(too_much()).unplaceable) == ["large"]


def test_where_all_fits_and_nobody_is_disturbed_nothing_is_tried() -> None:
    assert attempts(with_services(a_service("a", cores=(100,)), a_service("b"))) == 0


def test_nobody_who_came_later_or_matters_less_overtakes_by_being_smaller() -> None:
    cluster = with_services(a_service("first", cores=(1000, 1000, 1000, 1000)))
    for number in range(4):
        cluster.apply(AddServices(services=(a_service(f"later{number}", cores=(500,)),)))
    assert [at.instance for at in found(cluster).place.placements] == ["first.1"]
    urgent = with_services(
        a_service("urgent", cores=(1000, 1000, 1000, 1000), priority=1),
        *(a_service(f"small{number}", cores=(500,)) for number in range(4)),
    )
    assert [at.instance for at in found(urgent).place.placements] == ["urgent.1"]


def test_nobody_loses_a_place_that_the_order_of_the_queue_had_given() -> None:
    """One large sensitive service could come in for two small others: those had their places."""
    cluster = with_services(
        a_service("small", cores=(50,), memory_mib=1000, replicas=3),
        a_service("large", cores=(50,), memory_mib=3000, sensitivity=1),
        a_service("first", cores=(50, 50), memory_mib=1000, replicas=4, sensitivity=1),
        nodes=(a_node("a"), a_node("b")),
    )
    placed = [at.service for at in found(cluster).place.placements]
    assert sorted(placed) == ["first"] * 4 + ["small"] * 3


def test_nobody_of_lower_priority_loses_a_place_to_second_thoughts_either() -> None:
    cluster = with_services(
        a_service("low", cores=(300,), replicas=6),
        a_service("high", cores=(700, 100), replicas=2, priority=5),
        a_service("wide", cores=(1000, 1000), priority=5),
        nodes=(a_node("a", cores=2), a_node("b", cores=2)),
    )
    before, after = found(cluster, OFF).place.placements, found(cluster).place.placements
    for names in ({"low"}, {"high", "wide"}):
        assert sum(at.service in names for at in after) >= sum(at.service in names for at in before)


def test_a_sensitive_service_is_kept_off_shared_cores_where_the_first_way_did_not() -> None:
    """Pieces on the freest cores leave none whole; the tightest ones do."""
    services: tuple[Service, ...] = (
        a_service("camera", cores=(500, 400), sensitivity=1),
        *(a_service(f"piece{number}", cores=(300, 250)) for number in range(3)),
    )
    cluster = with_services(*services, nodes=(a_node(cores=4),))
    assert len(found(cluster).place.placements) == 4
    assert disturbed(found(cluster)) == set()


def test_a_cluster_that_is_too_large_to_search_is_not_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert attempts(too_much()) > 10
    monkeypatch.setattr(search_module, "JUDGEMENTS_MAX", 10)
    assert attempts(too_much()) == 0


def test_one_service_has_no_order_and_costs_little() -> None:
    assert attempts(with_services(a_service(replicas=9, cores=(1000,)))) == 4


@pytest.mark.parametrize("seed", range(5))
def test_who_must_be_near_another_is_still_near_it_after_second_thoughts(seed: int) -> None:
    near = (Neighbour(service="cache", over="zone"),)
    nodes = tuple(
        a_node(f"{zone}{number}", labels={"zone": zone})
        for zone in ("hall", "yard")
        for number in range(2)
    )
    cluster = with_services(
        a_service("cache", cores=(900,), replicas=1),
        a_service("web", cores=(300, 300), replicas=4, affinity=near),
        *(a_service(f"other{number}", cores=(700, 200), replicas=6) for number in range(3)),
        nodes=nodes,
    )
    best = found(cluster, seed=seed)
    assert best.unplaceable
    zones = {at.instance: at.node[:4] for at in best.place.placements}
    assert "web.1" in zones
    assert {zones[name] for name in zones if name.startswith("web")} == {zones["cache.1"]}


some_services = some.lists(
    some.builds(
        lambda cores, memory_mib, replicas, sensitivity: (cores, memory_mib, replicas, sensitivity),
        some.lists(some.sampled_from([50, 100, 300, 500, 800, 1000]), min_size=1, max_size=4),
        some.sampled_from([0, 200, 1000, 3000]),
        some.integers(1, 4),
        some.sampled_from([0, 0, 1, 2]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(some_services, some.integers(1, 3), some.integers(0, 3))
def test_a_search_never_places_less_and_gives_the_same_for_the_same_seed(
    drawn: list[tuple[list[int], int, int, int]], nodes: int, seed: int
) -> None:
    services = [
        a_service(
            f"s{number}",
            cores=tuple(cores),
            memory_mib=memory_mib,
            replicas=replicas,
            sensitivity=sensitivity,
        )
        for number, (cores, memory_mib, replicas, sensitivity) in enumerate(drawn)
    ]
    cluster = with_services(*services, nodes=tuple(a_node(f"n{it}") for it in range(nodes)))
    first, best = found(cluster, OFF, seed), found(cluster, None, seed)
    assert len(best.place.placements) >= len(first.place.placements)
    assert best == found(cluster, None, seed)
    cluster.apply(best.place)
    for name, node in cluster.state.nodes.items():
        here = cluster.state.placements_on(name).values()
        for core, size in node.capacity.cores.items():
            assert sum(at.cores.get(core, 0) for at in here) <= size
        assert sum(at.memory_mib for at in here) <= node.capacity.memory_mib
