"""Makes the engine run what is placed on this node, and nothing else of ours.

Woken by committed placements, by the engine's own events and by the end of a back-off; asks
`Instances` for the next plan and carries it out, several at a time. May be killed anywhere: what it
left half done, the next pass sees and finishes.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from random import Random

from msgspec.structs import replace

from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.instances import Happening, Instances, instance_of
from roheletd.cluster.orders import Orders
from roheletd.cluster.reconcile import Action, InstanceSpec, Plan, Remove, Run, Start, Stop
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.engines import Engine, EngineError, EngineInfo, ImageRefused, PortTaken
from roheletd.errors import Unavailable
from roheletd.instance_use import InstanceUse
from roheletd.loops.cancellation import heed_cancellation
from roheletd.loops.engine_news import EngineNews
from roheletd.loops.furnisher import Furnisher
from roheletd.loops.instance_news import InstanceNews
from roheletd.loops.slots import Slots
from roheletd.loops.waiting import news_or_time

RECONNECT_S_MAX = 15.0
STEADY_S = 10.0
"""An engine that was there this long is asked again at once after it was lost."""


class Runner:
    """One node's instances: desired from the agreed state, actual from the engine."""

    name = "runner"

    def __init__(
        self,
        *,
        engine: Engine,
        furnisher: Furnisher,
        node: str,
        state: ClusterState,
        soft: SoftState,
        events: Events,
        clock: Clock,
        rng: Random,
        orders: Callable[[], Orders | None],
    ) -> None:
        self._engine = engine
        self._furnisher = furnisher
        self._orders = orders
        self._soft = soft
        self._clock = clock
        self._rng = rng
        self._instances = Instances()
        self._engine_news = EngineNews(soft, events)
        self._slots = Slots(soft)
        self._wake = asyncio.Event()
        self.news = InstanceNews(
            self._instances, engine, node=node, state=state, events=events, clock=clock
        )
        self.news.on_verdict = self.wake
        self._tell = self.news.tell

    def wake(self) -> None:
        self._wake.set()

    def uses(self) -> tuple[InstanceUse, ...]:
        """Every instance placed here, with its use as of now; called once per report."""
        usage = self._engine.usage() if self._soft.engine.reachable else {}
        gpus, now_s = self._soft.gpu_processes, self._clock.now_s()
        self._instances.measure(usage, now_s, threads=self._engine.threads, gpus=gpus)
        self.news.look()
        return self.instances()

    def instances(self) -> tuple[InstanceUse, ...]:
        """Every instance placed here, with its use as of the last report."""
        return self.news.now()

    async def run(self) -> None:
        failures = 0
        try:
            while True:
                begun_s = self._clock.now_s()
                try:
                    await self._serve()
                # A refusal of the list itself is no better than no answer: ask again, later.
                except* (Unavailable, EngineError) as group:
                    self._engine_news.lost(str(group.exceptions[0]))
                heed_cancellation()
                steady = self._clock.now_s() - begun_s >= STEADY_S
                failures = 1 if steady else failures + 1
                pause_s = 2.0 ** min(failures, 10) * self._rng.uniform(0.1, 0.2)
                await asyncio.sleep(min(RECONNECT_S_MAX, pause_s))
        finally:
            await self._engine.close()

    async def _serve(self) -> None:
        """Reconcile until the engine is lost, which ends the group and every action in it."""
        info = await self._engine.open()
        self._instances.reset()
        async with asyncio.TaskGroup() as actions:
            actions.create_task(self._watch(), name="engine changes")
            actions.create_task(self._engine_news.follow_images(self._engine), name="engine images")
            while True:
                self._wake.clear()
                plan = await self._plan(info)
                for action in plan.actions:
                    actions.create_task(self._act(action), name=instance_of(action))
                await news_or_time(self._wake, plan.look_again_s, self._clock)

    async def _watch(self) -> None:
        async for _ in self._engine.changes():
            self._wake.set()

    async def _plan(self, info: EngineInfo) -> Plan:
        self._instances.about_to_list()
        containers = self._engine_news.listed(info, await self._engine.list())
        self._engine_news.answers(info)
        if (orders := self._orders()) is None:
            # Nothing is known of what is wanted, which is not the same as nothing is wanted.
            return Plan(actions=(), look_again_s=math.inf)
        self._furnisher.expect(orders.run, containers)
        now_s = self._clock.now_s()
        plan, happenings = self._instances.next_plan(
            orders.run, containers, now_s, partings=orders.parting, held=orders.held
        )
        self._tell(*happenings)
        return replace(plan, look_again_s=min(plan.look_again_s, now_s + orders.for_s))

    async def _act(self, action: Action) -> None:
        try:
            if isinstance(action, Remove):
                self._tell(Happening("stopping", action.instance, action.reason))
                await asyncio.sleep(action.leave_s)
            async with self._slots.of(action):
                await self._carry_out(action)
            self._tell(*self._instances.done(action, self._clock.now_s()))
        except EngineError as error:
            self._refused(action, error)
        finally:
            self._instances.finished(action)
            self.news.look()
            self._wake.set()

    def _refused(self, action: Action, error: EngineError) -> None:
        self._tell(Happening("engine refused", instance_of(action), str(error)))
        self._instances.refused(
            action,
            str(error),
            now_s=self._clock.now_s(),
            retry=error.retry,
            ports=error.ports if isinstance(error, PortTaken) else (),
            image=isinstance(error, ImageRefused),
        )

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Run(spec=spec):
                await self._engine.run(self._furnisher.furnish(spec), partial(self._step, spec))
            case Start(instance=instance, container_id=container_id):
                self._furnisher.renew(instance)
                await self._engine.start(container_id)
            case Stop(instance=instance, container_id=container_id, reason=reason):
                self._tell(Happening("restarting", instance, reason))
                await self._engine.stop(container_id, action.grace_s)
            case Remove(container_id=container_id):
                await self._engine.remove(container_id, action.grace_s)

    def _step(self, spec: InstanceSpec, kind: str, reason: str) -> None:
        self._tell(Happening(kind, spec.instance, reason))
