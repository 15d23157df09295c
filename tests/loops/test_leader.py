"""The leader: when it looks, what it proposes, what it tells, and what it survives."""

import asyncio
from random import Random

import pytest

from roheletd.allocation.snapshot import Profile
from roheletd.cluster.commands import AddServices, RemoveService
from roheletd.cluster.events import Event, Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.loops.leader import RETRY_WAITING_S, Leader
from roheletd.model import Service
from roheletd.telemetry import MemoryUse, Telemetry
from roheletd.testing import LoopClock, MemoryLog
from tests.builders import Driver, a_node, a_service, with_services
from tests.loops.stage import in_virtual_time, running, settled


class Stage:
    """A leader `pi` of 4 cores and 4096 MiB, alone in its cluster."""

    def __init__(self, *services: Service) -> None:
        self.clock = LoopClock()
        self.driver: Driver = with_services(*services, nodes=(a_node(),))
        self.state = self.driver.state
        self.log = MemoryLog(self.state, leader="pi")
        self.events = Events(node="pi", wall_s=self.clock.wall_s)
        self.soft = SoftState(
            broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker", reachable=True)
        )
        self.leader = Leader(
            log=self.log,
            profile=Profile(),
            state=self.state,
            soft=self.soft,
            membership=Membership(me="pi", limits=thresholds(1.0)),
            events=self.events,
            clock=self.clock,
            rng=Random(1),
        )

    def define(self, *services: Service) -> None:
        self.driver.apply(AddServices(services=services))
        self.leader.wake()

    def remove(self, name: str) -> None:
        self.driver.apply(RemoveService(name=name))
        self.leader.wake()

    def others_use(self, memory_mib: int) -> None:
        """What is measured on `pi` besides our instances."""
        memory = MemoryUse(total_mib=4096, available_mib=4096 - memory_mib)
        self.soft.telemetry["pi"] = Telemetry(node="pi", at_s=0.0, interval_s=1.0, memory=memory)
        self.leader.measured()

    async def measure_each_second(self, memory_mib: int, seconds: int) -> None:
        for _ in range(seconds):
            await asyncio.sleep(1)
            self.others_use(memory_mib)

    def told(self) -> list[Event]:
        return list(self.events.after(0))

    def kinds(self) -> list[tuple[str, str]]:
        return [(event.kind, event.subject) for event in self.told()]


@in_virtual_time
async def test_an_entry_wakes_it_and_the_missing_replicas_are_placed_and_told() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(replicas=2, cores=(500,)))
        await settled()
        assert sorted(stage.state.placements) == ["web.1", "web.2"]
        assert stage.kinds() == [("placed", "web.1"), ("placed", "web.2")]
        assert stage.told()[0].reason.startswith("on pi, cores {")
    stage.state.check()


@in_virtual_time
async def test_nothing_to_do_proposes_nothing() -> None:
    stage = Stage(a_service())
    async with running(stage.leader):
        stage.leader.wake()
        await settled()
        index = stage.state.applied_index
        for _ in range(10):
            stage.leader.wake()
            await settled()
        assert stage.state.applied_index == index


@in_virtual_time
async def test_fewer_replicas_are_released_and_told() -> None:
    stage = Stage(a_service(replicas=3))
    async with running(stage.leader):
        stage.leader.wake()
        await settled()
        stage.define(a_service(replicas=1))
        await settled()
        assert len(stage.state.placements) == 1
        assert [kind for kind, _ in stage.kinds()].count("released") == 2


@in_virtual_time
async def test_what_fits_nowhere_is_told_once_with_its_reason_and_kept_in_mind() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(memory_mib=5000))
        await settled()
        stage.define(a_service("other"))
        await settled()
        assert stage.kinds() == [("waiting", "web"), ("placed", "other.1")]
        assert "memory" in stage.soft.waiting["web"]
        assert stage.told()[0].reason == stage.soft.waiting["web"]


@in_virtual_time
async def test_what_waited_and_fits_after_a_change_is_told_to_wait_no_longer() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(memory_mib=5000))
        await settled()
        stage.define(a_service(memory_mib=50))
        await settled()
        assert stage.kinds() == [
            ("waiting", "web"),
            ("no longer waiting", "web"),
            ("placed", "web.1"),
        ]
        assert stage.soft.waiting == {}


@in_virtual_time
async def test_what_waited_and_was_removed_is_forgotten_without_a_word() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.define(a_service(memory_mib=5000))
        await settled()
        stage.remove("web")
        await settled()
        assert stage.kinds() == [("waiting", "web")]
        assert stage.soft.waiting == {}


@in_virtual_time
async def test_room_that_is_measured_is_used_within_five_seconds_and_not_looked_for_sooner() -> (
    None
):
    stage = Stage()
    stage.others_use(4000)
    async with running(stage.leader):
        stage.define(a_service(memory_mib=2000))
        await stage.measure_each_second(4000, 1)
        assert "web" in stage.soft.waiting
        await stage.measure_each_second(100, int(RETRY_WAITING_S) - 2)
        assert stage.state.placements == {}
        await stage.measure_each_second(100, 2)
        assert list(stage.state.placements) == ["web.1"]


@in_virtual_time
async def test_measurements_alone_wake_nobody_while_nothing_waits() -> None:
    stage = Stage()
    async with running(stage.leader):
        stage.driver.apply(AddServices(services=(a_service(),)))
        await stage.measure_each_second(100, 60)
        assert stage.state.placements == {}
        stage.leader.wake()
        await settled()
        assert list(stage.state.placements) == ["web.1"]


@in_virtual_time
async def test_a_log_that_takes_nothing_is_logged_once_and_outlived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    async with running(stage.leader) as (task,):
        stage.define(a_service("big", memory_mib=5000))
        await settled()
        stage.log.failure = "the disk is full"
        stage.define(a_service())
        await stage.measure_each_second(100, 60)
        assert not task.done()
        assert stage.state.placements == {}
        assert caplog.messages == ["placements wait: the disk is full"]
        assert ("placed", "web.1") not in stage.kinds()
        stage.log.failure = ""
        await stage.measure_each_second(100, 6)
        assert list(stage.state.placements) == ["web.1"]
