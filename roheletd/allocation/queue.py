"""The queue: whose turn it is, and how long a service waits that found no place.

`in_turn` is the order of one pass. `Waiting` remembers between passes who is to be left alone for a
while: what nobody can place costs the leader less and less.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.ask import cpu_need
from roheletd.cluster.definition import Definition
from roheletd.cluster.soft import SoftState
from roheletd.model import is_cpu_sensitive, is_memory_sensitive

BACKOFF_S_MIN = 1.0
BACKOFF_S_MAX = 60.0


def in_turn(
    services: Iterable[Definition],
    *,
    queue_priority: int,
    queue_balance: int,
) -> Iterator[Definition]:
    """Higher `priority` first; within one, sensitive services as `queue_priority` says.

    After `queue_balance` prioritised ones in a row, one other service has its turn. Of what came
    with one command the largest is first.
    """
    waiting = sorted(services, key=_arrival)
    for _, same in groupby(waiting, key=lambda known: known.service.priority):
        yield from _balanced(list(same), queue_priority, queue_balance)


def _arrival(known: Definition) -> tuple[int, int, int, str]:
    service = known.service
    return -service.priority, known.created_at, -cpu_need(service), service.name


def _balanced(
    services: list[Definition], queue_priority: int, queue_balance: int
) -> Iterator[Definition]:
    first = deque(it for it in services if goes_first(it.service.sensitivity, queue_priority))
    others = deque(it for it in services if not goes_first(it.service.sensitivity, queue_priority))
    in_a_row = 0
    while first or others:
        if first and (in_a_row < queue_balance or not others):
            in_a_row += 1
            yield first.popleft()
        else:
            in_a_row = 0
            yield others.popleft()


def goes_first(sensitivity: int, queue_priority: int) -> bool:
    """0 nobody, 1 CPU-sensitive services, 2 memory-sensitive ones, 3 both."""
    cpu, memory = is_cpu_sensitive(sensitivity), is_memory_sensitive(sensitivity)
    return (cpu and queue_priority in (1, 3)) or (memory and queue_priority in (2, 3))


class Wait(Struct, frozen=True, kw_only=True):
    """One service without a place, on the monotonic clock."""

    reason: str
    since_s: float
    tries: int
    retry_at_s: float


class Waiting:
    """The services that found no place, and when each is tried again if nothing changes."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}

    @property
    def reasons(self) -> dict[str, str]:
        return {name: wait.reason for name, wait in self._waits.items()}

    def tell(self, soft: SoftState) -> None:
        """Let everybody who asks know."""
        soft.waiting = self.reasons
        soft.waiting_times = {
            name: (wait.since_s, wait.retry_at_s) for name, wait in self._waits.items()
        }

    def refused(self, service: str, reason: str, now_s: float) -> bool:
        """It was tried and found no place. True where that is news."""
        before = self._waits.get(service)
        tries = before.tries + 1 if before else 1
        pause_s = min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2.0 ** min(tries - 1, 10))
        self._waits[service] = Wait(
            reason=reason,
            since_s=before.since_s if before else now_s,
            tries=tries,
            retry_at_s=now_s + pause_s,
        )
        return before is None

    def placed(self, service: str) -> bool:
        """It waits no more. True where it did."""
        return self._waits.pop(service, None) is not None

    def keep(self, services: Collection[str]) -> None:
        """Forget those that are not wanted any more."""
        self._waits = {name: wait for name, wait in self._waits.items() if name in services}

    def resting(self, now_s: float) -> frozenset[str]:
        """Those that are not to be tried yet."""
        return frozenset(name for name, wait in self._waits.items() if wait.retry_at_s > now_s)

    def stale(self) -> frozenset[str]:
        """Those that were tried, and nothing is known to have changed since."""
        return frozenset(name for name, wait in self._waits.items() if wait.tries)

    def wake(self, services: Iterable[str] | None = None) -> None:
        """Something changed that could help these, or all: they may try at once."""
        for name in list(self._waits) if services is None else services:
            if (wait := self._waits.get(name)) is not None:
                self._waits[name] = replace(wait, tries=0, retry_at_s=-math.inf)

    def next_try_s(self) -> float:
        return min((wait.retry_at_s for wait in self._waits.values()), default=math.inf)
