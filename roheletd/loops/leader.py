"""Leader work: brings every service to its number of replicas, by proposing placements."""

import asyncio
import logging
import math
from random import Random
from uuid import uuid4

from msgspec.structs import replace

from roheletd.allocation.algorithm import Algorithm
from roheletd.allocation.avoidance import avoid, stranded
from roheletd.allocation.queue import Waiting
from roheletd.allocation.schedule import Round, applied_at
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import View, look
from roheletd.allocation.wanted import next_reschedule_s
from roheletd.api.collaborators import Log
from roheletd.api.problems import UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster.commands import Rejected
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState, service_of
from roheletd.errors import Unavailable
from roheletd.loops.tidings import Tidings
from roheletd.loops.waiting import news_or_time

logger = logging.getLogger(__name__)


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
        algorithm: Algorithm,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._log = log
        self._profile = profile
        self._state = state
        self._soft = soft
        self._membership = membership
        self._tidings = Tidings(events)
        self._events = events
        self._algorithm = algorithm
        self._clock = clock
        self._rng = rng
        self._waiting = Waiting()
        self._trouble = ""
        self._alive: frozenset[str] = frozenset()
        self._settled: dict[str, int] = {}
        self._allocated_at = -1
        self._reschedule_at_s = math.inf
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def heard(self, node: str) -> None:
        """A node says how its instances are: one of them may have to move.

        What does not do well there is remembered whoever leads.
        """
        now_s = self._clock.now_s()
        displaced = avoid(self._soft, self._state, now_s, (node,))
        if self._log.leads and (displaced or stranded(self._soft, self._state, now_s, (node,))):
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._until_due()
            self._wake.clear()
            if not self._log.leads:
                self._waiting = Waiting()  # the leader's to know
                self._waiting.tell(self._soft)
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
        """Until it is woken, a node is lost, or the patience with one or with a service ends."""
        while not self._wake.is_set():
            now_s = self._clock.now_s()
            self._membership.look(now_s)
            if self._log.leads and (
                now_s >= self._due_s() or self._tidings.is_news(self._lost_nodes(now_s))
            ):
                return
            await news_or_time(self._wake, self._look_again_s(now_s), self._clock)

    def _due_s(self) -> float:
        return min(self._reschedule_at_s, self._waiting.next_try_s())

    def _look_again_s(self, now_s: float) -> float:
        if not self._log.leads:
            return math.inf
        loss_s = self._membership.next_loss_s(self._state.registrations, now_s)
        return min(math.inf if loss_s is None else now_s + loss_s, self._due_s())

    def _lost_nodes(self, now_s: float) -> frozenset[str]:
        return frozenset(self._membership.lost_for_s(self._state.registrations, now_s))

    async def _pass(self) -> None:
        now_s = self._clock.now_s()
        for node in self._tidings.nodes(self._lost_nodes(now_s)):
            self._soft.forget(node)
        moving = avoid(self._soft, self._state, now_s)
        view = look(self._state, self._soft, self._membership, now_s, displaced=moving)
        self._wake_waiting(view)
        left_s = next_reschedule_s(self._state, view)
        self._reschedule_at_s = math.inf if left_s is None else now_s + left_s
        this = Round(
            self._state,
            view,
            self._profile,
            self._rng,
            resting=self._waiting.resting(now_s),
            hooks=self._algorithm.hooks(),
        )
        try:
            await self._propose(this)
        finally:
            # Also where the disk is broken: why a service waits is known without it.
            self._tidings.queue(self._waiting, this, self._state.services.keys(), now_s)
            self._waiting.tell(self._soft)
            self._algorithm.tell(self._soft, self._events)

    async def _propose(self, this: Round) -> None:
        """Batch by batch, for as long as nothing else changes what was decided from."""
        basis = self._state.applied_index
        if not this.lacking <= self._waiting.stale():
            for _ in this.search():
                await asyncio.sleep(0)  # between the heartbeats
        for place in this.batches():
            outcome = await self._log.propose(replace(place, basis=basis), command_id=uuid4().hex)
            if isinstance(outcome, Rejected):
                logger.info("placements are decided again: %s", outcome.reason)
                return self._wake.set()
            self._tidings.places(place, this.preempted)
            if (index := applied_at(place, self._state)) is None:
                return self._wake.set()  # only released, or undone already: look anew
            basis = self._allocated_at = index
            # What was just placed may be what others have to be near.
            services = self._state.services.values()
            self._waiting.wake(it.service.name for it in services if it.service.affinity)
            await asyncio.sleep(0)
        return None

    def _wake_waiting(self, view: View) -> None:
        """What changed since the last pass, other than by it, may help those that wait."""
        alive = frozenset(name for name, it in view.conditions.items() if it.liveness == "alive")
        if self._state.allocated_at != self._allocated_at or alive - self._alive:
            self._waiting.wake()
        # Behind one that has settled the next is replaced, and that makes room itself.
        settled = {name: self._state.placements[name].placed_at for name in view.settled}
        news = settled.items() - self._settled.items()
        self._waiting.wake({service_of(name) for name, _ in news})
        self._allocated_at, self._alive = self._state.allocated_at, alive
        self._settled = settled
