"""Who is alive: liveness of nodes from the age of what was last heard of them.

The words and the idea of judging by age are memberlist's (alive, suspect, dead); the default ages
are two and three missed reports. Pure: time comes in, the answer goes out, nothing waits here.
"""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Liveness = Literal["alive", "suspect", "lost", "never seen"]


class Thresholds(Struct, frozen=True, kw_only=True):
    """Ages in seconds, on the monotonic clock of whoever judges."""

    suspect_after_s: float
    lost_after_s: float


def thresholds(interval_s: float) -> Thresholds:
    """Two missed reports make a node suspect, three make it lost."""
    return Thresholds(suspect_after_s=2 * interval_s, lost_after_s=3 * interval_s)


class Membership:
    """Last sign of life per node. `me` is always alive: this very process is the proof."""

    def __init__(self, *, me: str, limits: Thresholds) -> None:
        assert 0 < limits.suspect_after_s <= limits.lost_after_s
        self._me = me
        self._limits = limits
        self._heard_s: dict[str, float] = {}

    def heard(self, node: str, now_s: float) -> None:
        self._heard_s[node] = now_s

    def of_all(self, nodes: Iterable[str], now_s: float) -> dict[str, Liveness]:
        return {node: self.liveness(node, now_s) for node in nodes}

    def liveness(self, node: str, now_s: float) -> Liveness:
        if node == self._me:
            return "alive"
        heard_s = self._heard_s.get(node)
        if heard_s is None:
            return "never seen"
        age_s = now_s - heard_s
        if age_s < self._limits.suspect_after_s:
            return "alive"
        return "suspect" if age_s < self._limits.lost_after_s else "lost"
