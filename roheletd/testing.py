"""In-memory twins of the edges: what the tests, and whoever builds on this package, drive it with.

A twin keeps the promises of what it stands for, in particular those about order and encoding, and
leaves out the waiting.
"""

from roheletd.clock import Clock
from roheletd.cluster import commands
from roheletd.cluster.commands import AnyCommand, Outcome, Proposal
from roheletd.cluster.state import ClusterState
from roheletd.errors import Unavailable


class ManualClock(Clock):
    """Time that passes only when it is told to."""

    def __init__(self, now_s: float = 0.0, *, wall_s: float = 1_700_000_000.0) -> None:
        self._now_s = now_s
        self._wall_s = wall_s

    def now_s(self) -> float:
        return self._now_s

    def wall_s(self) -> float:
        return self._wall_s

    def advance(self, seconds: float) -> None:
        assert seconds >= 0, "time does not run backwards"
        self._now_s += seconds
        self._wall_s += seconds


class MemoryLog:
    """The log of a single voter that forgets: what is proposed is committed and applied at once.

    A command goes through its bytes, so that what cannot be encoded fails here as it would there.
    """

    def __init__(self, state: ClusterState, *, leader: str, term: int = 1) -> None:
        self._state = state
        self.leader = leader
        self.term = term
        self.failure = ""
        """Set it to have proposals refused, as those of a broken disk are."""

    async def propose(self, command: AnyCommand, *, command_id: str) -> Outcome:
        if self.failure:
            raise Unavailable(self.failure)
        data = commands.encode(Proposal(id=command_id, command=command))
        known = self._state.foresee(commands.decode(data))
        if known is not None:
            return known
        return self._state.apply(self._state.applied_index + 1, self.term, commands.decode(data))
