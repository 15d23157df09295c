"""What has to be there before an instance is started: `depends_on`.

It holds back starts and nothing else: what runs goes on when what it depends on ends. So nothing
that runs is replaced either, while the next one would not be started.
"""

from collections.abc import Iterable

from roheletd.cluster.reports import report_of
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.model import Service
from roheletd.upkeep import Dependency


def held_back(state: ClusterState, soft: SoftState, instances: Iterable[str]) -> dict[str, str]:
    """Those of `instances` that are not to be started yet, and what each waits for."""
    reasons: dict[str, str] = {}
    by_service: dict[str, str] = {}
    for name in instances:
        at = state.placements.get(name)
        if at is None:
            continue
        if at.service not in by_service:
            by_service[at.service] = unmet(state, soft, state.edition_of(at).service)
        if reason := by_service[at.service]:
            reasons[name] = reason
    return reasons


def unmet(state: ClusterState, soft: SoftState, service: Service) -> str:
    """What an instance of `service` would have to wait for now; empty: for nothing."""
    missing = (it for it in service.depends_on if not _is_met(state, soft, it))
    return next((_waits_for(state, it) for it in missing), "")


def _is_met(state: ClusterState, soft: SoftState, dependency: Dependency) -> bool:
    if dependency.service not in state.services:
        return False
    uses = (report_of(soft, at) for at in state.placements_of(dependency.service))
    if dependency.condition == "healthy":
        return any(use is not None and use.health == "healthy" for use in uses)
    return any(use is not None and use.state == "running" for use in uses)


def _waits_for(state: ClusterState, dependency: Dependency) -> str:
    if dependency.service not in state.services:
        return f"waits for service {dependency.service}, which is not defined"
    ready = "healthy" if dependency.condition == "healthy" else "running"
    return f"waits for service {dependency.service} to be {ready}"
