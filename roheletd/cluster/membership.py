"""Who is alive: liveness of nodes from the age of what was last heard of them.

The words and the idea of judging by age are memberlist's (alive, suspect, dead); the default ages
are two and three missed reports. Pure: time comes in, the answer goes out, nothing waits here.

Silence counts against a node only while somebody listens. Whoever was cut off or stopped himself
heard nobody, and finds none of them lost before it has listened for as long as it takes to lose
one. A node that was never heard is lost, too, after that time, where it is expected to speak.
"""

import math
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Liveness = Literal["alive", "suspect", "lost", "never seen", "unknown"]


STALL = 1.25
"""Of the time that makes a node suspect: who did not look for longer than that stood still."""


class Thresholds(Struct, frozen=True, kw_only=True):
    """Ages in seconds, on the monotonic clock of whoever judges."""

    suspect_after_s: float
    lost_after_s: float


def thresholds(interval_s: float) -> Thresholds:
    """Two missed reports make a node suspect, three make it lost."""
    return Thresholds(suspect_after_s=2 * interval_s, lost_after_s=3 * interval_s)


class Membership:
    """Last sign of life per node. `me` is always alive: this very process is the proof."""

    def __init__(self, *, me: str, limits: Thresholds, now_s: float = 0.0) -> None:
        assert 0 < limits.suspect_after_s <= limits.lost_after_s
        self._me = me
        self._limits = limits
        self._listening_s = now_s
        self._looked_s = now_s
        self._expected_s: dict[str, float] = {}
        self._heard_s: dict[str, float] = {}
        self._steady_s: dict[str, float] = {}
        self._hints: dict[str, set[int]] = {}
        self._doubted: set[str] = set()
        self._unfit: set[str] = set()
        self._hears_all = True

    def expect(self, nodes: Iterable[str], now_s: float) -> None:
        """These are the nodes that ought to be heard: the silence of new ones counts from now."""
        self._expected_s = {node: self._expected_s.get(node, now_s) for node in nodes}

    def hear(self, now_s: float, *, everybody: bool) -> None:
        """Whether we hear what all others report. Who does not cannot judge, and loses nobody."""
        if everybody and not self._hears_all:
            self.listen_anew(now_s)
        self._hears_all = everybody

    def listen_anew(self, now_s: float) -> None:
        """We were cut off or stopped until now: that nothing was heard says nothing of others."""
        self._listening_s = now_s

    def look(self, now_s: float) -> None:
        """To be called each interval of a report: a gap means that this process stood still."""
        if now_s - self._looked_s > STALL * self._limits.suspect_after_s:
            self.listen_anew(now_s)
        self._looked_s = now_s

    def heard(self, node: str, now_s: float) -> None:
        if self.liveness(node, now_s) != "alive":
            self._steady_s[node] = now_s
        self._heard_s[node] = now_s
        self._hints.pop(node, None)
        self._doubted.discard(node)

    def doubted(self, node: str, *, link: int = 0, links: int = 1) -> bool:
        """A hint, such as a will, that the node is gone; True where nothing speaks against it.

        It came over `link`, one of `links` that we hold now. A node that lost one link lives on
        over another; one that is announced dead on all of them is suspect until it is heard again.
        """
        told = self._hints.setdefault(node, set())
        told.add(link)
        if len(told) >= links:
            self._doubted.add(node)
        return node in self._doubted

    def fit(self, node: str, *, is_fit: bool) -> None:
        """A node said whether it follows the log: one that does not keeps what it has, no more."""
        if is_fit:
            self._unfit.discard(node)
        else:
            self._unfit.add(node)

    def of_all(self, nodes: Iterable[str], now_s: float) -> dict[str, Liveness]:
        return {node: self.liveness(node, now_s) for node in nodes}

    def liveness(self, node: str, now_s: float) -> Liveness:
        if node == self._me:
            return "alive"
        if not self._hears_all:
            return "unknown"
        if self.lost_since_s(node, now_s) is not None:
            return "lost"
        heard_s = self._heard_s.get(node)
        if heard_s is None:
            return "never seen"
        fresh = now_s - heard_s < self._limits.suspect_after_s
        return "alive" if fresh and node not in self._doubted | self._unfit else "suspect"

    def steady_since_s(self, node: str, now_s: float) -> float | None:
        """Since when a node has been alive without a gap; None where it is not alive now.

        Of ourselves it is not known here: we cannot hear our own gaps.
        """
        return self._steady_s.get(node) if self.liveness(node, now_s) == "alive" else None

    def silent_s(self, node: str, now_s: float) -> float:
        """How long ago a node was heard; for ever where it never was."""
        return now_s - self._heard_s.get(node, -math.inf)

    def lost_since_s(self, node: str, now_s: float) -> float | None:
        """Since when a node has been lost; None where it is not."""
        loss_s = self._loss_s(node)
        return loss_s if loss_s is not None and loss_s <= now_s else None

    def lost_for_s(self, nodes: Iterable[str], now_s: float) -> dict[str, float]:
        """The lost ones among `nodes`, and for how long each has been."""
        since = {node: self.lost_since_s(node, now_s) for node in nodes}
        return {node: now_s - loss_s for node, loss_s in since.items() if loss_s is not None}

    def next_loss_s(self, nodes: Iterable[str], now_s: float) -> float | None:
        """Seconds until the next of `nodes` is lost, unless it is heard before."""
        losses = (self._loss_s(node) for node in nodes)
        return min(
            (at_s - now_s for at_s in losses if at_s is not None and at_s > now_s), default=None
        )

    def _loss_s(self, node: str) -> float | None:
        """When silence will have lasted for so long that the node is lost."""
        since_s = self._heard_s.get(node, self._expected_s.get(node))
        if node == self._me or since_s is None or not self._hears_all:
            return None
        return max(since_s, self._listening_s) + self._limits.lost_after_s
