"""Pulls beforehand the images of services that this node would be the next to run."""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

from roheletd.allocation.snapshot import Profile
from roheletd.allocation.spare import spares
from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership
from roheletd.cluster.state import ClusterState
from roheletd.engines import EngineError, Tell
from roheletd.errors import Unavailable
from roheletd.loops.waiting import news_or_time

logger = logging.getLogger(__name__)

SETTLE_S = 5.0
"""After a change of the agreed state: others follow, and a new instance pulls its image itself."""

RETRY_S = 300.0


class Store(Protocol):
    """What an engine has of images."""

    async def has(self, image: str) -> bool: ...

    async def pull(self, image: str, instance: str, tell: Tell) -> None: ...


class SpareKeeper:
    """One pull at a time. What fails is tried again later, or after the next change."""

    name = "spare keeper"

    def __init__(
        self,
        *,
        store: Store,
        node: str,
        state: ClusterState,
        membership: Membership,
        profile: Profile,
        events: Events,
        clock: Clock,
    ) -> None:
        self._store = store
        self._node = node
        self._state = state
        self._membership = membership
        self._profile = profile
        self._events = events
        self._clock = clock
        self._trouble: dict[str, str] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            again_s = self._clock.now_s() + RETRY_S if self._trouble else math.inf
            await news_or_time(self._wake, again_s, self._clock)
            await asyncio.sleep(SETTLE_S)
            self._wake.clear()
            await self.look()

    async def look(self) -> None:
        """Pull what is due; the state may change meanwhile, which wakes this again."""
        due = self._due()
        self._trouble = {name: why for name, why in self._trouble.items() if name in due}
        for service, image in due.items():
            try:
                if not await self._store.has(image):
                    await self._store.pull(image, f"{service}.spare", self._tell(service))
                self._trouble.pop(service, None)
            except (Unavailable, EngineError) as error:
                if self._trouble.get(service) != str(error):
                    self._events.add("no warm spare", service, str(error))
                self._trouble[service] = str(error)

    def _due(self) -> dict[str, str]:
        """Service to image, for which this node is the next."""
        seen = self._membership.of_all(self._state.registrations, self._clock.now_s())
        lost = {name for name, liveness in seen.items() if liveness == "lost"}
        return {
            name: known.service.image
            for name, node in spares(self._state, lost, self._profile).items()
            if node == self._node and (known := self._state.services[name]).service.pull != "never"
        }

    def _tell(self, service: str) -> Callable[[str, str], None]:
        return lambda kind, image: self._events.add(kind, service, f"{image}, for a warm spare")
