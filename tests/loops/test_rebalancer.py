"""The rebalancer: how often it moves, when it does not, and what it tells."""

import asyncio
from random import Random

from roheletd.allocation.algorithm import Algorithm
from roheletd.allocation.snapshot import Profile
from roheletd.cluster.commands import AddNodes, AddServices, Place
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.loops.rebalancer import Rebalancer
from roheletd.model import Placement
from roheletd.testing import LoopClock, MemoryLog
from tests.builders import a_node, a_service, with_services
from tests.loops.stage import in_virtual_time, running


class Stage:
    """Four instances on `pi`, and an empty node `nano` that joined later."""

    def __init__(self, *, moves_per_hour: int) -> None:
        self.clock = LoopClock()
        services = [a_service(f"s{number}", cores=(900,), memory_mib=900) for number in range(4)]
        self.driver = with_services(*services)
        self.state = self.driver.state
        self.log = MemoryLog(self.state, leader="pi")
        revision = self.state.services["s0"].revision
        self.driver.apply(
            Place(
                placements=tuple(
                    Placement(
                        instance=f"s{core}.1",
                        service=f"s{core}",
                        node="pi",
                        revision=revision,
                        cores={core: 900},
                        cpu_millicores=900,
                        memory_mib=900,
                    )
                    for core in range(4)
                )
            )
        )
        self.driver.apply(AddNodes(nodes=(a_node("nano"),)))
        self.events = Events(node="pi", wall_s=self.clock.wall_s)
        self.soft = SoftState(
            broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker", reachable=True)
        )
        self.membership = Membership(me="pi", limits=thresholds(1.0))
        self.rebalancer = Rebalancer(
            moves_per_hour=moves_per_hour,
            log=self.log,
            profile=Profile(),
            state=self.state,
            soft=self.soft,
            membership=self.membership,
            events=self.events,
            algorithm=Algorithm(),
            clock=self.clock,
            rng=Random(1),
        )

    async def pass_s(self, seconds: float) -> None:
        """Time in which `nano` is heard each second."""
        until_s = self.clock.now_s() + seconds
        while self.clock.now_s() < until_s - 1e-6:
            self.membership.heard("nano", self.clock.now_s())
            self.membership.look(self.clock.now_s())
            await asyncio.sleep(min(1.0, until_s - self.clock.now_s()))

    @property
    def moved(self) -> int:
        return len(self.state.placements_on("nano"))


@in_virtual_time
async def test_it_moves_as_often_as_it_may_and_stops_where_nothing_would_be_better() -> None:
    stage = Stage(moves_per_hour=60)
    async with running(stage.rebalancer):
        await stage.pass_s(59)
        assert stage.moved == 0
        await stage.pass_s(2)
        assert stage.moved == 1
        await stage.pass_s(60)
        assert stage.moved == 2
        index = stage.state.applied_index
        await stage.pass_s(3600)
        assert stage.state.applied_index == index
    stage.state.check()
    told = [event for event in stage.events.after(0) if event.kind == "rebalanced"]
    assert len(told) == 2
    assert told[0].reason.startswith("from pi to nano, score +0.")


@in_virtual_time
async def test_it_leaves_everything_alone_while_it_does_not_lead_or_a_service_waits() -> None:
    stage = Stage(moves_per_hour=60)
    stage.log.leads = False
    async with running(stage.rebalancer):
        await stage.pass_s(300)
        stage.log.leads = True
        stage.soft.waiting = {"big": "no node fits"}
        await stage.pass_s(300)
        assert stage.moved == 0
        stage.soft.waiting = {}
        await stage.pass_s(61)
        assert stage.moved == 1


@in_virtual_time
async def test_a_log_that_takes_nothing_is_outlived() -> None:
    stage = Stage(moves_per_hour=60)
    stage.log.failure = "the disk is full"
    async with running(stage.rebalancer) as (task,):
        await stage.pass_s(330)
        assert not task.done()
        assert stage.moved == 0
        stage.log.failure = ""
        stage.driver.apply(AddServices(services=(a_service("late", replicas=0),)))
        await stage.pass_s(59)
        assert stage.moved == 1
