"""The instances of one node: what each has been through, what it uses, what to do next.

Sync and without I/O. The runner tells what the engine said and what it did; this says what follows.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from roheletd.cluster.reconcile import (
    Action,
    Container,
    History,
    InstanceSpec,
    Plan,
    Remove,
    Run,
    Usage,
    failed,
    observed,
    reconcile,
    specification,
    state_of,
)
from roheletd.cluster.state import ClusterState
from roheletd.telemetry import InstanceUse


class Happening(Struct, frozen=True):
    """Something to tell people: becomes an event."""

    kind: str
    subject: str
    reason: str = ""


def instance_of(action: Action) -> str:
    return action.spec.instance if isinstance(action, Run) else action.instance


def specifications(state: ClusterState, *, cluster: str, node: str) -> dict[str, InstanceSpec]:
    """What the agreed state wants running on `node`, by instance."""
    return {
        name: specification(
            cluster=cluster,
            service=state.services[at.service].service,
            placement=at,
            node=state.registrations[node].node,
        )
        for name, at in state.placements_on(node).items()
    }


class Instances:
    """Histories by instance, the last list of containers, and what is being worked on."""

    def __init__(self) -> None:
        self._histories: dict[str, History] = {}
        self._containers: dict[str, Container] = {}
        self._busy: set[str] = set()
        self._measured: dict[str, tuple[float, Usage]] = {}

    def next_plan(
        self, desired: Mapping[str, InstanceSpec], containers: Iterable[Container], now_s: float
    ) -> tuple[Plan, tuple[Happening, ...]]:
        """What to do about what the engine lists; what is in the plan is busy from now on."""
        listed = list(containers)
        self._containers = {item.instance: item for item in listed}
        ids = {item.id for item in listed}
        stuck = {key: past for key, past in self._histories.items() if key in ids}
        happenings: list[Happening] = []
        seen = {
            name: self._seen(name, spec.digest, now_s, happenings) for name, spec in desired.items()
        }
        self._histories = seen | stuck
        plan = reconcile(desired, listed, history=self._histories, busy=self._busy, now_s=now_s)
        self._busy |= {instance_of(action) for action in plan.actions}
        return plan, tuple(happenings)

    def refused(self, action: Action, reason: str, *, now_s: float, retry: bool) -> None:
        # A removal that failed is remembered by its container: nothing may be placed any more.
        is_removal = isinstance(action, Remove)
        key = action.container_id if isinstance(action, Remove) else instance_of(action)
        history = self._histories.get(key) or History(digest="")
        self._histories[key] = failed(history, reason, now_s=now_s, retry=retry or is_removal)

    def finished(self, instance: str) -> None:
        self._busy.discard(instance)

    def reset(self) -> None:
        """The engine was lost, and every action on it with it."""
        self._busy.clear()

    def uses(
        self, placed: Iterable[str], usage: Mapping[str, Usage], now_s: float
    ) -> tuple[InstanceUse, ...]:
        """State and use of what is placed; `usage` is by container id."""
        return tuple(self._use(name, usage, now_s) for name in sorted(placed))

    def _use(self, name: str, usage: Mapping[str, Usage], now_s: float) -> InstanceUse:
        container = self._containers.get(name)
        history = self._histories.get(name) or History(digest="")
        now = usage.get(container.id) if container else None
        return InstanceUse(
            instance=name,
            state=state_of(container, history, busy=name in self._busy),
            cpu_millicores=self._millicores(name, now, now_s),
            memory_mib=now.memory_mib if now else None,
            restarts=history.restarts,
            reason=history.reason,
        )

    def _seen(self, name: str, digest: str, now_s: float, happenings: list[Happening]) -> History:
        before = self._histories.get(name)
        if before is None or before.digest != digest:
            before = History(digest=digest)
        container = self._containers.get(name)
        if name in self._busy or (container is not None and container.digest != digest):
            return before
        after = observed(before, container, now_s)
        if after.running and not before.running:
            happenings.append(Happening("running", name))
        elif after.failures > before.failures:
            happenings.append(Happening("ended", name, after.reason))
        return after

    def _millicores(self, name: str, now: Usage | None, now_s: float) -> int | None:
        """Use since the last call; unknown at the first one and after a restart."""
        before = self._measured.pop(name, None)
        if now is None:
            return None
        self._measured[name] = (now_s, now)
        if before is None or now.cpu_s < before[1].cpu_s or now_s <= before[0]:
            return None
        return round(1000 * (now.cpu_s - before[1].cpu_s) / (now_s - before[0]))
