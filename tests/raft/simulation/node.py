"""One simulated node: the driver of a real core and a real state machine on a played disk.

Persist, then send, then apply. What arrives while a write is under way or the process is frozen
waits, and is then taken in one go: one `Ready`, one transaction.
"""

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from math import inf
from random import Random
from typing import Any, Literal

from msgspec import Struct

from roheletd.cluster import commands
from roheletd.cluster import state as states
from roheletd.cluster.commands import Proposal
from roheletd.raft.core import ChangeRefused, NotLeader, Raft
from roheletd.raft.values import (
    AnyMessage,
    AppendResponse,
    Configuration,
    Entry,
    Kind,
    NodeId,
    Ready,
    Snapshot,
    Timing,
)
from tests.raft.simulation.checks import Checks
from tests.raft.simulation.disk import Disk
from tests.raft.simulation.network import Network
from tests.raft.simulation.world import World

INBOX_MAX = 500
COMMIT_ALONE_S = 1.0
"""So long after it advanced is the commit index written by itself, where no other write came."""

Answer = Callable[[int | None, NodeId | None], None]
"""Told the index of the applied command, or None and who may lead instead."""

decode = lru_cache(maxsize=4096)(commands.decode)


class Make(Struct, frozen=True, kw_only=True):
    """What one node is like, for the whole seed: its clock, its disk and its snapshots."""

    offset_s: float = 0.0
    rate: float = 1.0
    write_s: float = 0.01
    compact_every: int = 40
    keep: int = 10
    chunk_bytes: int = 300


