"""Whether a rollout goes well: which new instances have proven themselves, and when it is over.

An instance is `settled` once its node has seen it healthy for as long as its service asks
(`update.healthy_for_s`); one that counts as `available` is healthy at this moment. The next
instances are replaced by what is settled (`allocation.turnover`). The rollout is over when all are;
it is given up when more than `max_failures` have failed, or nothing came of it for `deadline_s`.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from roheletd.cluster.commands import EndRollout
from roheletd.cluster.definition import Definition
from roheletd.cluster.reports import report_of
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.instance_use import InstanceUse
from roheletd.model import Service

UNCHECKED_HEALTHY_FOR_S = 5.0
"""Where nothing but its running can be seen of an instance, most that fail have failed by then."""


def healthy_for_s(service: Service) -> float:
    """How long a new instance has to be healthy before it counts."""
    if service.update.healthy_for_s is not None:
        return service.update.healthy_for_s
    return 0.0 if service.health is not None else UNCHECKED_HEALTHY_FOR_S


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


def settled(state: ClusterState, soft: SoftState) -> frozenset[str]:
    """Instances of services that are changing which have proven themselves."""
    return frozenset(
        at.instance
        for known in changing(state)
        for at in state.placements_of(known.service.name)
        if _is_settled(known.service, report_of(soft, at))
    )


def _is_settled(service: Service, use: InstanceUse | None) -> bool:
    if use is None or use.health != "healthy":
        return False
    return (use.healthy_for_s or 0.0) >= healthy_for_s(service)


class Standing(Struct, frozen=True, kw_only=True):
    """How far the rollout of one service is, in instances.

    `new` run the new edition, and of them `settled` have proven themselves and `failed` have not;
    `old` are still to be replaced. `trouble` is what the first that failed says.
    """

    wanted: int
    new: int
    settled: int
    old: int
    failed: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def is_done(self) -> bool:
        return not self.old and self.settled == self.new >= self.wanted


def standing(state: ClusterState, soft: SoftState, known: Definition) -> Standing:
    service = known.service
    placed = state.placements_of(service.name)
    new = [at for at in placed if at.revision == known.revision]
    reports = {at.instance: report_of(soft, at) for at in new}
    failed = {name: use for name, use in reports.items() if use is not None and use.failures}
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
        settled=sum(_is_settled(service, use) for use in reports.values()),
        old=len(placed) - len(new),
        failed=tuple(failed),
        trouble=trouble,
    )


def _of(use: InstanceUse) -> str:
    """What it failed of, also where it has been started again since."""
    return use.last_failure or use.reason or "failed"


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
        under_way = [known for known in state.services.values() if known.is_changing]
        self._keep(known.service.name for known in under_way)
        for known in under_way:
            end = self._end(known, standing(state, soft, known), waiting, now_s)
            if end is not None:
                yield end

    def next_deadline_s(self, state: ClusterState) -> float | None:
        """When the patience with the first of them ends."""
        return min(
            (
                since_s + state.services[name].service.update.deadline_s
                for name, (_, since_s) in self._since_s.items()
                if name in state.services
            ),
            default=None,
        )

    def _end(
        self, known: Definition, here: Standing, waiting: Mapping[str, str], now_s: float
    ) -> EndRollout | None:
        name, policy = known.service.name, known.service.update
        if here.is_done:
            return EndRollout(name=name, target=known.revision, succeeded=True)
        assert known.rollout is not None, "it is under way"
        if len(here.failed) > policy.max_failures and known.rollout.state == "running":
            return EndRollout(
                name=name, target=known.revision, succeeded=False, reason=here.trouble
            )
        progress = (known.revision, here.new, here.settled)
        before, since_s = self._since_s.get(name, (progress, now_s))
        if before != progress:
            since_s = now_s
        self._since_s[name] = (progress, since_s)
        if now_s - since_s < policy.deadline_s:
            return None
        what = here.trouble or waiting.get(name) or f"{here.settled} of {here.new} new are healthy"
        reason = f"no progress for {policy.deadline_s:g} s: {what}"
        return EndRollout(name=name, target=known.revision, succeeded=False, reason=reason)

    def _keep(self, names: Iterable[str]) -> None:
        kept = set(names)
        self._since_s = {name: it for name, it in self._since_s.items() if name in kept}
