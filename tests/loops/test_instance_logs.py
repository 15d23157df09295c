"""Whoever waits for what runs of an instance hears of it, also of what happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roheletd.cluster.commands import Place
from roheletd.cluster.container import Container
from roheletd.cluster.streams import Batch, LogsWanted
from roheletd.errors import Refused
from roheletd.loops.ceiling import Ceiling
from roheletd.loops.instance_logs import InstanceLogs
from roheletd.loops.pipe import Pipe
from roheletd.model import Placement
from roheletd.testing import LoopClock, MemoryEngine
from tests.builders import a_service, with_services
from tests.loops.stage import in_virtual_time

RUNS = Container(id="c1", instance="web.1", digest="d", state="running")
ENDED = Container(id="c1", instance="web.1", digest="d", state="exited")


class Hurried(MemoryEngine):
    """Things happen while it makes its list: `next` are the containers after each."""

    def __init__(self, *then: Container | None) -> None:
        super().__init__()
        self.then = list(then)
        self.happened = lambda: None
        self.read: list[str] = []

    async def list(self) -> list[Container]:
        found = await super().list()
        if self.then:
            it = self.then.pop(0)
            self.containers = {} if it is None else {it.id: it}
            self.happened()
        await asyncio.sleep(0)
        return found

    async def logs(self, container_id: str, **_: Any) -> AsyncIterator[Batch]:
        self.read.append(container_id)
        return
        yield []


def logs_of(engine: Hurried) -> InstanceLogs:
    driver = with_services(a_service())
    revision = driver.state.services["web"].revision
    at = Placement(instance="web.1", service="web", node="pi", revision=revision)
    driver.apply(Place(placements=(at,)))
    made = InstanceLogs(engine=engine, node="pi", state=driver.state, clock=LoopClock())
    engine.happened = made.wake
    return made


@in_virtual_time
async def test_an_instance_that_starts_while_the_engine_is_asked_is_found_at_once() -> None:
    logs, clock = logs_of(Hurried(RUNS)), LoopClock()
    begun_s = clock.now_s()
    assert await logs.container("web.1", wait=True) == RUNS
    assert clock.now_s() - begun_s < 0.1


@in_virtual_time
async def test_a_log_goes_on_at_once_after_a_restart_that_was_quick() -> None:
    engine = Hurried(ENDED, None, RUNS)
    engine.containers = {RUNS.id: RUNS}
    logs, clock = logs_of(engine), LoopClock()
    begun_s = clock.now_s()
    wanted = LogsWanted(instance="web.1", follow=True)
    out = Ceiling(Pipe(), None, clock, leave_out=True)
    reading = asyncio.create_task(logs.pass_on(wanted, out))
    while len(engine.read) < 2:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    assert clock.now_s() - begun_s < 1.0
    reading.cancel()


@in_virtual_time
async def test_who_does_not_wait_is_told_that_nothing_runs_yet() -> None:
    with pytest.raises(Refused, match="has not been started on pi yet"):
        await logs_of(Hurried()).container("web.1", wait=False)
