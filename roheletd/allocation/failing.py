"""Instances that fail again and again where they are: they should try another node.

What fails on one node only (a broken card, a device that is missing, a network it cannot reach)
runs on another. What fails everywhere would wander for ever: a node is remembered for a while, and
where nobody is left to try, an instance stays and its node goes on with its back-off.
"""

from collections.abc import Iterator, Mapping, Sequence

from roheletd.cluster.homes import is_bound
from roheletd.cluster.reports import reports
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.model import Placement

AVOID_NODE_S = 300.0
"""A node on which a service failed takes no further instance of it so soon."""


def remember_failures(
    soft: SoftState, state: ClusterState, now_s: float, nodes: Sequence[str]
) -> None:
    for node in soft.failed_services.keys() & nodes:
        known = soft.failed_services[node]
        soft.failed_services[node] = {it: found for it, found in known.items() if found[0] > now_s}
    for at, why in _failing(soft, state, nodes):
        remembered = soft.failed_services.setdefault(at.node, {})
        remembered[at.service, at.revision] = (now_s + AVOID_NODE_S, why)


def failed_on(soft: SoftState, state: ClusterState, now_s: float) -> dict[str, Mapping[str, str]]:
    """Per service: the nodes where it failed lately as it is defined now, and how."""
    found: dict[str, dict[str, str]] = {}
    for node, known in soft.failed_services.items():
        for (service, revision), (until_s, why) in known.items():
            defined = state.services.get(service)
            if defined is not None and defined.revision == revision and until_s > now_s:
                found.setdefault(service, {})[node] = why
    return dict(found)


def failing(
    soft: SoftState, state: ClusterState, now_s: float, nodes: Sequence[str]
) -> frozenset[str]:
    """Instances that should try another node, where there is one that has not failed lately."""
    return frozenset(
        at.instance
        for at, _why in _failing(soft, state, nodes)
        if any(
            node.name != at.node
            and node.engine != "none"
            and not _avoided(soft, node.name, at, now_s)
            for node in state.nodes.values()
        )
    )


def _avoided(soft: SoftState, node: str, at: Placement, now_s: float) -> bool:
    known = soft.failed_services.get(node, {})
    until_s, _why = known.get((at.service, at.revision), (0.0, ""))
    return until_s > now_s


def _failing(
    soft: SoftState, state: ClusterState, nodes: Sequence[str]
) -> Iterator[tuple[Placement, str]]:
    """Those that have failed often enough in a row, and how; not those whose data is here."""
    for at, use in reports(soft, state, nodes):
        if not use.failures or use.health == "healthy":
            continue
        service = state.services[at.service].service
        if use.failures >= service.move_after > 0 and not is_bound(service):
            times = "once" if use.failures == 1 else f"{use.failures} times in a row"
            yield at, f"{at.service} failed here {times}: {use.last_failure}"