class Node:
    """`boots` counts the starts; whatever was planned in an earlier one does not happen."""

    def __init__(
        self,
        world: World,
        network: Network,
        checks: Checks,
        *,
        name: NodeId,
        disk: Disk,
        make: Make,
        timing: Timing,
    ) -> None:
        self.world, self.network, self.checks = world, network, checks
        self.name, self.disk, self.make, self.timing = name, disk, make, timing
        self.up = self.frozen = False
        self.boots = 0
        self.fault: Literal["", "before", "after"] = ""
        self.stall_s = 0.0
        self._lost_power()
        network.doors[name] = self.hear
        checks.disks[name] = disk

    def _lost_power(self) -> None:
        self.state = states.ClusterState()
        self.compacted = 0
        self._writing: Ready | None = None
        self._frozen_write = False
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._waiting: dict[str, list[Answer]] = {}
        self._wake_at: float | None = None
        self._commit_flush = False

    def clock(self) -> float:
        return self.make.offset_s + self.world.now * self.make.rate

    @property
    def leads(self) -> bool:
        return self.up and self.core.role == "leader"

    # --- life and death

    def start(self) -> None:
        if self.up:
            return
        self._lost_power()
        self.boots += 1
        self.up = True
        self.world.note(self.name, "starts", self.disk.last_index)
        self.core = Raft(
            me=self.name,
            saved=self.disk.saved(),
            timing=self.timing,
            rng=Random(self.world.rng.random()),
            now_s=self.clock(),
            chunk_bytes=self.make.chunk_bytes,
        )
        self.checks.started(self)
        self._pump()

    def crash(self, *, why: str = "crashes") -> None:
        """A write that is under way became durable, or did not."""
        if not self.up:
            return
        if self._writing is not None and not self._frozen_write and self.world.chance(0.5):
            self._persist(self._writing)
        self.world.note(self.name, why)
        self.up = self.frozen = False
        self.boots += 1
        self.checks.ended(self)

    def freeze(self) -> None:
        self.frozen = self.up

    def thaw(self) -> None:
        """The timer may be served first, or what arrived meanwhile."""
        if not self.frozen:
            return
        self.frozen = False
        if self._frozen_write:
            self._frozen_write = False
            self._written()
        elif self._writing is None:
            if self.world.chance(0.5) and self.core.deadline_s <= self.clock():
                self._tick()
            self._take()
            self._pump()

    # --- what comes in

    def hear(self, message: AnyMessage) -> None:
        self.do(self._step, message)

    def submit(self, proposal: Proposal, answer: Answer) -> None:
        self.do(self._submit, proposal, answer)

    def change(self, change: Callable[[Configuration], Configuration]) -> None:
        self.do(self._change, change)

    def transfer(self, to: NodeId) -> None:
        self.do(self._transfer, to)

    def hint(self, leader: NodeId) -> None:
        self.do(self._hint, leader)

    def do(self, action: Callable[..., None], *args: Any) -> None:
        if not self.up:
            return
        if self.frozen or self._writing is not None:
            if len(self._inbox) < INBOX_MAX:
                self._inbox.append((action, args))
            return
        action(*args)
        self._pump()

    def _step(self, message: AnyMessage) -> None:
        self.world.note(self.name, "hears", message)
        self.checks.heard(self, message)
        before = None
        if isinstance(message, AppendResponse) and message.term < self.core.term:
            before = self.core.progress()
        self.core.step(message, self.clock())
        if before is not None:
            self.checks.ignored(self, message, before)

    def _tick(self) -> None:
        self.core.tick(self.clock())

    def _submit(self, proposal: Proposal, answer: Answer) -> None:
        """One that was applied before is answered from the state, as a daemon does it."""
        if self.state._outcomes.of(proposal) is not None:
            answer(self.checks.history.first_index[proposal.id], None)
            return
        try:
            index = self.core.propose(commands.encode(proposal), self.clock())
        except NotLeader as refusal:
            answer(None, refusal.leader)
            return
        self.world.note(self.name, "proposes", (index, proposal.id))
        self.checks.proposed += 1
        self._waiting.setdefault(proposal.id, []).append(answer)

    def _change(self, change: Callable[[Configuration], Configuration]) -> None:
        configuration = change(self.core.configuration)
        self.world.note(self.name, "changes", configuration)
        try:
            self.core.change(configuration, self.clock())
        except (NotLeader, ChangeRefused) as refusal:
            self.world.note(self.name, "refuses", refusal)
        else:
            self.checks.changes += 1

    def _transfer(self, to: NodeId) -> None:
        self.world.note(self.name, "transfers", to)
        try:
            self.core.transfer(to, self.clock())
        except (NotLeader, ChangeRefused) as refusal:
            self.world.note(self.name, "refuses", refusal)

    def _hint(self, leader: NodeId) -> None:
        self.world.note(self.name, "hinted", leader)
        if leader == self.core.leader:
            self.checks.excused(self)
        self.core.hint(leader, self.clock())

    # --- persist, send, apply

    def _take(self) -> None:
        while self._inbox:
            action, args = self._inbox.popleft()
            action(*args)

    def _pump(self) -> None:
        while True:
            ready = self.core.ready()
            self.checks.looked(self)
            if ready.to_save is not None:
                self._write(ready)
                return
            self._finish(ready)
            if not self._compact() and not self._inbox:
                self._arm()
                return
            self._take()

    def _write(self, ready: Ready) -> None:
        self._writing = ready
        delay_s = self.make.write_s * (0.3 + self.world.rng.random()) + self.stall_s
        self.stall_s = 0.0
        self.world.after(delay_s, self._written_if, self.boots)

    def _written_if(self, boots: int) -> None:
        if boots != self.boots:
            return
        if self.fault:
            self._fail()
        elif self.frozen:
            self._persist(self._writing)
            self._frozen_write = True
        else:
            self._persist(self._writing)
            self._written()

    def _fail(self) -> None:
        """The write fails; whether it is on the disk nonetheless, nobody knows but the disk."""
        if self.fault == "after":
            self._persist(self._writing)
        self._writing = None
        self.fault = ""
        self.crash(why="fails")
        self.world.after(1 + 3 * self.world.rng.random(), self.start)

    def _persist(self, ready: Ready | None) -> None:
        assert ready is not None
        assert ready.to_save is not None
        self.world.note(self.name, "saves", ready.to_save)
        self.checks.before_write(self, ready.to_save)
        self.disk.write(ready.to_save)
        self.checks.after_write(self, ready.to_save)

    def _written(self) -> None:
        ready, self._writing = self._writing, None
        assert ready is not None
        self._finish(ready)
        self._compact()
        self._take()
        self._pump()

    def _finish(self, ready: Ready) -> None:
        for message in ready.to_send:
            self.world.note(self.name, "sends", message)
            self.checks.sent(self, message)
            self.network.send(message)
        if ready.to_restore is not None:
            self._restore(ready.to_restore)
        for entry in ready.to_apply:
            self._apply(entry)
        self.checks.finished(self)
        if self.core.commit > self.disk.commit and not self._commit_flush:
            self._commit_flush = True
            self.world.after(COMMIT_ALONE_S / self.make.rate, self._flush, self.boots)

    def _flush(self, boots: int) -> None:
        if boots == self.boots:
            self._commit_flush = False
            self.do(self.core.remember_commit)

    def _restore(self, snapshot: Snapshot) -> None:
        self.world.note(self.name, "restores", snapshot.index)
        self.checks.restored(self, snapshot)
        if snapshot.data:
            self.state = states.ClusterState(states.decode(snapshot.data))
        self.compacted = snapshot.index

    def _apply(self, entry: Entry) -> None:
        self.checks.history.applies(self, entry)
        if entry.kind is not Kind.COMMAND:
            self.state.advance(entry.index, entry.term)
            self.checks.history.applied(self, entry, None)
            return
        proposal = decode(entry.data)
        before = self.checks.history.before_repeated(self, proposal)
        self.state.apply(entry.index, entry.term, proposal)
        self.checks.history.applied(self, entry, proposal, before)
        for answer in self._waiting.pop(proposal.id, ()):
            answer(self.checks.history.first_index[proposal.id], None)

    def _compact(self) -> bool:
        index = self.state.applied_index
        if index - self.compacted < self.make.compact_every:
            return False
        self.compacted = index
        data = states.encode(self.state.saved())
        self.core.compact(data, index, keep=self.make.keep)
        return True

    # --- time

    def _arm(self) -> None:
        """One callback on the heap at a time, unless a deadline came nearer."""
        if self.core.deadline_s == inf:
            return
        due = (self.core.deadline_s - self.make.offset_s) / self.make.rate + 1e-6
        if self._wake_at is None or due < self._wake_at:
            self._wake_at = due
            self.world.at(due, self._wake, self.boots, due)

    def _wake(self, boots: int, due: float) -> None:
        if boots != self.boots or due != self._wake_at:
            return
        self._wake_at = None
        if self.frozen or self._writing is not None or self.core.deadline_s <= self.clock():
            self.do(self._tick)
        else:
            self._arm()
