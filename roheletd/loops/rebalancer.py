"""Moves what would clearly sit better elsewhere, a few instances an hour, where that is wanted."""

import asyncio
from random import Random
from uuid import uuid4

from roheletd.allocation.algorithm import Algorithm
from roheletd.allocation.rebalance import Better, Rebalancing
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import look
from roheletd.api.collaborators import Log
from roheletd.api.problems import UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster.commands import Applied, Place
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.errors import Unavailable

HOUR_S = 3600.0


class Rebalancer:
    """On the node that leads, one move each `3600 / moves_per_hour` seconds at the most.

    Nothing is moved while a service waits for a place: the leader has more urgent things to do
    with whatever is free.
    """

    name = "rebalancer"

    def __init__(
        self,
        *,
        moves_per_hour: int,
        log: Log,
        profile: Profile,
        state: ClusterState,
        soft: SoftState,
        membership: Membership,
        events: Events,
        algorithm: Algorithm,
        clock: Clock,
        rng: Random,
    ) -> None:
        assert moves_per_hour > 0
        self._pause_s = HOUR_S / moves_per_hour
        self._log = log
        self._profile = profile
        self._state = state
        self._soft = soft
        self._membership = membership
        self._events = events
        self._algorithm = algorithm
        self._clock = clock
        self._rng = rng

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s)
            if self._log.leads and not self._soft.waiting:
                await self._move()

    async def _move(self) -> None:
        basis = self._state.applied_index
        view = look(self._state, self._soft, self._membership, self._clock.now_s())
        this = Rebalancing(
            self._state, view, self._profile, self._rng, moves=1, hooks=self._algorithm.hooks()
        )
        for _ in this.pieces():
            await asyncio.sleep(0)  # between the heartbeats
        if not this.chosen:
            return
        place = Place(placements=tuple(it.placement for it in this.chosen), basis=basis)
        try:
            outcome = await self._log.propose(place, command_id=uuid4().hex)
        except (Unavailable, UnknownOutcome):
            return  # nothing that could not wait for the next time
        if isinstance(outcome, Applied):
            for better in this.chosen:
                self._tell(better)

    def _tell(self, better: Better) -> None:
        at = better.placement
        reason = f"from {better.source} to {at.node}, score +{better.gain:.2f}: {better.reason}"
        self._events.add("rebalanced", at.instance, reason)
