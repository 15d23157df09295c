"""A pass under way: who has their turn when, what they get, and who has to wait."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from roheletd.allocation.algorithm import Hooks
from roheletd.allocation.allocate import Allocator, Unplaceable
from roheletd.allocation.books import Books
from roheletd.allocation.preempt import preemption
from roheletd.allocation.queue import in_turn
from roheletd.allocation.snapshot import Profile, Snapshot
from roheletd.allocation.wanted import Wanted
from roheletd.cluster.commands import Place
from roheletd.cluster.state import service_of
from roheletd.model import Placement, demand

BATCH_PLACEMENTS = 200
BATCH_BYTES = 200_000
"""About: what one entry of the log holds, which is far below what an entry may."""

WHOLE_BYTES_MAX = 600_000
"""About: what an application may need that starts in one entry."""


class Task(Struct, frozen=True, kw_only=True, dict=True):
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
        return [it for name, it in self.wanted.items() if it.lacks and name not in self.resting]


class _Unit(Struct, frozen=True, kw_only=True):
    """What has its turn: one service, or the services of an application that start `together`."""

    members: list[Wanted]
    together: bool = False


class _Found(Struct, frozen=True, kw_only=True):
    """Placements; `together` ones are one entry, those of `missing` instances of it are loose."""

    placements: list[Placement]
    together: bool = False
    missing: Wanted | None = None


class Attempt:
    """`unplaceable` and `preempted` grow while the batches are taken.

    `unplaceable` are services with the reasons, `preempted` instances and for whom they had to go.
    After `run`, the missing instances of the `loose` services, which are `placed` like this, may
    change places among themselves, until they are settled.
    """

    def __init__(self, task: Task) -> None:
        self.unplaceable: dict[str, Unplaceable] = {}
        self.preempted: dict[str, str] = {}
        self.loose: dict[str, Wanted] = {}
        self.placed: dict[str, Placement] = {}
        self._task = task
        self._wanted = task.wanted
        self._kept = dict(task.kept)
        self._released = set(task.released)
        self._pushed_out: deque[str] = deque()
        self._firm: list[_Found] | None = None

    @cached_property
    def allocator(self) -> Allocator:
        task = self._task
        return Allocator(Books(task.snapshot, task.profile), task.seed, task.hooks)

    def run(self) -> None:
        """All turns at once, to be looked at before anything is proposed."""
        firm = []
        bound = self._bound()
        for found in self._turns():
            if found.missing is None or found.missing.known.service.name in bound:
                firm.append(found)
            else:
                self.placed |= {at.instance: at for at in found.placements}
                self.loose[found.missing.known.service.name] = found.missing
        self._firm = firm

    def _bound(self) -> set[str]:
        """Services that are near others, or others near them: they would have to move as one."""
        near = {
            name: it.known.service.affinity
            for name, it in self._wanted.items()
            if it.known.service.affinity
        }
        return near.keys() | {other.service for others in near.values() for other in others}

    def settle(self, placed: Mapping[str, Placement]) -> None:
        """The loose instances are placed like this, as the books say by now."""
        for name, it in self.loose.items():
            were_short = any(instance not in self.placed for instance in it.missing)
            if left := [instance for instance in it.missing if instance not in placed]:
                self.unplaceable[name] = self.allocator.unplaceable(it.known.service, left[0])
            elif were_short:
                del self.unplaceable[name]
        self.placed = dict(placed)

    def batches(self, size: int = BATCH_PLACEMENTS) -> Iterator[Place]:
        """Entries to propose one after the other. A whole application is one of its own."""
        waiting: list[Placement] = []
        length = 0
        for found in self._found():
            if found.together and waiting:
                yield self._batch(waiting)
                waiting, length = [], 0
            if found.together:
                yield self._batch(found.placements, together=True)
                continue
            for at in found.placements:
                waiting.append(at)
                length += _bytes(len(at.ports), len(at.cores))
                if len(waiting) >= size or length >= BATCH_BYTES:
                    yield self._batch(waiting)
                    waiting, length = [], 0
        if waiting or self._released:
            yield self._batch(waiting)

    def _found(self) -> Iterator[_Found]:
        """What `run` and `settle` found, or what is found now."""
        if self._firm is None:
            return self._turns()
        return iter([_Found(placements=list(self.placed.values())), *self._firm])

    def _turns(self) -> Iterator[_Found]:
        for unit in self._units():
            if unit.together:
                if found := self._whole(unit):
                    yield _Found(placements=found, together=True)
                continue
            (member,) = unit.members
            for found in self._missing(member):
                yield _Found(placements=found, missing=member)
            for found in self._moving(member):
                yield _Found(placements=found)

    def _batch(self, placements: list[Placement], *, together: bool = False) -> Place:
        released = self._released - {at.instance for at in placements}
        self._released = set()
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
            (it.known for it in self._wanted.values() if it.lacks),
            queue_priority=profile.queue_priority,
            queue_balance=profile.queue_balance,
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

    def _missing(self, wanting: Wanted) -> Iterator[list[Placement]]:
        """What one service gets for its missing instances, some at a time."""
        service, revision = wanting.known.service, wanting.known.revision
        missing = wanting.missing
        left: list[str] = []
        for start in range(0, len(missing), BATCH_PLACEMENTS):
            some = missing[start : start + BATCH_PLACEMENTS]
            if not all(self._has_home(name) for name in left):
                left += some  # who needs the same has found nothing
                continue
            found = self.allocator.fill(service, some, revision)
            yield found
            placed = {at.instance for at in found}
            left += [name for name in some if name not in placed]
        if left:
            refused = self.allocator.unplaceable(service, left[0])
            pushed = self._pushing(wanting, left) if self._task.profile.preemption else []
            if len(pushed) < len(left):
                self.unplaceable[service.name] = refused
            yield pushed

    def _has_home(self, instance: str) -> bool:
        return instance in self.allocator.books.homes

    def _moving(self, wanting: Wanted) -> Iterator[list[Placement]]:
        """Other places for the instances that should move, once none is missing.

        One that is replaced by a new edition makes room for that itself.
        """
        known = wanting.known
        for at in wanting.moving:
            if at.instance not in self._kept:
                continue  # it had to make room meanwhile, and has a turn of its own
            makes_room = at.revision != known.revision or self._has_home(at.instance)
            if known.service.name in self.unplaceable and not makes_room:
                continue
            if found := self._moved(wanting, at):
                yield found

    def _moved(self, wanting: Wanted, at: Placement) -> list[Placement]:
        """Another place for an instance, which would not be in its own way there; else it stays."""
        service, revision = wanting.known.service, wanting.known.revision
        self.allocator.books.take_back(at)
        found = self.allocator.fill(service, [at.instance], revision)
        if found:
            del self._kept[at.instance]
        else:
            self.unplaceable[service.name] = self.allocator.unplaceable(service, at.instance)
            self.allocator.books.place(at)
        return found

    def _whole(self, unit: _Unit) -> list[Placement]:
        """All of an application, or else nothing of it."""
        placements: list[Placement] = []
        if (too_large := self._too_large(unit)) is not None:
            self._hold_back(unit, too_large)
            return []
        for wanting in unit.members:
            service, revision = wanting.known.service, wanting.known.revision
            found = self.allocator.fill(service, wanting.missing, revision)
            placements += found
            if len(found) < len(wanting.missing):
                placed = {at.instance for at in found}
                left = next(name for name in wanting.missing if name not in placed)
                refused = self.allocator.unplaceable(service, left)
                for at in placements:
                    self.allocator.books.take_back(at)
                self._hold_back(unit, refused)
                return []
        return placements

    def _too_large(self, unit: _Unit) -> Unplaceable | None:
        """It is proposed in one entry, which has to fit into one message."""
        estimates = {
            service.name: len(it.missing) * _bytes(len(service.ports), len(demand(service)))
            for it in unit.members
            for service in (it.known.service,)
        }
        if sum(estimates.values()) <= WHOLE_BYTES_MAX:
            return None
        largest = max(estimates, key=lambda name: estimates[name])
        return Unplaceable(
            service=largest,
            because="it has too many instances to start in one step: ask for fewer, or without "
            "all_or_nothing",
        )

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

    def _pushing(self, wanting: Wanted, instances: Sequence[str]) -> list[Placement]:
        """Places for `instances` where others have to go."""
        service, revision = wanting.known.service, wanting.known.revision
        allocator = self.allocator
        placements = []
        for instance in instances:
            home = allocator.books.homes.get(instance, "")
            judge = allocator.ranking(service, home=home).judge
            lower = self._lower_than(service.priority)
            chosen = preemption(allocator.books, judge, lower, self._priority)
            if chosen is None and home:
                continue  # others may be elsewhere
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
        """By node, who may have to go; those that could be nowhere else do not."""
        by_node: dict[str, list[Placement]] = {}
        for at in self._kept.values():
            if self._priority(at.service) < priority and not self._has_home(at.instance):
                by_node.setdefault(at.node, []).append(at)
        return by_node

    def _priority(self, service: str) -> int:
        return self._wanted[service].known.service.priority


def _bytes(ports: int, cores: int) -> int:
    """About how long one placement is in the log."""
    return 400 + 48 * ports + 10 * cores
