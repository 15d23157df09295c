"""One pass of the leader over a cluster in which all is well, but for what is said."""

from collections.abc import Iterable, Mapping
from random import Random

from roheletd.allocation.schedule import Schedule, schedule
from roheletd.allocation.snapshot import Condition, Profile, Snapshot, take
from roheletd.allocation.view import View
from roheletd.model import Node, Placement, Service
from tests.builders import Driver

PROFILE = Profile(search_attempts=0, port_min=20_000, port_max=20_009)


def seen(
    *nodes: Node,
    placements: Iterable[Placement] = (),
    services: Iterable[Service] = (),
    profile: Profile | None = None,
    conditions: Mapping[str, Condition] | None = None,
) -> Snapshot:
    """These nodes with what is left of them; what is not said of their condition is well."""
    return take(
        nodes={node.name: node for node in nodes},
        conditions={**{node.name: Condition() for node in nodes}, **(conditions or {})},
        placements=placements,
        services=services,
        profile=profile or Profile(),
    )


def held(**more: object) -> Placement:
    """A placement on `pi` of a service that is nobody's concern."""
    base = {"instance": "x.1", "service": "x", "node": "pi", "revision": 1}
    return Placement(**{**base, **more})  # type: ignore[arg-type]


def view_of(
    cluster: Driver,
    *,
    conditions: Mapping[str, Condition] | None = None,
    lost_for_s: Mapping[str, float] | None = None,
    waiting: Iterable[str] = (),
) -> View:
    """What is lost is in the condition of being lost; whatever else is placed is healthy."""
    lost = lost_for_s or {}
    well = dict.fromkeys(cluster.state.registrations, Condition())
    gone = dict.fromkeys(lost, Condition(liveness="lost"))
    healthy = frozenset(
        name for name, at in cluster.state.placements.items() if at.node not in lost
    )
    return View(
        conditions={**well, **gone, **(conditions or {})},
        lost_for_s=lost,
        available=healthy,
        settled=healthy,
        waiting=frozenset(waiting),
    )


def run_pass(
    cluster: Driver,
    *,
    conditions: Mapping[str, Condition] | None = None,
    lost_for_s: Mapping[str, float] | None = None,
    waiting: Iterable[str] = (),
    profile: Profile = PROFILE,
    seed: int = 1,
) -> Schedule:
    """What the leader decides is applied."""
    view = view_of(cluster, conditions=conditions, lost_for_s=lost_for_s, waiting=waiting)
    found = schedule(cluster.state, view, profile, Random(seed))
    if not found.is_empty:
        cluster.apply(found.place)
    return found


def homes(cluster: Driver) -> dict[str, str]:
    """Instance to node."""
    return {name: at.node for name, at in sorted(cluster.state.placements.items())}
