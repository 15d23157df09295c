"""The instances of one node: what each has been through, what it uses, what to do next.

Sync and without I/O. The runner tells what the engine said and what it did; this says what follows.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.container import Container, Usage
from roheletd.cluster.health import checked
from roheletd.cluster.history import (
    History,
    examined,
    failed,
    forgiven,
    health_of,
    observed,
    started,
    state_of,
)
from roheletd.cluster.reconcile import (
    Action,
    InstanceSpec,
    Parting,
    Plan,
    Remove,
    Run,
    Stop,
    preference,
    reconcile,
)
from roheletd.cluster.uses import Measurable, Threads, Use, Uses
from roheletd.instance_use import InstanceUse
from roheletd.telemetry import GpuProcess


class Happening(Struct, frozen=True):
    """Something to tell people: becomes an event."""

    kind: str
    subject: str
    reason: str = ""


class Check(Struct, frozen=True, kw_only=True):
    """To be asked of the run of an instance that began at `begun_s`."""

    spec: InstanceSpec
    container: Container
    begun_s: float


def instance_of(action: Action) -> str:
    return action.spec.instance if isinstance(action, Run) else action.instance


class Instances:
    """Histories by instance, the last list of containers, and what is being worked on."""

    def __init__(self) -> None:
        self._histories: dict[str, History] = {}
        self._containers: dict[str, Container] = {}
        self._busy: set[str] = set()
        self._held: dict[str, str] = {}
        self._busy_when_asked: set[str] = set()
        self._uses = Uses()
        self._wanted: Mapping[str, InstanceSpec] = {}

    def about_to_list(self) -> None:
        """The engine is asked now: its answer says nothing of what is being worked on."""
        self._busy_when_asked = set(self._busy)

    def next_plan(
        self,
        desired: Mapping[str, InstanceSpec],
        containers: Iterable[Container],
        now_s: float,
        *,
        partings: Callable[[str], Parting | None] = lambda _instance: None,
        held: Mapping[str, str] = {},
    ) -> tuple[Plan, tuple[Happening, ...]]:
        """What to do about what the engine lists; what is in the plan is busy from now on.

        What is `held` is left as it is, unless it has run before.
        """
        listed = [item for item in containers if not item.stranger]
        busy = self._busy | self._busy_when_asked
        earlier, self._containers = self._containers, _by_instance(listed, desired)
        ids = {item.id for item in listed}
        stuck = {key: past for key, past in self._histories.items() if key in ids}
        happenings: list[Happening] = []
        for name, spec in desired.items():
            before = self._history(name, spec.digest)
            after = before if name in busy else self._seen(before, spec, now_s)
            happenings += _news(name, before, after)
            happenings += _pauses(name, earlier.get(name), self._containers.get(name))
            self._histories[name] = after
        self._histories = {name: self._histories[name] for name in desired} | stuck
        self._wanted = dict(desired)
        happenings += self._hold(held)
        gone = {item.instance: partings(item.instance) for item in listed}
        plan = reconcile(
            desired,
            listed,
            history=self._histories,
            busy=busy | self._held.keys(),
            now_s=now_s,
            partings={name: parting for name, parting in gone.items() if parting is not None},
        )
        self._busy |= {instance_of(action) for action in plan.actions}
        return plan, tuple(happenings)

    def _hold(self, held: Mapping[str, str]) -> list[Happening]:
        """Those that have not run yet, told about once."""
        before = self._held
        self._held = {
            name: why
            for name, why in held.items()
            if name in self._wanted and not self._has_run(name, self._wanted[name].digest)
        }
        return [
            Happening("waiting", name, why)
            for name, why in self._held.items()
            if before.get(name) != why
        ]

    def _has_run(self, name: str, digest: str) -> bool:
        copy, history = self._containers.get(name), self._histories[name]
        runs = copy is not None and copy.digest == digest and copy.state != "created"
        return runs or history.running or history.restarts > 0

    def refused(
        self,
        action: Action,
        reason: str,
        *,
        now_s: float,
        retry: bool,
        ports: tuple[int, ...] = (),
        image: bool = False,
    ) -> None:
        """The engine said no: for `ports` that something else may hold, or for want of an image."""
        # A removal that failed is remembered by its container: nothing may be placed any more.
        is_removal = isinstance(action, Remove)
        key = action.container_id if isinstance(action, Remove) else instance_of(action)
        history = self._histories.get(key) or History(digest="")
        after = failed(history, reason, now_s=now_s, retry=retry or is_removal)
        # What could not be ended is still to be.
        ailing = isinstance(action, Stop)
        self._histories[key] = replace(
            after, ailing=ailing, refused_ports=ports, refused_image=image
        )

    def done(self, action: Action, now_s: float) -> tuple[Happening, ...]:
        """The engine did as it was told."""
        name = instance_of(action)
        before, spec = self._histories.get(name), self._wanted.get(name)
        if before is None or spec is None or isinstance(action, Stop | Remove):
            return ()
        self._histories[name] = after = started(before, spec.health, now_s)
        return _news(name, before, after)

    def finished(self, action: Action) -> None:
        """Done or not, nobody works on it any more."""
        self._busy.discard(instance_of(action))

    def reset(self) -> None:
        """The engine was lost, and every action on it with it."""
        self._busy.clear()

    def measure(
        self,
        usage: Mapping[str, Usage],
        now_s: float,
        *,
        threads: Threads = lambda _id: {},
        gpus: Sequence[Mapping[int, GpuProcess]] = (),
    ) -> None:
        """Take in what the engine counted, by container id; called once per report."""
        runs = {
            name: Measurable(
                container_id=container.id,
                cores=len(spec.cores) if spec else 0,
                has_gpus=bool(spec and spec.gpus),
            )
            for name, container in self._containers.items()
            for spec in (self._wanted.get(name),)
        }
        self._uses.measure(runs, usage, now_s, threads=threads, gpus=gpus)

    def addresses(self) -> dict[str, str]:
        """Instance to the address of its own, of those that run and have one."""
        return {
            name: container.address
            for name, container in self._containers.items()
            if container.address and container.state == "running"
        }

    def due(self, now_s: float) -> tuple[tuple[Check, ...], float]:
        """The checks that are to be made now, and when the next one will be (infinity: never)."""
        checks, next_s = [], math.inf
        for name, container in self._containers.items():
            spec, history = self._wanted.get(name), self._histories.get(name)
            if spec is None or history is None or not self._is_under_check(spec, history):
                continue
            checkup = history.checkup
            if checkup.due_s <= now_s:
                checks.append(Check(spec=spec, container=container, begun_s=checkup.begun_s))
            else:
                next_s = min(next_s, checkup.due_s)
        return tuple(checks), next_s

    def _is_under_check(self, spec: InstanceSpec, history: History) -> bool:
        """Whether its run goes on: of what is paused or being replaced nothing is asked."""
        container = self._containers.get(spec.instance)
        if container is None or container.state != "running" or container.paused:
            return False
        fits = container.digest == spec.digest == history.digest
        alive = history.running or history.ailing
        return bool(spec.health and fits and alive and spec.instance not in self._busy)

    def answered(
        self, check: Check, fault: str, *, asked_s: float, now_s: float
    ) -> tuple[Happening, ...]:
        """A check was made; one of a run that has ended meanwhile says nothing."""
        name = check.spec.instance
        spec, before = self._wanted.get(name), self._histories.get(name)
        if spec is None or before is None or not self._is_under_check(spec, before):
            return ()
        if spec.health is None or before.checkup.begun_s != check.begun_s:
            return ()
        checkup = checked(before.checkup, spec.health, fault, asked_s=asked_s, now_s=now_s)
        self._histories[name] = after = examined(before, checkup, now_s)
        if checkup.verdict == before.checkup.verdict:
            return ()
        reason = after.checkup.fault if checkup.verdict == "unhealthy" else ""
        return (Happening(checkup.verdict, name, reason),)

    def now(
        self, placed: Iterable[str], now_s: float, doing: Mapping[str, str] = {}
    ) -> tuple[InstanceUse, ...]:
        """What is placed, in the state it is in at this moment, with its use as last measured.

        `doing`: how far those are that are being made ready.
        """
        return tuple(self._now(name, now_s, doing.get(name, "")) for name in sorted(placed))

    def _now(self, name: str, now_s: float, doing: str) -> InstanceUse:
        history = forgiven(self._histories.get(name) or History(digest=""), now_s)
        spec = self._wanted.get(name)
        container = self._containers.get(name)
        if container is not None and container.digest != history.digest:
            container = None  # a copy of an older definition, about to be replaced
        use = self._uses.of(name) if container is not None else Use()
        state = state_of(container, history, busy=name in self._busy)
        if name in self._held:
            state = "waiting"
        health = health_of(history, state)
        return InstanceUse(
            instance=name,
            state=state,
            revision=spec.revision if spec is not None else 0,
            health=health,
            healthy_for_s=_healthy_for_s(history, now_s) if health == "healthy" else None,
            failures=history.failures,
            last_failure=history.last_failure,
            cpu_millicores=use.cpu_millicores,
            memory_mib=use.memory_mib,
            cores_millicores=use.cores_millicores,
            gpu_percent=use.gpu.used_percent,
            gpu_memory_mib=use.gpu.memory_mib,
            restarts=history.restarts,
            reason=doing
            or self._held.get(name)
            or history.reason
            or _held_up(container)
            or _not_yet(history, state),
            refused_ports=history.refused_ports,
            refused_image=history.refused_image,
        )

    def _history(self, name: str, digest: str) -> History:
        """What is known under this specification; another one starts with a clean record."""
        known = self._histories.get(name)
        return known if known is not None and known.digest == digest else History(digest=digest)

    def _seen(self, before: History, spec: InstanceSpec, now_s: float) -> History:
        container = self._containers.get(spec.instance)
        if container is not None and container.digest != before.digest:
            return before
        return observed(before, container, spec.health, now_s)


def _by_instance(
    listed: Iterable[Container], desired: Mapping[str, InstanceSpec]
) -> dict[str, Container]:
    """Of several copies of one instance the one that is to stay."""

    def last_stays(item: Container) -> tuple[bool, tuple[bool, float, str]]:
        spec = desired.get(item.instance)
        return spec is None or spec.digest != item.digest, preference(item)

    return {item.instance: item for item in sorted(listed, key=last_stays, reverse=True)}


def _healthy_for_s(history: History, now_s: float) -> float | None:
    seconds = history.checkup.healthy_for_s(now_s)
    return None if seconds is None else round(seconds, 3)


def _not_yet(history: History, state: str) -> str:
    """What its checks complain of while nothing is made of that yet."""
    checkup = history.checkup
    if state != "running" or not checkup.fault:
        return ""
    return f"not healthy yet: {checkup.fault}" if checkup.verdict == "starting" else checkup.fault


def _held_up(container: Container | None) -> str:
    """Why one that counts as running does nothing."""
    return "paused by somebody" if container is not None and container.paused else ""


def _pauses(name: str, before: Container | None, after: Container | None) -> tuple[Happening, ...]:
    if (reason := _held_up(after)) == _held_up(before):
        return ()
    return (Happening("paused" if reason else "unpaused", name, reason),)


def _news(name: str, before: History, after: History) -> tuple[Happening, ...]:
    if after.running and not before.running:
        return (Happening("running", name),)
    if after.failures > before.failures:
        return (Happening("ended", name, after.reason),)
    return ()
