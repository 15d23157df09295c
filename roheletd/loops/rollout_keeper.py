"""Leader work: sees how new instances do, lets the next ones be replaced, and ends rollouts."""

import asyncio
import logging
import math
from collections.abc import Callable
from uuid import uuid4

from roheletd.api.collaborators import Log
from roheletd.api.problems import UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster.commands import Applied, EndRollout
from roheletd.cluster.events import Events
from roheletd.cluster.rollout import Watch, changing, settled, unready
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.errors import Unavailable
from roheletd.loops.waiting import news_or_time

logger = logging.getLogger(__name__)

RETRY_S = 1.0
_NOTHING = frozenset[str](), frozenset[str]()
"""What has settled, and what would not be started."""


class RolloutKeeper:
    """Woken by what nodes say of their instances, and by what was agreed."""

    name = "rollout keeper"

    def __init__(
        self,
        *,
        log: Log,
        state: ClusterState,
        soft: SoftState,
        events: Events,
        clock: Clock,
        proceed: Callable[[], None],
    ) -> None:
        self._log = log
        self._state = state
        self._soft = soft
        self._events = events
        self._clock = clock
        self._proceed = proceed
        self._watch = Watch()
        self._seen = _NOTHING
        self._trouble = ""
        self._seen_at, self._changes = -1, False
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            await news_or_time(self._wake, self._look_again_s(), self._clock)
            self._wake.clear()
            if not self._log.leads:
                self._watch, self._seen = Watch(), _NOTHING
            elif self._is_changing():
                await self._look()

    def _look_again_s(self) -> float:
        deadline_s = self._watch.next_deadline_s(self._state) if self._log.leads else None
        if deadline_s is None:
            return math.inf
        return max(self._clock.now_s() + RETRY_S, deadline_s)

    def _is_changing(self) -> bool:
        """Asked whenever a node is heard, and another answer only after another entry."""
        if self._seen_at != self._state.applied_index:
            self._seen_at = self._state.applied_index
            paused = any(known.is_paused for known in self._state.services.values())
            self._changes = paused or any(changing(self._state))
        return self._changes

    async def _look(self) -> None:
        now = settled(self._state, self._soft), unready(self._state, self._soft)
        if now != self._seen:
            self._seen = now
            self._proceed()
        now_s = self._clock.now_s()
        for end in tuple(self._watch.ends(self._state, self._soft, self._soft.waiting, now_s)):
            await self._end(end)

    async def _end(self, end: EndRollout) -> None:
        try:
            outcome = await self._log.propose(end, command_id=uuid4().hex)
            self._trouble = ""
        except (Unavailable, UnknownOutcome) as error:
            if str(error) != self._trouble:
                logger.warning("the rollout of %s cannot be ended: %s", end.name, error)
            self._trouble = str(error)
            return
        if isinstance(outcome, Applied):
            self._events.add(outcome.changed[end.name], end.name, end.reason)
