"""One way through a pass: who has their turn when, what they get, and who has to wait.

Several ways may be tried from one `Task` before one of them is proposed (see `schedule.Round`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from msgspec import Struct

from roheletd.allocation.algorithm import Hooks
from roheletd.allocation.allocate import Allocator, Unplaceable
from roheletd.allocation.books import Books
from roheletd.allocation.preempt import preemption
from roheletd.allocation.queue import in_turn
from roheletd.allocation.snapshot import FreeNode, Profile, Snapshot
from roheletd.allocation.wanted import Wanted
from roheletd.cluster.commands import Place
from roheletd.cluster.state import service_of
from roheletd.model import Placement

BATCH_PLACEMENTS = 200


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a pass is to do. `wanted` is by service, `kept` by instance what is in place at first.

    `released` are the instances that are not kept; `resting` services have no turn. `seed` settles
    which of equal nodes is first.
    """

    wanted: Mapping[str, Wanted]
    kept: Mapping[str, Placement]
    released: frozenset[str]
    resting: frozenset[str]
    take: Callable[[], Snapshot]
    profile: Profile
    seed: int
    hooks: Hooks | None = None

    @cached_property
    def snapshot(self) -> Snapshot:
        """Taken once something is missing: most passes find that nothing is."""
        return self.take()

    @property
    def lacking(self) -> list[Wanted]:
        """Those that are to have a turn."""
        return [
            it
            for name, it in self.wanted.items()
            if (it.missing or it.moving) and name not in self.resting
        ]


class Way(Struct, frozen=True, kw_only=True):
    """How a task may be gone about.

    `order` names the services whose turn is free, in the order of it (empty: the largest first).
    `tight` takes the tightest cores that have room, and not the freest. Not `prioritised`, nobody
    has their turn first for being sensitive: good only where there is enough for all.
    """

    order: tuple[str, ...] = ()
    tight: bool = False
    prioritised: bool = True


class _Unit(Struct, frozen=True, kw_only=True):
    """What has its turn: one service, or the services of an application that start `together`."""

    members: list[Wanted]
    together: bool = False


