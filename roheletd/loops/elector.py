"""Drives the agreed log: persist, then send, then apply.

Whatever happens to the core happens in this loop, one thing after the other: messages, time and
proposals wait in a queue while the disk is written. If a write fails, nobody knows what the disk
holds: this node then takes part in nothing until it is restarted, while its containers run on and
reads still answer.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from roheletd.clock import Clock
from roheletd.cluster.applier import Applier, UnknownEntry
from roheletd.loops.waiting import news_or_time
from roheletd.raft import (
    AnyMessage,
    ChangeRefused,
    Configuration,
    Message,
    NotLeader,
    Raft,
    Ready,
)
from roheletd.store import Store, StoreFailed

log = logging.getLogger(__name__)

INPUTS_MAX = 10_000
"""Messages that may wait for the disk. Raft survives the loss of those beyond."""
SETTLE_S = 1.0
"""How long after the last entry the disk is told that it is committed, if nothing else was."""

Input = Callable[[float], object]


class Elector:
    """This node's part in the log. `failure` says why it has none any more."""

    name = "elector"

    def __init__(
        self,
        *,
        core: Raft,
        store: Store | None,
        applier: Applier,
        clock: Clock,
        send: Callable[[Message], None],
        silence_s: float,
    ) -> None:
        self._silence_s = silence_s
        self.core = core
        self.failure = ""
        self.alone = False
        """Nobody else is to hear of this log: a leader without followers need not speak."""
        self.begun = asyncio.Event()  # what the disk knows to be committed is applied
        self.on_applied: list[Callable[[], None]] = []
        self.on_leader: list[Callable[[], None]] = []
        self._store = store
        self._clock = clock
        self._send = send
        self._inputs: deque[Input] = deque(maxlen=INPUTS_MAX)
        self._wake = asyncio.Event()
        self._settle_at_s = math.inf
        self._applier = applier
        self._known: tuple[str | None, int, bool] = (None, 0, False)

    @property
    def leads(self) -> bool:
        """Leader, and with all that was ever committed applied: it may act as one."""
        core = self.core
        return core.leads and self._applier.applied_index >= core.led_from and not self.failure

    @property
    def leader(self) -> str | None:
        """The member that leads and was heard lately: those who do not vote notice no silence."""
        core = self.core
        silent = core.silent_s(self._clock.now_s()) > self._silence_s
        return None if silent or self.failure else core.leader

    def receive(self, message: AnyMessage) -> None:
        """An authentic message of another node."""
        self._do(lambda now_s: self.core.step(message, now_s))

    def propose(self, data: bytes, entered: Callable[[int], None]) -> None:
        """Put `data` into the log and tell its index, if this node leads and takes it by then."""
        self._do(lambda now_s: entered(self.core.propose(data, now_s)))

    def change(self, configuration: Configuration) -> None:
        """Propose who takes part; what is refused now is decided anew later."""
        self._do(lambda now_s: self.core.change(configuration, now_s))

    def hand_over(self, to: str) -> None:
        self._do(lambda now_s: self.core.transfer(to, now_s))

    def hint(self, leader: str) -> None:
        """It is said that `leader` has died."""
        self._do(lambda now_s: self.core.hint(leader, now_s))

    def fail(self, reason: str) -> None:
        """Take no part any more, until a restart."""
        if not self.failure:
            self.failure = reason
            log.error("this node takes no part in the cluster's log: %s", reason)
            self._tell_leader()

    async def run(self) -> None:
        self._wake.set()
        while True:
            await self._rest()
            if self.failure:
                self._inputs.clear()
            else:
                await self._turn()
            self.begun.set()

    async def _turn(self) -> None:
        now_s = self._clock.now_s()
        while self._inputs:
            # What only a leader may do is for the next one, where that is not this node.
            with suppress(NotLeader, ChangeRefused):
                self._inputs.popleft()(now_s)
        self.core.tick(now_s)
        if now_s >= self._settle_at_s:
            self._settle_at_s = math.inf
            self.core.remember_commit()
        try:
            await self._work()
        except StoreFailed as error:
            self.fail(f"the log cannot be written: {error}")
        self._tell_leader()

    async def _rest(self) -> None:
        """Until something happens or is due."""
        due_s = math.inf if self.failure else self._settle_at_s
        lonely = self.alone and self.core.role == "leader" and not self.core.progress()
        if not (lonely or self.failure):
            due_s = min(due_s, self.core.deadline_s)
        await news_or_time(self._wake, due_s, self._clock)
        self._wake.clear()

    async def _work(self) -> None:
        while (ready := self.core.ready()) != Ready():
            if ready.to_save is not None:
                assert self._store is not None, "a node without a log takes no part in it"
                await self._store.save(ready.to_save)
            for message in ready.to_send:
                self._send(message)
            if ready.to_restore is not None or ready.to_apply:
                self._apply(ready)

    def _apply(self, ready: Ready) -> None:
        try:
            self._applier.apply(ready.to_restore, ready.to_apply)
        except UnknownEntry as error:
            self.fail(str(error))
        else:
            if self._applier.snapshot_is_due:
                self.core.compact(*self._applier.take_snapshot())
        self._settle_at_s = self._clock.now_s() + SETTLE_S
        for told in self.on_applied:
            told()

    def _do(self, act: Input) -> None:
        self._inputs.append(act)
        self._wake.set()

    def _tell_leader(self) -> None:
        """Tell those who care that another node leads, or this one has begun or ceased to."""
        known = (self.core.leader, self.core.term, self.leads)
        if known != self._known:
            self._known = known
            for told in self.on_leader:
                told()
