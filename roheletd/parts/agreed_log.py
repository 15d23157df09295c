"""The agreed log: its core, its driver, and who brings commands into it.

The sender says what the core wants said; the applier does to the agreed state what is committed,
and tells the proposer what became of each command. Who hears the others is made later (`linking`).
"""

from collections.abc import Callable

from roheletd.cluster.applier import Applier
from roheletd.loops.elector import Elector
from roheletd.loops.forwards import Forwards
from roheletd.loops.pending import Patience
from roheletd.loops.proposer import Proposer
from roheletd.loops.sender import Sender
from roheletd.parts.basis import Basis
from roheletd.raft import Raft


class AgreedLog:
    """The way of a command from this node into the log, and from the log into the state."""

    def __init__(
        self, basis: Basis, *, boot_of: Callable[[str], int | None], missing: Callable[[], str]
    ) -> None:
        """`boot_of`: a member's start that was heard last. `missing`: who is, in words."""
        self._me = basis.me.member
        self.sender = Sender(topics=basis.topics, framer=basis.framer())
        applier = Applier(basis.state)
        self.elector = self._make_elector(basis, applier)
        self.proposer = Proposer(
            elector=self.elector,
            applier=applier,
            state=basis.state,
            clock=basis.clock,
            patience=Patience.of(basis.timing),
            say=self.sender.say,
            boot_of=boot_of,
            missing=missing,
        )
        self.forwards = Forwards(
            boot=basis.me.boot,
            proposer=self.proposer,
            state=basis.state,
            say=self.sender.say,
            clock=basis.clock,
        )

    @property
    def takes_part(self) -> bool:
        """Whether this node is one of those that the log has as members."""
        return self._me in self.elector.core.configuration.members

    @property
    def votes(self) -> bool:
        return self._me in self.elector.core.configuration.voters

    def _make_elector(self, basis: Basis, applier: Applier) -> Elector:
        memory, timing = basis.found.memory, basis.timing
        core = Raft(
            me=basis.me.member,
            saved=memory.saved,
            timing=timing,
            rng=basis.rng,
            now_s=basis.clock.now_s(),
        )
        elector = Elector(
            core=core,
            store=memory.store,
            applier=applier,
            clock=basis.clock,
            send=self.sender.send,
            silence_s=timing.election_max_s,
        )
        if memory.failure:
            # Nothing will be applied any more; what was committed before is still to run.
            basis.state.restore(memory.state.saved())
            elector.fail(memory.failure)
        return elector
