"""A node `pi` that leads in virtual time; others are heard as long as they are not silent."""

import asyncio
from random import Random

from roheletd.allocation.algorithm import Algorithm
from roheletd.allocation.snapshot import Profile
from roheletd.api.operations import Operations
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.loops.leader import Leader
from roheletd.testing import LoopClock, MemoryCluster, MemoryLog
from roheletd.vault import Vault
from tests.builders import Driver


class Leading:
    """What the loops of a leader stand on; `driver` commits what nobody here decides."""

    def __init__(self, driver: Driver, *, others: tuple[str, ...] = ()) -> None:
        self.clock = LoopClock()
        self.driver = driver
        self.state = driver.state
        self.log = MemoryLog(self.state, leader="pi")
        self.events = Events(node="pi", wall_s=self.clock.wall_s)
        self.soft = SoftState(
            broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker", reachable=True)
        )
        self.membership = Membership(me="pi", limits=thresholds(1.0))
        self.membership.expect(self.state.expected, 0.0)
        self.silent: set[str] = set()
        self._others = others

    async def pass_s(self, seconds: float) -> None:
        """Time in which all nodes that are not silent are heard each second."""
        until_s = self.clock.now_s() + seconds
        while self.clock.now_s() < until_s - 1e-6:
            for node in sorted(set(self._others) - self.silent):
                self.membership.heard(node, self.clock.now_s())
            self.membership.look(self.clock.now_s())  # as the reporter does with each beat
            await asyncio.sleep(min(1.0, until_s - self.clock.now_s()))

    def a_leader(self) -> Leader:
        return Leader(
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

    def operations(self) -> Operations:
        return Operations(
            node="pi",
            cluster="edge",
            version="0",
            profile=Profile(),
            algorithm=Algorithm(),
            state=self.state,
            soft=self.soft,
            membership=self.membership,
            events=self.events,
            log=self.log,
            cluster_control=MemoryCluster(node="pi", cluster="edge", wall_s=self.clock.wall_s),
            clock=self.clock,
            challenge=str,
            vault=Vault(bytes(32)),
            own_instances=tuple,
        )
