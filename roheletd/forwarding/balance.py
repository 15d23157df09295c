"""Which endpoint gets the next connection: a local one, of those the least busy, in turn.

Time is an argument. An endpoint that took no connection is tried again only after a while, or
where there is no other: the word of its node that it is gone takes longer than the next request.
"""

from collections import Counter
from collections.abc import Sequence

from roheletd.cluster.registry import Endpoint

REST_S = 1.0
REST_S_MAX = 4.0


class Balancer:
    """The endpoints of one stable port, and what became of the connections to each."""

    def __init__(self) -> None:
        self._endpoints: tuple[Endpoint, ...] = ()
        self._open: Counter[Endpoint] = Counter()
        self._served: dict[Endpoint, int] = {}
        self._failures: dict[Endpoint, tuple[int, float]] = {}
        self._turn = 0

    def serve(self, endpoints: Sequence[Endpoint]) -> None:
        """One that comes again, as after a restart, comes with a clean record."""
        self._endpoints = tuple(endpoints)
        known = set(endpoints)
        self._failures = {it: past for it, past in self._failures.items() if it in known}
        self._served = {it: turn for it, turn in self._served.items() if it in known}

    def order(self, now_s: float) -> list[Endpoint]:
        """All of them, in the order in which to try them; those at rest last."""
        return sorted(self._endpoints, key=lambda it: self._rank(it, now_s))

    def _rank(self, endpoint: Endpoint, now_s: float) -> tuple[bool, bool, int, int]:
        rests = self._failures.get(endpoint, (0, 0.0))[1] > now_s
        turn = self._served.get(endpoint, 0)
        return rests, not endpoint.local, self._open[endpoint], turn

    def opened(self, endpoint: Endpoint) -> None:
        self._turn += 1
        self._open[endpoint] += 1
        self._served[endpoint] = self._turn
        self._failures.pop(endpoint, None)

    def closed(self, endpoint: Endpoint) -> None:
        self._open[endpoint] -= 1
        if not self._open[endpoint]:
            del self._open[endpoint]

    def failed(self, endpoint: Endpoint, now_s: float) -> None:
        """It took no connection: 1 s of rest, then twice as long each time."""
        count, until_s = self._failures.get(endpoint, (0, 0.0))
        if now_s < until_s:  # it was asked for want of another
            return
        count += 1
        rest_s = min(REST_S_MAX, REST_S * 2.0 ** min(count - 1, 10))
        self._failures[endpoint] = count, now_s + rest_s
