"""Other ways to go about a pass, where the first leaves somebody out or disturbs somebody.

Whose turn comes when is free among services that came with one command, and so is which of the
cores that have room are taken. A greedy allocator is only as good as its order: so the largest
first and the smallest first are tried, on the freest and on the tightest cores, and from the best
of these a hill is climbed. One or two services change their place in the order, and what is no
worse is kept: local search over permutations, as for other packing problems without an exact way.
"""

from collections.abc import Iterator
from random import Random

from msgspec.structs import replace

from roheletd.allocation.ask import cpu_need
from roheletd.allocation.attempt import Attempt, Task, Way
from roheletd.model import Service, demand

WORK_MAX = 20_000
"""How many judgements all attempts of a pass may cost: a fraction of a second on a small board."""

TWO_MOVES = 0.3
"""How often a step moves two services and not one: what one cannot mend, two may."""

PRIORITISED = 0.7
"""How many of the steps keep to the queue's priority: the others count only where all fits."""

Quality = tuple[int, int]


class Search:
    """`best` is the best attempt so far; None: the first way will do, or trying is too dear."""

    def __init__(self, task: Task, rng: Random) -> None:
        self.best: Attempt | None = None
        self._task = task
        self._rng = rng
        self._services = sorted(
            (it.known.service for it in task.lacking), key=lambda it: (-cpu_need(it), it.name)
        )

    def steps(self) -> Iterator[None]:
        """One more attempt at each step, until one is perfect."""
        tries = self._tries()
        if not tries:
            return
        first, *others = self._first_ways()
        self.best = Attempt(self._task, first)
        best = height = _quality(self.best)
        here = first
        for _ in range(tries):
            if self.best.is_perfect:
                return
            yield
            way = others.pop(0) if others else self._neighbour(here)
            attempt = Attempt(self._task, way)
            quality = _quality(attempt)
            if quality >= height:
                here, height = way, quality
            is_fair = way.prioritised or attempt.is_perfect
            if is_fair and quality > best:
                self.best, best = attempt, quality

    def _tries(self) -> int:
        """As many as are configured, and as are worth it: an order of one is no order.

        None where a user's algorithm decides, or where whoever comes first may push others out.
        """
        task, profile = self._task, self._task.profile
        if task.hooks is not None or profile.preemption or not self._services:
            return 0
        missing = sum(len(it.missing) + len(it.moving) for it in task.lacking)
        cost = len(task.snapshot.nodes) * len(self._services) + 2 * missing
        most = profile.search_attempts if len(self._services) > 1 else 1
        return min(profile.search_attempts, most, WORK_MAX // max(1, cost))

    def _first_ways(self) -> list[Way]:
        large = tuple(it.name for it in self._services)
        small = tuple(it.name for it in sorted(self._services, key=self._size))
        return [
            Way(order=large),
            Way(order=large, tight=True),
            Way(order=small, tight=True),
            Way(order=small),
        ]

    def _size(self, service: Service) -> tuple[float, str]:
        """The largest share of an average node that it takes; a whole core counts as half a node.

        Whole cores are rarer than their sum says: every other instance leaves a piece of one.
        """
        nodes = self._task.snapshot.nodes.values()
        cpu = sum(free.size_millicores for free in nodes) or 1
        memory = sum(free.node.capacity.memory_mib for free in nodes) or 1
        share = max(
            cpu_need(service) * len(nodes) / cpu,
            service.memory_mib * len(nodes) / memory,
            max(demand(service), default=0) / 2000,
        )
        return share, service.name

    def _neighbour(self, way: Way) -> Way:
        order = list(way.order)
        for _ in range(2 if self._rng.random() < TWO_MOVES else 1):
            moved = order.pop(self._rng.randrange(len(order)))
            order.insert(self._rng.randrange(len(order) + 1), moved)
        return replace(way, order=tuple(order), prioritised=self._rng.random() < PRIORITISED)


def _quality(attempt: Attempt) -> Quality:
    """Most instances in place; of equals the fewest disturbed."""
    attempt.run()
    return attempt.in_place, -attempt.disturbed
