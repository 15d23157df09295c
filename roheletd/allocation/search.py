"""Second thoughts about a pass that leaves somebody out, or puts a sensitive service beside others.

One service after the other is a good guess and no more. Before it is proposed, a few nodes are
emptied of what this pass put there and filled again in another order, on other cores, packed or
spread; what is no worse is kept. This is "ruin and recreate" (Schrimpf et al. 2000) with a bounded
number of tries: each costs little, and with the same seed it gives the same.

Nobody pays for it: of those with the same priority that came with one command no fewer are placed
than by the first guess, and no fewer of those among them that the queue prefers. Beyond that, a
higher priority counts before a lower one, and who came earlier before who came later.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from random import Random

from roheletd.allocation.allocate import Allocator
from roheletd.allocation.attempt import Attempt, Task
from roheletd.allocation.queue import goes_first
from roheletd.allocation.snapshot import FreeNode
from roheletd.model import Placement, is_cpu_sensitive

INSTANCES_MAX = 500
"""With more missing than this the first guess has to do."""

JUDGEMENTS_MAX = 20_000
"""As many as four rankings for each service may take: a part of a second on a small board."""

TRIES_ALONE = 4
"""One service has no order: only other cores and other nodes can help it."""

CALM_FACTOR = 3
"""How many times as often it is tried where all have a place, and only calm is missing."""

EMPTIED = (1, 2, 2, 3)
DISTURBED_TOO = 0.7
"""How often a node is emptied, too, on which a sensitive instance shares a core."""

Worth = tuple[int, ...]
"""By standing: preferred ones with a place, all with a place; at last, how few are disturbed."""


class Search:
    """`attempt` is what was found, None where there was no search."""

    def __init__(self, task: Task, rng: Random) -> None:
        self.attempt: Attempt | None = None
        self._task = task
        self._rng = rng

    def steps(self) -> Iterator[None]:
        """A breath before each try; to be gone through to the end."""
        if not self._is_worth_it():
            return
        attempt = Attempt(self._task)
        attempt.run()
        arrangement = _Arrangement(self._task, attempt, self._rng)
        tries = self._task.profile.search_attempts
        if len(attempt.loose) == 1:
            tries = min(tries, TRIES_ALONE)
        for number in range(tries * CALM_FACTOR):
            if arrangement.is_perfect or (number >= tries and not arrangement.is_complete):
                break
            yield
            arrangement.improve()
        attempt.settle(arrangement.placed)
        self.attempt = attempt

    def _is_worth_it(self) -> bool:
        """Not where a user's algorithm decides, or whoever comes first may push others out."""
        task = self._task
        if task.hooks is not None or task.profile.preemption or not task.profile.search_attempts:
            return False
        lacking = task.lacking
        missing = sum(len(it.missing) for it in lacking)
        judgements = 4 * len(task.snapshot.nodes) * len(lacking)
        return 0 < missing <= INSTANCES_MAX and judgements <= JUDGEMENTS_MAX


class _Arrangement:
    """The loose instances of an attempt, as they are `placed` for now; the books say the same."""

    def __init__(self, task: Task, attempt: Attempt, rng: Random) -> None:
        self.placed: dict[str, Placement] = dict(attempt.placed)
        self._rng = rng
        self._loose = list(attempt.loose.values())
        self._wanted = sum(len(it.missing) for it in self._loose)
        self._priority = task.profile.queue_priority
        self._books = attempt.allocator.books
        self._seed = task.seed
        self._freest = attempt.allocator
        before = _disturbed(task.snapshot.nodes)
        self._disturbed_before = sum(before.values())
        self._disturbed = _disturbed(self._books.nodes)
        self._seen = len(self._books.changes)
        self._worth = self._worth_of(self.placed)
        self._least = self._worth[:-1]

    @cached_property
    def _tightest(self) -> Allocator:
        """Of the same books, with the tightest cores; made once it is needed."""
        return Allocator(self._books, self._seed, tight=True)

    @property
    def is_complete(self) -> bool:
        return len(self.placed) == self._wanted

    @property
    def is_perfect(self) -> bool:
        return self.is_complete and sum(self._disturbed.values()) <= self._disturbed_before

    def improve(self) -> None:
        """Empty some nodes and fill them again, or leave all as it was where that is worse."""
        emptied = self._some_nodes()
        gone = {name: at for name, at in self.placed.items() if at.node in emptied}
        kept = {name: at for name, at in self.placed.items() if name not in gone}
        for at in gone.values():
            self._books.take_back(at)
        again = self._filled(kept)
        found = {**kept, **again}
        worth = self._worth_of(found)
        if worth >= self._worth and self._leaves_nobody_worse(worth):
            self.placed, self._worth = found, worth
            return
        for at in again.values():
            self._books.take_back(at)
        for at in gone.values():
            self._books.place(at)
        self._look()

    def _leaves_nobody_worse(self, worth: Worth) -> bool:
        """Than by the first guess: a lower standing does not pay for a higher one, either."""
        return all(now >= least for now, least in zip(worth[:-1], self._least, strict=True))

    def _some_nodes(self) -> set[str]:
        """A few, and mostly one more where somebody is disturbed."""
        nodes = sorted({at.node for at in self.placed.values()})
        count = min(len(nodes), self._rng.choice(EMPTIED))
        chosen = set(self._rng.sample(nodes, count))
        disturbed = sorted(name for name, count in self._disturbed.items() if count)
        if disturbed and self._rng.random() < DISTURBED_TOO:
            chosen.add(self._rng.choice(disturbed))
        return chosen

    def _filled(self, kept: Mapping[str, Placement]) -> dict[str, Placement]:
        """Places for all that have none, in some order and in some manner."""
        order = list(self._loose)
        self._rng.shuffle(order)
        if self._rng.random() < 1 / 2:
            order.sort(key=lambda it: not is_cpu_sensitive(it.known.service.sensitivity))
        packed = self._rng.random() < 1 / 2
        allocator = self._freest if self._rng.random() < 1 / 2 else self._tightest
        found: dict[str, Placement] = {}
        for it in order:
            left = [name for name in it.missing if name not in kept]
            if left:
                service, revision = it.known.service, it.known.revision
                for at in allocator.fill(service, left, revision, packed=packed):
                    found[at.instance] = at
        return found

    def _worth_of(self, placed: Mapping[str, Placement]) -> Worth:
        self._look()
        counts: dict[tuple[int, int], list[int]] = {}
        for it in self._loose:
            service = it.known.service
            standing = counts.setdefault((-service.priority, it.known.created_at), [0, 0])
            count = sum([name in placed for name in it.missing])
            standing[0] += count if goes_first(service.sensitivity, self._priority) else 0
            standing[1] += count
        ranked = [number for _, standing in sorted(counts.items()) for number in standing]
        return (*ranked, -sum(self._disturbed.values()))

    def _look(self) -> None:
        """Who is disturbed on the nodes that changed."""
        changed = dict.fromkeys(self._books.changes[self._seen :])
        self._seen = len(self._books.changes)
        self._disturbed |= _disturbed({name: self._books.nodes[name] for name in changed})


def _disturbed(nodes: Mapping[str, FreeNode]) -> dict[str, int]:
    """By node: how many cores sensitive instances hold that somebody else holds, too."""
    return {
        name: sum([count for core, count in free.sensitive.items() if free.holders[core] > 1])
        if free.sensitive
        else 0
        for name, free in nodes.items()
    }
