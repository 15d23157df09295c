"""The soft half of what the leader knows: who is alive, who is hot, what others use."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.avoidance import refused_images, stranded
from roheletd.allocation.failing import failed_on
from roheletd.allocation.foreign import foreign_loads
from roheletd.allocation.snapshot import Condition, ForeignLoad, Profile, Snapshot, take
from roheletd.cluster.membership import Membership
from roheletd.cluster.rollout import available, settled, unready
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.model import MILLICORES_PER_CORE, Placement


class View(Struct, frozen=True, kw_only=True):
    """What is soft about each node, and which instances should be elsewhere.

    `displaced` names instances that cannot stay as they are placed, `stranded` those that would do
    better elsewhere and stay while there is no place. `lost_for_s` names the lost nodes.
    `available` instances are healthy, and of services that are changing `settled` ones have proven
    themselves. `failed_on` is as in `Snapshot`. Of `waiting` services some instances found no place
    when that was last tried; of `unready` ones nothing is replaced: the new would not be started.
    """

    conditions: Mapping[str, Condition]
    displaced: frozenset[str] = frozenset()
    stranded: frozenset[str] = frozenset()
    lost_for_s: Mapping[str, float] = {}
    failed_on: Mapping[str, Mapping[str, str]] = {}
    available: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    unready: frozenset[str] = frozenset()


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
    refused = refused_images(soft, now_s)
    return View(
        conditions={
            name: replace(
                _reported(soft, name),
                liveness=liveness[name],
                cordoned=name in state.cordoned,
                foreign=foreign.get(name, ForeignLoad()),
                refused_images=refused.get(name, {}),
            )
            for name in nodes
        },
        displaced=displaced,
        stranded=stranded(soft, state, now_s),
        lost_for_s=membership.lost_for_s(nodes, now_s),
        failed_on=failed_on(soft, state, now_s),
        available=available(state, soft),
        settled=settled(state, soft),
        waiting=frozenset(soft.waiting),
        unready=unready(state, soft),
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
    conditions = {name: view.conditions.get(name, unheard) for name in nodes}
    for name in conditions.keys() & state.members.keys():
        if state.members[name].witness:
            conditions[name] = replace(conditions[name], witness=True)
    return take(
        nodes=nodes,
        conditions=conditions,
        placements=held,
        profile=profile,
        services=(known.service for known in state.services.values()),
        homes=state.homes(),
        failed_on=view.failed_on,
    )


def _reported(soft: SoftState, node: str) -> Condition:
    """By what the node last said of itself, which may be nothing."""
    report = soft.telemetry.get(node)
    if report is None:
        return Condition()
    usual = soft.usual_millicores.get(node, {})
    zones = [zone.celsius for zone in report.thermal]
    power = report.power
    charge = power.charge if power is not None else None
    return Condition(
        busy={core: used / MILLICORES_PER_CORE for core, used in usual.items()},
        images=frozenset(report.images or ()),
        celsius=max((it for it in zones if it is not None), default=None),
        throttled=bool(report.throttled),
        power=power.source if power is not None else "unknown",
        charge=1.0 if charge is None else charge,
    )
