"""Brings commands into the log from any node, and their outcomes back.

A command is offered to whoever leads, again after each change of leader and each second, until its
entry is applied here, or the leader answers. Its id makes that safe: it is applied once.
"""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from roheletd.api.problems import UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster.applier import Applier
from roheletd.cluster.commands import AnyCommand, Outcome, Proposal
from roheletd.cluster.exchange import Answer, Forward
from roheletd.cluster.state import ClusterState
from roheletd.errors import Unavailable
from roheletd.loops.elector import Elector
from roheletd.loops.pending import RESEND_S, Patience, Pending, PendingCommands
from roheletd.model import node_of


class Proposer:
    """The log as the rest of the daemon sees it."""

    def __init__(
        self,
        *,
        elector: Elector,
        applier: Applier,
        state: ClusterState,
        clock: Clock,
        patience: Patience,
        say: Callable[[str, Struct], None],
        boot_of: Callable[[str], int | None],
        missing: Callable[[], str],
    ) -> None:
        self.pending = PendingCommands()
        self._elector = elector
        self._state = state
        self._clock = clock
        self._patience = patience
        self._say = say
        self._boot_of = boot_of
        self._missing = missing
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        applier.on_outcome = self._on_outcome
        elector.on_leader.append(self._on_leader)
        elector.on_applied.append(self._changed.set)

    @property
    def term(self) -> int:
        return self._elector.core.term

    @property
    def leader(self) -> str:
        """The leader's name; empty where this node knows of none."""
        leader = self._elector.leader
        return "" if leader is None else node_of(leader)

    @property
    def leads(self) -> bool:
        return self._elector.leads

    @property
    def is_current(self) -> bool:
        """Whether this node has heard a leader lately and has all that it said was committed."""
        return self.leader != "" and self._elector.core.is_current

    @property
    def failure(self) -> str:
        return self._elector.failure

    async def propose(self, command: AnyCommand, *, command_id: str) -> Outcome:
        """Returns once the command is durable and applied, or known to change nothing."""
        if self.failure:
            raise Unavailable(f"this node takes no commands until it is restarted: {self.failure}")
        proposal = Proposal(id=command_id, command=command)
        if self.leads and (known := self._state.foresee(proposal)) is not None:
            return known
        pending = self.pending.enter(proposal)
        if (clash := pending.clash(command)) is not None:
            return clash
        if pending.outcome is None:
            pending.outcome = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._pursue(pending, pending.outcome))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # Shielded: a caller that gives up must not take the outcome from one that repeats the id.
        return await asyncio.shield(pending.outcome)

    def offer(self, pending: Pending) -> None:
        """To the log, where this node leads; else to the node that does, if one is known."""
        core, leader, now_s = self._elector.core, self._elector.leader, self._clock.now_s()
        if core.role == "leader":
            if self.leads and pending.entered_term != core.term:
                self._enter_log(pending)
        elif leader and pending.is_due(core.term, now_s) and (boot := self._boot_of(leader)):
            pending.offered(core.term, now_s)
            self._say(leader, Forward(boot=boot, proposal=pending.data))

    def on_answer(self, answer: Answer) -> None:
        """The leader's word on a command of ours; it is told when we know as much as the leader."""
        pending = self.pending.get(answer.id)
        if pending is None or pending.outcome is None:
            return
        if answer.outcome is None:
            if len(pending.offered_in) == 1:  # else an earlier leader may have taken it
                self._settle(pending, Unavailable(answer.refusal))
        else:
            pending.answer, pending.answered_at_s = answer, self._clock.now_s()
            self._changed.set()

    def close(self) -> None:
        """The daemon stops: whoever waits is told that the outcome is not known."""
        for pending in self.pending:
            self._settle(pending, UnknownOutcome("the daemon stopped before the command was done"))

    async def _pursue(self, pending: Pending, outcome: asyncio.Future[Outcome]) -> None:
        begun_s = self._clock.now_s()
        while not outcome.done():
            self._changed.clear()
            now_s = self._clock.now_s()
            known = pending.answered(self._state.applied_index, now_s)
            result = known or self._fault(pending, now_s - begun_s)
            if result is not None:
                self._settle(pending, result)
                return
            self.offer(pending)
            await self._pause(outcome)

    def _fault(self, pending: Pending, waited_s: float) -> Exception | None:
        if self.failure:
            return UnknownOutcome(f"this node left the log meanwhile: {self.failure}")
        if not pending.offered_in and waited_s >= self._patience.leader_s:
            return Unavailable(f"there is no leader to take the command: {self._missing()}")
        if waited_s >= self._patience.answer_s:
            return UnknownOutcome(pending.in_doubt(waited_s, self._missing()))
        return None

    async def _pause(self, outcome: asyncio.Future[Outcome]) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait(
                (outcome, changed), timeout=RESEND_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            changed.cancel()

    def _enter_log(self, pending: Pending) -> None:
        if (known := self._state.foresee(pending.proposal)) is not None:
            self._settle(pending, known)
            return
        core, now_s = self._elector.core, self._clock.now_s()
        if pending.is_due(core.term, now_s):  # again, if it was refused because of a hand-over
            pending.offered(core.term, now_s)
            self._elector.propose(pending.data, lambda _index: pending.entered(core.term))

    def _on_outcome(self, proposal: Proposal, outcome: Outcome) -> None:
        if (pending := self.pending.get(proposal.id)) is not None:
            self._settle(pending, pending.clash(proposal.command) or outcome)

    def _settle(self, pending: Pending, result: Outcome | Exception) -> None:
        self.pending.take(pending.proposal.id)
        pending.tell(result)
        if not isinstance(result, Exception) and self.leads:
            index = self._state.applied_index
            for asker in pending.askers:
                self._say(asker, Answer(id=pending.proposal.id, index=index, outcome=result))

    def _on_leader(self) -> None:
        self._changed.set()
        if not self.leads:
            for pending in self.pending:
                if pending.outcome is None:  # who asked from elsewhere asks the new leader
                    self.pending.take(pending.proposal.id)
