"""Makes the engine run what is placed on this node, and nothing else of ours.

Woken by committed placements, by the engine's own events and by the end of a back-off; asks
`reconcile` for the difference and carries it out, several instances at a time. May be killed
anywhere: what it left half done, the next pass sees and finishes.
"""

import asyncio
import logging
import math
from random import Random

from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.reconcile import (
    Action,
    Container,
    History,
    InstanceSpec,
    Plan,
    Remove,
    Run,
    Start,
    failed,
    observed,
    reconcile,
    specification,
    state_of,
)
from roheletd.cluster.soft import EngineLink, SoftState
from roheletd.cluster.state import ClusterState
from roheletd.engines import Engine, EngineError, Usage
from roheletd.errors import Unavailable
from roheletd.telemetry import InstanceUse

logger = logging.getLogger(__name__)

ACTIONS_AT_ONCE = 4
RECONNECT_S_MAX = 15.0


class Runner:
    """One node's instances: desired from the agreed state, actual from the engine."""

    name = "runner"

    def __init__(
        self,
        *,
        engine: Engine,
        cluster: str,
        node: str,
        state: ClusterState,
        soft: SoftState,
        events: Events,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._engine = engine
        self._cluster = cluster
        self._node = node
        self._state = state
        self._soft = soft
        self._events = events
        self._clock = clock
        self._rng = rng
        self._histories: dict[str, History] = {}
        self._containers: dict[str, Container] = {}
        self._busy: set[str] = set()
        self._slots = asyncio.Semaphore(ACTIONS_AT_ONCE)
        self._earlier: dict[str, tuple[float, Usage]] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        attempts = 0
        try:
            while True:
                try:
                    await self._connect()
                    attempts = 0
                    await self._serve()
                except* Unavailable as group:
                    self._lost(str(group.exceptions[0]))
                attempts += 1
                await asyncio.sleep(min(RECONNECT_S_MAX, 2**attempts * self._rng.uniform(0.1, 0.2)))
        finally:
            await self._engine.close()

    def uses(self) -> tuple[InstanceUse, ...]:
        """State and use of every instance placed here; called once per report."""
        now_s = self._clock.now_s()
        usage = self._engine.usage() if self._soft.engine.reachable else {}
        found = []
        for name in sorted(self._state.placements_on(self._node)):
            container = self._containers.get(name)
            history = self._histories.get(name) or History(digest="")
            now = usage.get(container.id) if container else None
            found.append(
                InstanceUse(
                    instance=name,
                    state=state_of(container, history, busy=name in self._busy),
                    cpu_millicores=self._rate(name, now, now_s),
                    memory_mib=now.memory_mib if now else None,
                    restarts=history.restarts,
                    reason=history.reason,
                )
            )
        return tuple(found)

    async def _connect(self) -> None:
        info = await self._engine.open()
        self._soft.engine = EngineLink(
            kind=info.kind,
            name=info.name,
            version=info.version,
            address=info.address,
            reachable=True,
            reason="",
        )
        self._events.add("engine answers", info.name, f"{info.version} at {info.address}")

    def _lost(self, reason: str) -> None:
        if self._soft.engine.reachable or self._soft.engine.reason != reason:
            self._events.add("engine lost", self._soft.engine.name or "engine", reason)
            logger.warning("the engine does not answer: %s", reason)
        link = self._soft.engine
        self._soft.engine = EngineLink(
            kind=link.kind,
            name=link.name,
            version=link.version,
            address=link.address,
            reachable=False,
            reason=reason,
        )

    async def _serve(self) -> None:
        """Reconcile until the engine is lost, which ends the group and every action in it."""
        self._busy.clear()
        async with asyncio.TaskGroup() as actions:
            actions.create_task(self._watch(), name="engine changes")
            while True:
                self._wake.clear()
                plan = await self._pass()
                for action in plan.actions:
                    instance = action.spec.instance if isinstance(action, Run) else action.instance
                    self._busy.add(instance)
                    actions.create_task(self._act(action, instance), name=instance)
                await self._wait(plan.look_again_s)

    async def _watch(self) -> None:
        async for _ in self._engine.changes():
            self._wake.set()

    async def _wait(self, until_s: float) -> None:
        timeout_s = None if math.isinf(until_s) else max(0.0, until_s - self._clock.now_s())
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _pass(self) -> Plan:
        containers = await self._engine.list()
        desired = self._desired()
        now_s = self._clock.now_s()
        self._containers = {item.instance: item for item in containers}
        stuck = {
            item.id: self._histories[item.id] for item in containers if item.id in self._histories
        }
        seen = {name: self._seen(name, spec.digest, now_s) for name, spec in desired.items()}
        self._histories = seen | stuck
        return reconcile(desired, containers, history=self._histories, busy=self._busy, now_s=now_s)

    def _desired(self) -> dict[str, InstanceSpec]:
        return {
            name: specification(
                cluster=self._cluster,
                service=self._state.services[at.service].service,
                placement=at,
                node=self._state.registrations[at.node].node,
            )
            for name, at in self._state.placements_on(self._node).items()
        }

    def _seen(self, name: str, digest: str, now_s: float) -> History:
        before = self._histories.get(name)
        if before is None or before.digest != digest:
            before = History(digest=digest)
        if name in self._busy:
            return before
        container = self._containers.get(name)
        after = observed(
            before, container if container and container.digest == digest else None, now_s
        )
        if after.running and not before.running:
            self._events.add("running", name)
        elif after.failures > before.failures:
            self._events.add("ended", name, after.reason)
        return after

    async def _act(self, action: Action, instance: str) -> None:
        try:
            async with self._slots:
                await self._carry_out(action)
        except EngineError as error:
            self._refused(action, instance, error)
        finally:
            self._busy.discard(instance)
            self._wake.set()

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Run(spec=spec):
                await self._engine.run(spec)
            case Start(container_id=container_id):
                await self._engine.start(container_id)
            case Remove(instance=instance, container_id=container_id, reason=reason):
                self._events.add("stopping", instance, reason)
                await self._engine.remove(container_id, action.grace_s)

    def _refused(self, action: Action, instance: str, error: EngineError) -> None:
        kind = type(action).__name__.lower()
        logger.warning("engine refused to %s %s: %s", kind, instance, error)
        self._events.add("engine refused", instance, str(error))
        # A removal that failed is remembered by its container: nothing may be placed any more.
        key = action.container_id if isinstance(action, Remove) else instance
        self._histories[key] = failed(
            self._histories.get(key) or History(digest=""),
            str(error),
            now_s=self._clock.now_s(),
            retry=error.retry or isinstance(action, Remove),
        )

    def _rate(self, name: str, now: Usage | None, now_s: float) -> int | None:
        """Millicores since the last report; unknown in the first one and after a restart."""
        before = self._earlier.pop(name, None)
        if now is None:
            return None
        self._earlier[name] = (now_s, now)
        if before is None or now.cpu_s < before[1].cpu_s or now_s <= before[0]:
            return None
        return round(1000 * (now.cpu_s - before[1].cpu_s) / (now_s - before[0]))
