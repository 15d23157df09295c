"""Whether a rollout goes well: which new instances have proven themselves, and when it is over.

An instance is `settled` once its node has seen it healthy for as long as its service asks
(`update.healthy_for_s`); one that counts as `available` is healthy at this moment. The next
instances are replaced by what is settled (`allocation.turnover`). The rollout is over when all are;
it is given up when more than `max_failures` have failed, or nothing came of it for `deadline_s`.
Where all that has a place is new and has settled, it is over as well: that there is no room for
more is no fault of the edition. So is one that was paused, once all of it does well by itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from msgspec import Struct

from roheletd.cluster.commands import EndRollout
from roheletd.cluster.definition import Definition
from roheletd.cluster.dependencies import unmet
from roheletd.cluster.homes import is_bound
from roheletd.cluster.reports import refused_draws, report_of
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, Service

UNCHECKED_HEALTHY_FOR_S = 5.0
"""Where nothing but its running can be seen of an instance, most that fail have failed by then."""


def healthy_for_s(service: Service) -> float:
    """How long a new instance has to be healthy before it counts."""
    if service.update.healthy_for_s is not None:
        return service.update.healthy_for_s
    return 0.0 if service.health is not None else UNCHECKED_HEALTHY_FOR_S


def min_available(service: Service) -> int:
    """How many are to be healthy at any time, as far as that is ours to decide."""
    if service.min_available is not None:
        return service.min_available
    return max(0, service.replicas - service.update.parallel)


def starts_first(service: Service) -> bool:
    """Also where nobody may be missing: then there is no other way."""
    return service.update.order == "start-first" or min_available(service) >= service.replicas > 0


def available(state: ClusterState, soft: SoftState) -> frozenset[str]:
    """Placed instances that are healthy."""
    return frozenset(
        name
        for name, at in state.placements.items()
        if (use := report_of(soft, at)) is not None and use.health == "healthy"
    )


def changing(state: ClusterState) -> Iterator[Definition]:
    """Services of which instances are replaced, or should leave their node."""
    leaving = {at.service for node in state.draining for at in state.placements_on(node).values()}
    for name, known in state.services.items():
        if known.is_changing or name in leaving:
            yield known


def is_stale(state: ClusterState, known: Definition, at: Placement) -> bool:
    """Of an older edition, or on a node that is to be empty."""
    return at.revision != known.revision or at.node in state.draining


def settled(state: ClusterState, soft: SoftState) -> frozenset[str]:
    """Instances of services that are changing which have proven themselves."""
    return frozenset(
        at.instance
        for known in changing(state)
        for at in state.placements_of(known.service.name)
        if is_settled(known.service, report_of(soft, at))
    )


def is_settled(service: Service, use: InstanceUse | None) -> bool:
    if use is None or use.health != "healthy":
        return False
    return (use.healthy_for_s or 0.0) >= healthy_for_s(service)


def unready(state: ClusterState, soft: SoftState) -> frozenset[str]:
    """Services that are changing of which a new instance would not be started now."""
    return frozenset(
        known.service.name
        for known in changing(state)
        if known.service.depends_on and unmet(state, soft, known.service)
    )


class Standing(Struct, frozen=True, kw_only=True):
    """How far the rollout of one service is, in instances.

    `new` run the new edition, and of them `settled` have proven themselves and `failed` have not;
    `old` are still to be replaced. `maturing`: one that has not settled is healthy by now.
    `trouble` is what the first that failed says.
    """

    wanted: int
    new: int
    settled: int
    old: int
    maturing: bool = False
    failed: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def is_through(self) -> bool:
        """All that has a place is new and has settled."""
        return not self.old and self.settled == self.new


def standing(state: ClusterState, soft: SoftState, known: Definition) -> Standing:
    service = known.service
    placed = state.placements_of(service.name)
    new = [at for at in placed if at.revision == known.revision]
    reports = {at.instance: report_of(soft, at) for at in new}
    failed = {
        at.instance: use
        for at in new
        if (use := reports[at.instance]) is not None
        # Where a port that was drawn is taken, another one is drawn.
        and (use.failures and not refused_draws(service, at, use))
    }
    proven = [is_settled(service, use) for use in reports.values()]
    healthy = [use is not None and use.health == "healthy" for use in reports.values()]
    trouble = next(
        (
            f"{at.instance} on {at.node}: {_of(failed[at.instance])}"
            for at in new
            if at.instance in failed
        ),
        "",
    )
    return Standing(
        wanted=service.replicas,
        new=len(new),
        settled=sum(proven),
        old=len(placed) - len(new),
        maturing=sum(healthy) > sum(proven),
        failed=tuple(failed),
        trouble=trouble,
    )


def _of(use: InstanceUse) -> str:
    """What it failed of, also where it has been started again since."""
    return use.last_failure or use.reason or "failed"


def holdup(state: ClusterState, soft: SoftState, known: Definition, no_place: str = "") -> str:
    """What has to come before the next instance is replaced; `no_place` is why one finds none."""
    service = known.service
    placed = state.placements_of(service.name)
    uses = {at.instance: report_of(soft, at) for at in placed}
    stale = [at.instance for at in placed if is_stale(state, known, at)]
    coming = (
        f"{at.instance} on {at.node}: {_becoming(service, use)}"
        for at in placed
        if at.instance not in stale and not is_settled(service, use := uses[at.instance])
    )
    if no_place and _may_double(service) and len(placed) >= service.replicas:
        no_place = f"no place for a new one beside the old ones: {no_place}"
    reasons = [next(coming, no_place) or (unmet(state, soft, service) if stale else "")]
    healthy = {name for name, use in uses.items() if use is not None and use.health == "healthy"}
    # What is not healthy gives up its place whatever the others do.
    if stale and healthy.issuperset(stale):
        reasons.append(_enough(service, len(healthy)))
    return "; ".join(filter(None, reasons))


def _may_double(service: Service) -> bool:
    return starts_first(service) and not is_bound(service)


def _enough(service: Service, healthy: int) -> str:
    """That one more that is missing would be one too many; empty: it would not."""
    least = min_available(service)
    if _may_double(service) or healthy > least:
        return ""
    reason = f"{healthy} of {service.replicas} are healthy, and {least} have to be"
    if least >= service.replicas:
        reason += ": lower `min_available`, as what has a volume of its own cannot be doubled"
    return reason


def _becoming(service: Service, use: InstanceUse | None) -> str:
    """How one is that has not settled yet."""
    if use is None:
        return "not heard of yet"
    if use.health == "healthy":
        return f"healthy, and has to be for {healthy_for_s(service):g} s"
    return use.reason or ("not healthy yet" if use.state == "running" else use.state)


def turn_of(state: ClusterState, soft: SoftState, at: Placement, no_place: str = "") -> str:
    """What an instance waits for that should leave its node."""
    known = state.services[at.service]
    if is_bound(known.service) and state.home_of(at.instance) == at.node:
        return f"its volume data is on {at.node}: it stays and comes back with it (see `movable`)"
    if known.is_paused and at.revision != known.revision:
        return f"the rollout of {at.service} is paused: roll it back, or define {at.service} anew"
    return holdup(state, soft, known, no_place) or "its turn comes"


def _is_over(known: Definition, here: Standing, *, lacks_place: bool) -> bool:
    """What finds no place says nothing against the edition of those that have one."""
    if not here.is_through:
        return False
    if not here.new:
        return known.is_changing and not here.wanted
    return lacks_place or here.new >= here.wanted


def _fault(known: Definition, here: Standing) -> str:
    """Why it is to be given up at once. On the way back only time tells."""
    is_running = known.rollout is not None and known.rollout.state == "running"
    too_many = len(here.failed) > known.service.update.max_failures
    return here.trouble if is_running and too_many else ""


def _patience_s(service: Service, here: Standing) -> float:
    """Who is healthy at the deadline is given the time to settle as well."""
    return service.update.deadline_s + (healthy_for_s(service) if here.maturing else 0.0)


class Watch:
    """The leader's: since when each rollout has made no progress, on the monotonic clock.

    Another leader counts anew, so that a rollout in trouble may take longer, and ends the same.
    """

    def __init__(self) -> None:
        self._since_s: dict[str, tuple[tuple[int, int, int], float]] = {}

    def ends(
        self, state: ClusterState, soft: SoftState, waiting: Mapping[str, str], now_s: float
    ) -> Iterator[EndRollout]:
        """The rollouts that are over; to be asked whenever something of them may have changed."""
        under_way = [it for it in state.services.values() if it.is_changing or it.is_paused]
        self._keep(known.service.name for known in under_way)
        for known in under_way:
            name, here = known.service.name, standing(state, soft, known)
            patience_s = _patience_s(known.service, here)
            is_late = self._still_for_s(known, here, now_s) >= patience_s
            assert known.rollout is not None, "it is under way"
            end = partial(EndRollout, name=name, begun_at=known.rollout.begun_at)
            if _is_over(known, here, lacks_place=is_late or name in waiting):
                yield end(succeeded=True)
            elif known.is_changing and ((fault := _fault(known, here)) or is_late):
                what = here.trouble or holdup(state, soft, known, waiting.get(name, ""))
                late = f"no progress for {patience_s:g} s: {what or 'none has a place'}"
                yield end(succeeded=False, reason=fault or late)

    def next_deadline_s(self, state: ClusterState) -> float | None:
        """When the patience with the first of them ends."""
        return min(
            (
                since_s + known.service.update.deadline_s
                for name, (_, since_s) in self._since_s.items()
                if (known := state.services.get(name)) is not None and known.is_changing
            ),
            default=None,
        )

    def _still_for_s(self, known: Definition, here: Standing, now_s: float) -> float:
        """For how long nothing has come of it."""
        name, progress = known.service.name, (known.revision, here.new, here.settled)
        before, since_s = self._since_s.get(name, (progress, now_s))
        if before != progress:
            since_s = now_s
        self._since_s[name] = (progress, since_s)
        return now_s - since_s

    def _keep(self, names: Iterable[str]) -> None:
        kept = set(names)
        self._since_s = {name: it for name, it in self._since_s.items() if name in kept}
