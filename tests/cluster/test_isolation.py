"""A node that sees no leader: what it stops, and when."""

from roheletd.cluster.commands import Place
from roheletd.cluster.isolation import must_stop, next_stop_s
from roheletd.model import Placement
from tests.builders import Driver, a_node, a_service, with_services


def cut_off() -> Driver:
    """`pi` runs one of each service; `other` runs one that should stop as well."""
    cluster = with_services(
        a_service("camera", on_isolation="stop"),
        a_service("door", on_isolation="stop", reschedule_after_s=60.0),
        a_service("web"),
        nodes=(a_node("pi"), a_node("other")),
    )
    homes = {"camera.1": "pi", "camera.2": "other", "door.1": "pi", "web.1": "pi"}
    placements = (
        Placement(instance=name, service=name.partition(".")[0], node=node, revision=2)
        for name, node in homes.items()
    )
    cluster.apply(Place(placements=tuple(placements)))
    return cluster


def stopped(isolated_for_s: float) -> set[str]:
    state = cut_off().state
    return set(must_stop(state, "pi", isolated_for_s=isolated_for_s, lost_after_s=3.0))


def test_what_is_to_stop_stops_when_another_node_may_start_it_and_the_rest_runs_on() -> None:
    assert stopped(7.9) == set()
    assert stopped(8.0) == {"camera.1"}
    assert stopped(62.9) == {"camera.1"}
    assert stopped(63.0) == {"camera.1", "door.1"}
    assert stopped(1e9) == {"camera.1", "door.1"}


def test_the_next_stop_is_foreseen() -> None:
    state = cut_off().state
    left_s = {
        isolated_for_s: next_stop_s(state, "pi", isolated_for_s=isolated_for_s, lost_after_s=3.0)
        for isolated_for_s in (0.0, 8.0, 63.0)
    }
    assert left_s == {0.0: 8.0, 8.0: 55.0, 63.0: None}


def test_a_node_with_nothing_on_it_stops_nothing() -> None:
    state = cut_off().state
    assert must_stop(state, "nobody", isolated_for_s=1e9, lost_after_s=3.0) == frozenset()
    assert next_stop_s(state, "nobody", isolated_for_s=0.0, lost_after_s=3.0) is None
