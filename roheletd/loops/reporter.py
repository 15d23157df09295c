"""Samples this node on a steady beat: into memory first, then onto MQTT.

It is the daemon's only regular wakeup. Whatever else has to happen now and then (the broker
link's own timers, the service manager's watchdog) rides on the same beat.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from uuid import uuid4

from msgspec import Struct

from roheletd.api.collaborators import Log
from roheletd.api.problems import UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster.commands import AddNodes
from roheletd.cluster.membership import Membership
from roheletd.cluster.soft import SoftState
from roheletd.collectors import Collectors
from roheletd.errors import Unavailable
from roheletd.instance_use import InstanceUse
from roheletd.model import Node
from roheletd.telemetry import Telemetry, report

logger = logging.getLogger(__name__)

BEAT_S_MAX = 5.0
REGISTER_AGAIN_S = 60.0
"""A device that comes and goes must not become a write to flash each second."""
REGISTER_RETRY_S = 1.0


class Beat(Struct, frozen=True, kw_only=True):
    """How often to report, how often to wake at all, and what else to do on each waking."""

    report_s: float
    beat_s: float
    also: tuple[Callable[[], None], ...] = ()


class Reporter:
    """This node's eyes: a telemetry report each interval, a registration when it has changed."""

    name = "reporter"

    def __init__(
        self,
        *,
        node: str,
        labels: dict[str, str],
        host_paths: tuple[str, ...],
        beat: Beat,
        collectors: Collectors,
        log: Log,
        soft: SoftState,
        membership: Membership,
        clock: Clock,
        uses: Callable[[], tuple[InstanceUse, ...]],
        measured: Callable[[Telemetry], None],
        admitted: Callable[[], bool],
    ) -> None:
        self._node = node
        self._admitted = admitted
        self._labels = labels
        self._host_paths = host_paths
        self._beat = beat
        self._collectors = collectors
        self._log = log
        self._soft = soft
        self._membership = membership
        self._clock = clock
        self._uses = uses
        self._measured = measured
        self._frequency_ghz = collectors.frequency_ghz()
        self._mac_address = collectors.mac_address()
        self._sample = collectors.sample(clock.now_s())
        self._registered: Node | None = None
        self._registering: asyncio.Task[None] | None = None
        self._register_at_s = -math.inf
        self._trouble = ""

    async def run(self) -> None:
        report_at_s = wake_at_s = self._clock.now_s()
        period_s = min(self._beat.report_s, self._beat.beat_s, BEAT_S_MAX)
        while True:
            for also in self._beat.also:
                also()
            now_s = self._clock.now_s()
            self._membership.look(now_s)
            if now_s >= report_at_s:
                self._measured(self._report(now_s))
                report_at_s = _next(report_at_s, self._beat.report_s, now_s)
            self._register(now_s)
            wake_at_s = _next(wake_at_s, period_s, now_s)
            await asyncio.sleep(wake_at_s - self._clock.now_s())

    def node(self) -> Node:
        """This machine as it would register itself now."""
        return Node(
            name=self._node,
            capacity=self._collectors.capacity(),
            arch=self._collectors.arch(),
            engine=self._soft.engine.kind,
            labels=self._labels,
            host_paths=self._host_paths,
            mac_address=self._mac_address,
            frequency_ghz=self._frequency_ghz,
        )

    def _report(self, now_s: float) -> Telemetry:
        sample = self._collectors.sample(now_s)
        self._soft.gpu_processes = tuple(reading.processes for reading in sample.gpus)
        telemetry = report(
            self._sample,
            sample,
            node=self._node,
            at_s=self._clock.wall_s(),
            instances=self._uses(),
            images=self._soft.images,
        )
        self._sample = sample
        self._soft.heard_telemetry(telemetry, steady_s=self._beat.report_s / 2)
        self._membership.heard(self._node, now_s)
        return telemetry

    def _register(self, now_s: float) -> None:
        node = self.node()
        if node == self._registered or now_s < self._register_at_s or not self._admitted():
            return
        self._register_at_s = now_s + REGISTER_AGAIN_S
        # Beside the beat: a log that answers late must not stop the signs of life.
        self._registering = asyncio.create_task(self._propose(node), name="registration")

    async def _propose(self, node: Node) -> None:
        try:
            await self._log.propose(AddNodes(nodes=(node,)), command_id=uuid4().hex)
        except (Unavailable, UnknownOutcome) as error:
            # Once: without a leader each retry meets the same silence, and a log is on flash, too.
            if str(error) != self._trouble:
                logger.warning("this node is not registered yet: %s", error)
            self._trouble = str(error)
            self._register_at_s = self._clock.now_s() + REGISTER_RETRY_S
        else:
            self._registered, self._trouble = node, ""


def _next(due_s: float, period_s: float, now_s: float) -> float:
    """The beat does not drift; after a stall it goes on from now and makes up for nothing."""
    return due_s + period_s if due_s + period_s > now_s else now_s + period_s
