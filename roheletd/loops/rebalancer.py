"""Moves what would clearly sit better elsewhere, a few instances an hour, where that is wanted."""

import asyncio
from uuid import uuid4

from roheletd.api import views
from roheletd.api.collaborators import Log
from roheletd.api.operations import Operations
from roheletd.api.problems import UnknownOutcome
from roheletd.cluster.events import Events
from roheletd.cluster.soft import SoftState
from roheletd.errors import Refused, Unavailable

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
        operations: Operations,
        log: Log,
        soft: SoftState,
        events: Events,
    ) -> None:
        assert moves_per_hour > 0
        self._pause_s = HOUR_S / moves_per_hour
        self._operations = operations
        self._log = log
        self._soft = soft
        self._events = events

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s)
            if self._log.leads and not self._soft.waiting:
                await self._move()

    async def _move(self) -> None:
        try:
            done = await self._operations.rebalance(views.Rebalancing(moves=1), uuid4().hex)
        except (Refused, Unavailable, UnknownOutcome):
            return  # nothing that could not wait for the next time
        for move in done.moves:
            reason = f"from {move.source} to {move.target}, score +{move.gain:.2f}: {move.reason}"
            self._events.add("rebalanced", move.instance, reason)
