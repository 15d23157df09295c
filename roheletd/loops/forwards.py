"""The leader's desk for commands that were given to other nodes."""

import logging
from collections import deque
from collections.abc import Callable

import msgspec
from msgspec import Struct

from roheletd.clock import Clock
from roheletd.cluster.commands import Found, JoinNode, Proposal, Rejected, decode
from roheletd.cluster.exchange import Answer, Forward
from roheletd.cluster.state import ClusterState
from roheletd.errors import InvalidInput, Unavailable
from roheletd.loops.pending import PROPOSALS_MAX, RESEND_S
from roheletd.loops.proposer import Proposer
from roheletd.model import node_of

log = logging.getLogger(__name__)


class Forwards:
    """Takes forwards of members; of others, their wish to join."""

    def __init__(
        self,
        *,
        boot: int,
        proposer: Proposer,
        state: ClusterState,
        say: Callable[[str, Struct], None],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._boot = boot
        self._proposer = proposer
        self._state = state
        self._say = say
        self._early: deque[tuple[float, str, Forward]] = deque(maxlen=PROPOSALS_MAX)

    def receive(self, sender: str, forward: Forward) -> None:
        """What cannot be answered now is dropped: its sender asks again.

        But not what comes just before this node may lead, as it does from all who have seen it win.
        """
        if forward.boot != self._boot:
            return
        if not self._proposer.leads:
            self._early.append((self._clock.now_s(), sender, forward))
            return
        try:
            proposal = decode(forward.proposal)
        except msgspec.MsgspecError as error:
            log.warning("a command of %s is not understood: %s", sender, error)
            return
        if (known := self._state.foresee(proposal)) is not None:
            # Before any refusal: what was done for a member stays done once it is none.
            index = self._state.applied_index
            self._say(sender, Answer(id=proposal.id, index=index, outcome=known))
        elif (refusal := self._refusal(sender, proposal)) is not None:
            self._say(sender, Answer(id=proposal.id, index=0, outcome=Rejected(reason=refusal)))
        else:
            self._take(sender, proposal)

    def catch_up(self) -> None:
        """Leadership has changed: what has come early can be answered where this node leads now."""
        if self._proposer.leads:
            early, now_s = tuple(self._early), self._clock.now_s()
            self._early.clear()
            for came_s, sender, forward in early:
                if now_s - came_s < RESEND_S:
                    self.receive(sender, forward)

    def _take(self, sender: str, proposal: Proposal) -> None:
        try:
            pending = self._proposer.pending.enter(proposal)
        except (Unavailable, InvalidInput) as error:
            self._say(sender, Answer(id=proposal.id, index=0, refusal=str(error)))
            return
        if (clash := pending.clash(proposal.command)) is not None:
            self._say(sender, Answer(id=proposal.id, index=0, outcome=clash))
            return
        pending.askers[sender] = None
        self._proposer.offer(pending)

    def _refusal(self, sender: str, proposal: Proposal) -> str | None:
        if isinstance(proposal.command, Found):
            return "a cluster is founded and recovered on one of its nodes, not from elsewhere"
        if isinstance(proposal.command, JoinNode):
            return self._refusal_to_join(proposal.command)
        if self._state.member_by_id(sender) is None:
            return f"{node_of(sender)} is no member of this cluster (any more)"
        return None

    def _refusal_to_join(self, command: JoinNode) -> str | None:
        """Only here does a wall clock decide: whoever is in stays in, whatever the clock says."""
        if self._state.member_by_id(command.member.id) is not None or not command.expires_at_s:
            return None
        if self._clock.wall_s() < command.expires_at_s:
            return None
        return (
            "the token has expired, by the leader's clock: make another, `roheletd cluster token`"
        )