class Attempt:
    """A task under way. `unplaceable` and `preempted` grow while the batches are taken.

    `unplaceable` are services with the reasons, `preempted` instances and for whom they had to go.
    """

    def __init__(self, task: Task, way: Way) -> None:
        self.unplaceable: dict[str, Unplaceable] = {}
        self.preempted: dict[str, str] = {}
        self.placed = 0
        self._task = task
        self._way = way
        self._wanted = task.wanted
        self._kept = dict(task.kept)
        self._released = set(task.released)
        self._pushed_out: deque[str] = deque()
        self._places: list[Place] | None = None

    @cached_property
    def _allocator(self) -> Allocator:
        task = self._task
        books = Books(task.snapshot, task.profile)
        return Allocator(books, task.seed, task.hooks, tight=self._way.tight)

    def run(self) -> None:
        """All batches at once, to be looked at before they are proposed."""
        self._places = list(self._make_batches(BATCH_PLACEMENTS))

    @property
    def is_perfect(self) -> bool:
        return not self.unplaceable and self.disturbed <= _disturbed(
            self._task.snapshot.nodes.values()
        )

    @property
    def disturbed(self) -> int:
        """How many cores sensitive instances hold that somebody else holds, too."""
        return _disturbed(self._allocator.books.nodes.values())

    @property
    def in_place(self) -> int:
        """How many instances have a place at the end."""
        return len(self._kept) + self.placed

    def batches(self, size: int = BATCH_PLACEMENTS) -> Iterator[Place]:
        """Entries to propose one after the other. A whole application is one of its own."""
        return self._make_batches(size) if self._places is None else iter(self._places)

    def _make_batches(self, size: int) -> Iterator[Place]:
        placements: list[Placement] = []
        for unit in self._units():
            if unit.together and placements:
                yield self._batch(placements)
                placements = []
            parts = self._whole(unit) if unit.together else self._single(unit.members[0], size)
            for found in parts:
                placements += found
                if unit.together or len(placements) >= size:
                    yield self._batch(placements, together=unit.together)
                    placements = []
        if placements or self._released:
            yield self._batch(placements)

    def _batch(self, placements: list[Placement], *, together: bool = False) -> Place:
        released = self._released - {at.instance for at in placements}
        self._released = set()
        self.placed += len(placements)
        return Place(
            placements=tuple(placements), released=tuple(sorted(released)), together=together
        )

    def _units(self) -> Iterator[_Unit]:
        """Services in turn that lack something, and whole applications where one of theirs is due.

        What was preempted comes last.
        """
        whole = self._whole_applications()
        profile = self._task.profile
        due = in_turn(
            (it.known for it in self._wanted.values() if it.missing or it.moving),
            queue_priority=profile.queue_priority if self._way.prioritised else 0,
            queue_balance=profile.queue_balance,
            order=self._way.order,
        )
        order = [known.service for known in due]
        for service in order:
            members = whole.get(service.application)
            if service.name in self._task.resting or members == set():
                continue
            if members is None:
                yield _Unit(members=[self._wanted[service.name]])
            else:
                whole[service.application] = set()
                ours = [self._wanted[it.name] for it in order if it.name in members]
                yield _Unit(members=ours, together=True)
        while self._pushed_out:
            instance = self._pushed_out.popleft()
            known = self._wanted[service_of(instance)].known
            yield _Unit(members=[Wanted(known=known, missing=(instance,))])

    def _whole_applications(self) -> dict[str, set[str]]:
        """Those that start as a whole and have not started, with the services that lack some."""
        services = [it.known.service for it in self._wanted.values()]
        whole = {service.application for service in services if service.all_or_nothing}
        started = {self._wanted[at.service].known.service.application for at in self._kept.values()}
        members: dict[str, set[str]] = {name: set() for name in whole - started}
        for service in services:
            if service.application in members and service.replicas:
                members[service.application].add(service.name)
        return members

    def _single(self, wanting: Wanted, size: int) -> Iterator[list[Placement]]:
        """What one service gets, at most `size` at a time."""
        service, revision = wanting.known.service, wanting.known.revision
        missing = wanting.missing
        for start in range(0, len(missing), size):
            found, refused = self._allocator.fill(service, missing[start : start + size], revision)
            yield found
            if refused is not None:
                left = missing[start + len(found) :]
                pushed = self._pushing(wanting, left) if self._task.profile.preemption else []
                if len(pushed) < len(left):
                    self.unplaceable[service.name] = refused
                yield pushed
                return
        for at in wanting.moving:
            found, refused = self._moved(wanting, at)
            if refused is not None:
                self.unplaceable[service.name] = refused
                return
            yield found

    def _moved(self, wanting: Wanted, at: Placement) -> tuple[list[Placement], Unplaceable | None]:
        """Another place for an instance, which would not be in its own way there; else it stays."""
        self._allocator.books.take_back(at)
        service, revision = wanting.known.service, wanting.known.revision
        found, refused = self._allocator.fill(service, [at.instance], revision)
        if refused is not None:
            self._allocator.books.place(at)
        else:
            del self._kept[at.instance]
        return found, refused

    def _whole(self, unit: _Unit) -> Iterator[list[Placement]]:
        """All of an application, or else nothing of it."""
        placements: list[Placement] = []
        for wanting in unit.members:
            service, revision = wanting.known.service, wanting.known.revision
            found, refused = self._allocator.fill(service, wanting.missing, revision)
            placements += found
            if refused is not None:
                for at in placements:
                    self._allocator.books.take_back(at)
                self._hold_back(unit, refused)
                return
        yield placements

    def _hold_back(self, unit: _Unit, refused: Unplaceable) -> None:
        for wanting in unit.members:
            service = wanting.known.service
            is_it = service.name == refused.service
            self.unplaceable[service.name] = Unplaceable(
                service=service.name,
                verdicts=refused.verdicts if is_it else (),
                because=f"application {service.application} starts as a whole or not at all, and "
                f"{'this service' if is_it else refused.service} finds no place: {refused.reason}",
            )

    def _pushing(self, wanting: Wanted, instances: tuple[str, ...]) -> list[Placement]:
        """Places for `instances` where others have to go."""
        service, revision = wanting.known.service, wanting.known.revision
        allocator = self._allocator
        judge = allocator.ranking(service).judge
        placements = []
        for instance in instances:
            lower = self._lower_than(service.priority)
            chosen = preemption(allocator.books, judge, lower, self._priority)
            if chosen is None:
                break
            for victim in chosen.victims:
                allocator.books.take_back(victim)
                del self._kept[victim.instance]
                self._released.add(victim.instance)
                self._pushed_out.append(victim.instance)
                self.preempted[victim.instance] = f"made room for {instance}"
            found = allocator.placement(service, judge, chosen.node, instance, revision)
            allocator.books.place(found)
            placements.append(found)
        return placements

    def _lower_than(self, priority: int) -> dict[str, list[Placement]]:
        by_node: dict[str, list[Placement]] = {}
        for at in self._kept.values():
            if self._priority(at.service) < priority:
                by_node.setdefault(at.node, []).append(at)
        return by_node

    def _priority(self, service: str) -> int:
        return self._wanted[service].known.service.priority


def _disturbed(nodes: Iterable[FreeNode]) -> int:
    return sum(
        count for free in nodes for core, count in free.sensitive.items() if free.holders[core] > 1
    )
