"""What goes on while a test breaks things, and what has to be true when it is over."""

import time
from typing import Any, Self

from tests.chaos.cluster import LOST_AFTER_S, Cluster
from tests.chaos.copies import Copies
from tests.chaos.writer import Writer
from tests.testbed.hosts import Host

RESCHEDULE_S = 2.0
STOPPED_S = LOST_AFTER_S + RESCHEDULE_S
"""After so long in the dark a node stops what is not to run twice."""
APART_S = 1.0
"""How far apart the last words lie that two sides have of each other (isolation.py)."""
DEPOSED_S = APART_S + 4.0
"""The same where a leader is heard by some whom the majority does not hear: a leader without one,
by its own side until it gives up, or a new one by who can only listen (4 s is election_max_s)."""
BUSY_S = 2.0
"""What a busy machine may take for a stop, and two samples of it."""
RETURN_S = 10.0
"""How long a node that is back may take to hear of it, and to stop what was moved."""


class Storm:
    """Somebody writes, and somebody counts copies."""

    def __init__(self, cluster: Cluster, *, voters: int) -> None:
        self.cluster = cluster
        self.writer = Writer(cluster)
        self.copies = Copies(cluster)
        self._voters = voters

    def __enter__(self) -> Self:
        self.copies.__enter__()
        self.writer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.stop()
        self.copies.stop()

    def written(self, more: int = 3, *, through: Host | None = None) -> None:
        """Returns once some more writes were acknowledged, of one node if that is said."""
        if through is not None:
            self.writer.through(through)
        enough = self.writer.acknowledged + more
        self.cluster.site.until(lambda: self.writer.acknowledged >= enough)
        self.writer.through(*self.cluster.hosts)

    def over(
        self, *, stops_by_itself: bool = True, apart_s: float = APART_S, back_s: float = RETURN_S
    ) -> dict[str, Any]:
        """All is healed: wait until it is well, and look at what was written and what ran twice."""
        healed_s = time.monotonic()
        self.written()
        self.writer.stop()
        state = self.cluster.recovered(voters=self._voters, within_s=100 + back_s)
        self.copies.stop()
        self.writer.check(state["services"])
        self.writer.check_once(self.cluster.hosts[0])
        assert self.copies.last_s() < healed_s + back_s, self.told()
        if stops_by_itself:
            assert self.copies.longest_s("stop") < apart_s + BUSY_S, self.told()
        return state

    def told(self) -> str:
        logs = (f"{host.name}:\n{host.daemon.log()}" for host in self.cluster.hosts)
        return "\n".join((f"ran twice: {self.copies.twice}", *logs))
