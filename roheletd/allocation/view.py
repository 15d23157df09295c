"""The soft half of what the leader knows: who is alive, who is hot, what others use."""

from collections.abc import Mapping

from msgspec import Struct

from roheletd.allocation.foreign import foreign_loads
from roheletd.allocation.snapshot import Condition, ForeignLoad, Profile, Snapshot, take
from roheletd.cluster.membership import Liveness, Membership
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.model import MILLICORES_PER_CORE, Placement


class View(Struct, frozen=True, kw_only=True):
    """What is soft about each node, and which instances should be elsewhere.

    `displaced` names instances that cannot stay as they are placed. `lost_for_s` names the lost
    nodes.
    """

    conditions: Mapping[str, Condition]
    displaced: frozenset[str] = frozenset()
    lost_for_s: Mapping[str, float] = {}


def look(
    state: ClusterState,
    soft: SoftState,
    membership: Membership,
    now_s: float,
    *,
    displaced: frozenset[str] = frozenset(),
) -> View:
    """What this node knows at this moment, for a decision or for showing how one would be made."""
    nodes = state.registrations
    liveness = membership.of_all(nodes, now_s)
    foreign = foreign_loads(soft, state)
    return View(
        conditions={
            name: _condition(name, liveness[name], foreign.get(name, ForeignLoad()), state, soft)
            for name in nodes
        },
        displaced=displaced,
        lost_for_s=membership.lost_for_s(nodes, now_s),
    )


def snapshot(state: ClusterState, view: View, profile: Profile) -> Snapshot:
    """All registered nodes with every placement of the agreed state taken off."""
    return snapshot_with(state, view, profile, list(state.placements.values()))


def snapshot_with(
    state: ClusterState, view: View, profile: Profile, held: list[Placement]
) -> Snapshot:
    """The same with other placements than those of the state."""
    nodes = state.nodes
    unheard = Condition(liveness="never seen")
    return take(
        nodes=nodes,
        conditions={name: view.conditions.get(name, unheard) for name in nodes},
        placements=held,
        profile=profile,
        services=(known.service for known in state.services.values()),
    )


def _condition(
    name: str, liveness: Liveness, foreign: ForeignLoad, state: ClusterState, soft: SoftState
) -> Condition:
    report = soft.telemetry.get(name)
    usual = soft.usual_millicores.get(name, {})
    zones = report.thermal if report is not None else ()
    return Condition(
        liveness=liveness,
        cordoned=name in state.cordoned,
        foreign=foreign,
        busy={core: used / MILLICORES_PER_CORE for core, used in usual.items()},
        celsius=max((it.celsius for it in zones if it.celsius is not None), default=None),
        throttled=report is not None and bool(report.throttled),
    )
