"""Whose turn it is when instances are replaced."""

import pytest
from msgspec.structs import replace

from roheletd.allocation.turnover import Turnover, turnover
from roheletd.cluster.definition import Definition, Rollout
from roheletd.model import Placement, Service
from roheletd.upkeep import UpdatePolicy
from tests.allocation.passes import held
from tests.builders import a_service


def at(slot: int, revision: int = 2) -> Placement:
    return held(instance=f"web.{slot}", service="web", revision=revision)


def changed(service: Service, *, paused: bool = False) -> Definition:
    rollout = Rollout(source=2, target=9, begun_at=9, state="paused" if paused else "running")
    return Definition(service=service, created_at=2, revision=9, rollout=rollout)


def turn(
    service: Service,
    *,
    old: tuple[int, ...] = (),
    new: tuple[int, ...] = (),
    settled: tuple[int, ...] = (),
    sick: tuple[int, ...] = (),
    paused: bool = False,
    tied: bool = False,
    waits: bool = False,
    unready: bool = False,
) -> Turnover:
    """Slots of the old and the new edition; all of them are healthy that are not sick."""
    names = {f"web.{slot}" for slot in (*old, *new)} - {f"web.{slot}" for slot in sick}
    unproven = {f"web.{slot}" for slot in set(new) - set(settled)}
    return turnover(
        changed(service, paused=paused),
        fresh=[at(slot, 9) for slot in new],
        stale=[at(slot) for slot in old],
        settled={f"web.{slot}" for slot in settled},
        available=names - unproven,
        tied=lambda _at: tied,
        waits=waits,
        unready=unready,
    )


def names(placements: tuple[Placement, ...]) -> list[str]:
    return sorted(it.instance for it in placements)


def web(replicas: int = 3, **policy: object) -> Service:
    return a_service(replicas=replicas, update=UpdatePolicy(**policy))  # type: ignore[arg-type]


def test_one_gives_up_its_place_and_the_others_stay() -> None:
    found = turn(web(), old=(1, 2, 3))
    assert names(found.replaced) == ["web.1"]
    assert names(found.stay) == ["web.2", "web.3"]
    assert found.surge == 0


def test_nobody_goes_while_a_new_one_is_not_settled() -> None:
    found = turn(web(), old=(2, 3), new=(1,))
    assert found.replaced == ()
    assert names(found.stay) == ["web.2", "web.3"]


def test_the_next_goes_once_the_one_before_is_settled() -> None:
    assert names(turn(web(), old=(2, 3), new=(1,), settled=(1,)).replaced) == ["web.2"]


def test_as_many_go_at_a_time_as_the_policy_says() -> None:
    assert names(turn(web(5, parallel=2), old=(1, 2, 3, 4, 5)).replaced) == ["web.1", "web.2"]


def test_one_that_is_sick_goes_first_and_costs_nothing() -> None:
    service = replace(web(parallel=3), min_available=2)
    assert names(turn(service, old=(1, 2, 3), sick=(3,)).replaced) == ["web.3"]


def test_none_that_is_needed_goes() -> None:
    service = replace(web(parallel=3), min_available=3)
    found = turn(replace(service, replicas=4), old=(1, 2, 3, 4))
    assert names(found.replaced) == ["web.1"]


def test_where_nobody_may_be_missing_a_new_one_comes_first() -> None:
    found = turn(replace(web(1), min_available=1), old=(1,))
    assert (found.surge, found.replaced, names(found.stay)) == (1, (), ["web.1"])


def test_a_new_one_comes_beside_the_old_ones_where_it_starts_first() -> None:
    found = turn(web(order="start-first"), old=(1, 2, 3))
    assert (found.surge, found.replaced) == (1, ())
    assert names(found.stay) == ["web.1", "web.2", "web.3"]


def test_the_old_one_goes_once_the_one_beside_it_is_settled() -> None:
    service = web(order="start-first")
    unsettled = turn(service, old=(1, 2, 3), new=(4,))
    assert (unsettled.surge, len(unsettled.stay)) == (0, 3)
    settled = turn(service, old=(1, 2, 3), new=(4,), settled=(4,))
    assert (settled.surge, names(settled.stay)) == (1, ["web.2", "web.3"])


def test_the_last_old_one_goes_without_another_coming() -> None:
    found = turn(web(order="start-first"), old=(3,), new=(1, 2, 4), settled=(1, 2, 4))
    assert (found.surge, found.stay) == (0, ())


def test_one_that_cannot_be_elsewhere_is_never_doubled() -> None:
    found = turn(web(order="start-first"), old=(1, 2, 3), tied=True)
    assert (found.surge, names(found.replaced)) == (0, ["web.1"])


def test_a_rollout_that_stands_still_replaces_nothing() -> None:
    found = turn(web(), old=(2, 3), new=(1,), settled=(1,), paused=True)
    assert (found.surge, found.replaced, names(found.stay)) == (0, (), ["web.2", "web.3"])


def test_with_fewer_wanted_the_old_ones_end_and_are_not_replaced() -> None:
    found = turn(web(1), old=(2, 3), new=(1,), settled=(1,))
    assert (found.replaced, found.stay) == ((), ())


def test_what_is_missing_counts_as_under_way_unless_it_waits_for_a_place() -> None:
    service = replace(web(3), min_available=1)
    assert turn(service, old=(1, 2)).replaced == ()
    assert names(turn(service, old=(1, 2), waits=True).replaced) == ["web.1"]


@pytest.mark.parametrize("order", ["stop-first", "start-first"])
def test_nobody_goes_for_one_that_would_not_be_started(order: str) -> None:
    found = turn(web(order=order), old=(1, 2, 3), sick=(1,), unready=True)
    assert (found.surge, found.replaced, len(found.stay)) == (0, (), 3)


def test_what_waits_for_a_place_is_not_there_all_the_same() -> None:
    assert turn(web(3), old=(1, 2), waits=True).replaced == ()
