"""Commands that are on their way through the log, and who waits for each."""

import asyncio
import math
from collections.abc import Iterator

from msgspec import Struct

from roheletd.cluster.commands import AnyCommand, Outcome, Proposal, Rejected, encode
from roheletd.cluster.exchange import Answer
from roheletd.errors import InvalidInput, Unavailable
from roheletd.raft import Timing

ENTRY_BYTES_MAX = 900_000
"""An entry has to fit into one MQTT message, with all that is around it."""
PROPOSALS_MAX = 1000
RESEND_S = 1.0
CATCH_UP_S = 1.0
"""How long an answer waits for this node to have applied what the leader had."""


class Patience(Struct, frozen=True, kw_only=True):
    """Seconds: until no leader means no, and until a lost answer is an unknown outcome."""

    leader_s: float
    answer_s: float

    @classmethod
    def of(cls, timing: Timing) -> "Patience":
        """Longer than an election takes; and than one that begins after the command was sent."""
        return cls(leader_s=1.25 * timing.election_max_s, answer_s=2 * timing.election_max_s)


class Pending:
    """One command: `outcome` where somebody here waits, `askers` the nodes that asked for it.

    `offered_in`: the terms whose leader, be it this node, may have put it into a log;
    `entered_term`: the last one in which this node has done so.
    """

    def __init__(self, proposal: Proposal, data: bytes) -> None:
        self.proposal = proposal
        self.data = data
        self.outcome: asyncio.Future[Outcome] | None = None
        self.askers: dict[str, None] = {}
        self.offered_in: set[int] = set()
        self.entered_term = 0
        self._offered_at_s = -math.inf
        self.answer: Answer | None = None
        self.answered_at_s = math.inf

    def clash(self, command: AnyCommand) -> Rejected | None:
        """Why `command` is refused, if it has the id of this one and is another."""
        if command == self.proposal.command:
            return None
        return Rejected(reason=f"the id {self.proposal.id} is in use for another command")

    def is_due(self, term: int, now_s: float) -> bool:
        """Whether the leader of `term` is to be asked, for the first time or again.

        Whatever else wakes those who wait must not make them ask: there may be hundreds of them.
        """
        asked_lately = term in self.offered_in and now_s - self._offered_at_s < RESEND_S / 2
        return self.answer is None and not asked_lately

    def offered(self, term: int, now_s: float) -> None:
        self.offered_in.add(term)
        self._offered_at_s = now_s

    def entered(self, term: int) -> None:
        self.entered_term = term

    def answered(self, applied_index: int, now_s: float) -> Outcome | None:
        """The leader's answer, once this node has applied as much; it is not waited for for long.

        So whoever reads here after the answer sees what was done.
        """
        if self.answer is None:
            return None
        level = applied_index >= self.answer.index
        late = now_s - self.answered_at_s >= CATCH_UP_S
        return self.answer.outcome if level or late else None

    def in_doubt(self, waited_s: float, missing: str) -> str:
        """What to tell of a command whose outcome is not known."""
        return (
            f"no answer for {waited_s:.0f} s, and the command may be done all the same: send it "
            f"again with the id {self.proposal.id} to find out; {missing}"
        )

    def tell(self, result: Outcome | Exception) -> None:
        """Let go whoever waits here."""
        if self.outcome is None or self.outcome.done():
            return
        if isinstance(result, Exception):
            self.outcome.set_exception(result)
            # Nobody may be left to look at it, and that is no error of ours.
            self.outcome.exception()
        else:
            self.outcome.set_result(result)


class PendingCommands:
    """At most `PROPOSALS_MAX` of them, by id."""

    def __init__(self) -> None:
        self._by_id: dict[str, Pending] = {}

    def __iter__(self) -> Iterator[Pending]:
        return iter(tuple(self._by_id.values()))

    def get(self, command_id: str) -> Pending | None:
        return self._by_id.get(command_id)

    def enter(self, proposal: Proposal) -> Pending:
        """The one of this id; a new one where there is none, or a refusal that says why not."""
        if (known := self._by_id.get(proposal.id)) is not None:
            return known
        data = encode(proposal)
        if len(data) > ENTRY_BYTES_MAX:
            raise InvalidInput("$", f"a command of at most {ENTRY_BYTES_MAX} bytes")
        if len(self._by_id) >= PROPOSALS_MAX:
            raise Unavailable(f"{PROPOSALS_MAX} commands are waiting for the log: try again")
        self._by_id[proposal.id] = pending = Pending(proposal, data)
        return pending

    def take(self, command_id: str) -> Pending | None:
        return self._by_id.pop(command_id, None)
