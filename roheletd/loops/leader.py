"""Leader work: brings every service to its number of replicas, by proposing placements."""

import asyncio
import logging
import math
from contextlib import suppress
from random import Random
from uuid import uuid4

from roheletd.allocation.foreign import avoid, displaced
from roheletd.allocation.schedule import Schedule, look, next_reschedule_s, schedule
from roheletd.allocation.snapshot import Profile
from roheletd.api.operations import Log, UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.errors import Unavailable

logger = logging.getLogger(__name__)

RETRY_WAITING_S = 5.0
"""How often a service without a place is tried again while nothing but measured load changes."""


class Leader:
    """Runs the allocator whenever the agreed state, or what is measured, may allow more."""

    name = "leader"

    def __init__(
        self,
        *,
        log: Log,
        profile: Profile,
        state: ClusterState,
        soft: SoftState,
        membership: Membership,
        events: Events,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._log = log
        self._profile = profile
        self._state = state
        self._soft = soft
        self._membership = membership
        self._events = events
        self._clock = clock
        self._rng = rng
        self._last_pass_s = 0.0
        self._trouble = ""
        self._lost: frozenset[str] = frozenset()
        self._reschedule_at_s = math.inf
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def measured(self) -> None:
        """New telemetry came in: what waits may fit now, what was placed may have to move."""
        if not self._log.leads:
            return
        reason = self._soft.waiting or displaced(self._soft, self._state)
        if reason and self._clock.now_s() - self._last_pass_s >= RETRY_WAITING_S:
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._until_due()
            self._wake.clear()
            if not self._log.leads:
                self._soft.waiting = {}  # the leader's to know
                continue
            try:
                await self._pass()
                self._trouble = ""
            except (Unavailable, UnknownOutcome) as error:
                # Once: while services wait, each retry meets the same broken disk.
                if str(error) != self._trouble:
                    logger.warning("placements wait: %s", error)
                self._trouble = str(error)

    async def _until_due(self) -> None:
        """Until it is woken, a node is lost, or the patience with a lost one ends."""
        while not self._wake.is_set():
            now_s = self._clock.now_s()
            self._membership.look(now_s)
            if self._log.leads and (
                now_s >= self._reschedule_at_s or self._lost != self._lost_nodes(now_s)
            ):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s(now_s)):
                    await self._wake.wait()

    def _patience_s(self, now_s: float) -> float | None:
        if not self._log.leads:
            return None
        loss_s = self._membership.next_loss_s(self._state.registrations, now_s)
        due_s = min(math.inf if loss_s is None else loss_s, self._reschedule_at_s - now_s)
        return None if math.isinf(due_s) else due_s

    def _lost_nodes(self, now_s: float) -> frozenset[str]:
        return frozenset(self._membership.lost_for_s(self._state.registrations, now_s))

    async def _pass(self) -> None:
        now_s = self._last_pass_s = self._clock.now_s()
        self._tell_lost(self._lost_nodes(now_s))
        moving = avoid(self._soft, self._state, now_s)
        view = look(self._state, self._soft, self._membership, now_s, displaced=moving)
        left_s = next_reschedule_s(self._state, view)
        self._reschedule_at_s = math.inf if left_s is None else now_s + left_s
        found = schedule(self._state, view, self._profile, self._rng)
        self._tell_waiting(found)
        if not found.is_empty:
            await self._log.propose(found.place, command_id=uuid4().hex)
            self._tell_placed(found)

    def _tell_lost(self, lost: frozenset[str]) -> None:
        for node in sorted(lost - self._lost):
            self._events.add("node lost", node, "nothing was heard of it for too long")
            self._soft.forget(node)
        for node in sorted(self._lost - lost):
            self._events.add("node back", node)
        self._lost = lost

    def _tell_waiting(self, found: Schedule) -> None:
        waiting = {name: why.reason for name, why in found.unplaceable.items()}
        for name, reason in waiting.items():
            if name not in self._soft.waiting:
                self._events.add("waiting", name, reason)
        for name in self._soft.waiting.keys() - waiting.keys():
            if name in self._state.services:
                self._events.add("no longer waiting", name)
        self._soft.waiting = waiting

    def _tell_placed(self, found: Schedule) -> None:
        for at in found.place.placements:
            cores = ", ".join(f"{core}: {share}" for core, share in sorted(at.cores.items()))
            self._events.add(
                "placed", at.instance, f"on {at.node}, cores {{{cores}}}, score {at.score}"
            )
        for instance in found.place.released:
            self._events.add("released", instance)
