"""One pass of the leader over all services: what is missing, what is too much, what is outdated.

`Round` is the pass, in batches: a whole cluster's placements neither hold up the leader's loop nor
become one huge entry of the log. `schedule` is the same at once.
"""

from collections import deque
from collections.abc import Iterator
from functools import cached_property, partial
from random import Random

from msgspec import Struct

from roheletd.allocation.algorithm import Hooks
from roheletd.allocation.allocate import Allocator, Unplaceable
from roheletd.allocation.books import Books
from roheletd.allocation.preempt import preemption
from roheletd.allocation.queue import in_turn
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import View, snapshot_with
from roheletd.allocation.wanted import Wanted, wanted
from roheletd.cluster.commands import Place
from roheletd.cluster.state import ClusterState, service_of
from roheletd.model import Placement

BATCH_PLACEMENTS = 200


class Schedule(Struct, frozen=True, kw_only=True):
    """What to propose, and which services had to wait with their reasons.

    `preempted` are released instances that had to make room, and for whom.
    """

    place: Place
    unplaceable: dict[str, Unplaceable] = {}
    preempted: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        return not self.place.placements and not self.place.released


def schedule(
    state: ClusterState, view: View, profile: Profile, rng: Random, hooks: Hooks | None = None
) -> Schedule:
    """The placements that bring every service to its number of replicas, as far as they fit.

    What is not kept is released in the same entry, so that its share can be given out again.
    """
    this = Round(state, view, profile, rng, hooks=hooks)
    placements: dict[str, Placement] = {}
    released: dict[str, None] = {}
    for place in this.batches():
        released |= dict.fromkeys(place.released)
        placements |= {at.instance: at for at in place.placements}
    return Schedule(
        place=Place(
            placements=tuple(placements.values()),
            released=tuple(sorted(released.keys() - placements.keys())),
        ),
        unplaceable=this.unplaceable,
        preempted=this.preempted,
    )


class _Unit(Struct, frozen=True, kw_only=True):
    """What has its turn: one service, or the services of an application that start `together`."""

    members: list[Wanted]
    together: bool = False


def applied_at(place: Place, state: ClusterState) -> int | None:
    """Index of the entry that `place` became; None where nothing of it is left to see."""
    names = [at.instance for at in place.placements]
    found = (state.placements[name].placed_at for name in names if name in state.placements)
    return max(found, default=None)


class Round:
    """A pass that is under way. `resting` services are left alone (see `Waiting`).

    `unplaceable` and `preempted` grow while the batches are taken; see `Schedule`. `tried` are the
    services that had their turn, or needed none.
    """

    def __init__(
        self,
        state: ClusterState,
        view: View,
        profile: Profile,
        rng: Random,
        *,
        resting: frozenset[str] = frozenset(),
        hooks: Hooks | None = None,
    ) -> None:
        self.unplaceable: dict[str, Unplaceable] = {}
        self.preempted: dict[str, str] = {}
        self.tried = state.services.keys() - resting
        self._profile = profile
        self._wanted = {name: wanted(state, known, view) for name, known in state.services.items()}
        self._kept = {
            at.instance: at for it in self._wanted.values() for at in (*it.stay, *it.moving)
        }
        self._resting = resting
        self._released = state.placements.keys() - self._kept.keys()
        self._pushed_out: deque[str] = deque()
        self._priorities = {name: known.service.priority for name, known in state.services.items()}
        self._rng, self._hooks = rng, hooks
        self._snapshot = partial(snapshot_with, state, view, profile, list(self._kept.values()))

    @cached_property
    def _allocator(self) -> Allocator:
        """Made once something is missing: most passes find that nothing is."""
        return Allocator(Books(self._snapshot(), self._profile), self._rng, self._hooks)

    def batches(self, size: int = BATCH_PLACEMENTS) -> Iterator[Place]:
        """Entries to propose one after the other. A whole application is one of its own."""
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
        return Place(
            placements=tuple(placements), released=tuple(sorted(released)), together=together
        )

    def _units(self) -> Iterator[_Unit]:
        """Services in turn that lack something, and whole applications where one of theirs is due.

        What was preempted comes last.
        """
        whole = self._whole_applications()
        profile = self._profile
        due = in_turn(
            (it.known for it in self._wanted.values() if it.missing or it.moving),
            queue_priority=profile.queue_priority,
            queue_balance=profile.queue_balance,
        )
        order = [known.service for known in due]
        for service in order:
            members = whole.get(service.application)
            if service.name in self._resting or members == set():
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
                pushed = self._pushing(wanting, left) if self._profile.preemption else []
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
            chosen = preemption(allocator.books, judge, lower, self._priorities)
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
            if self._priorities[at.service] < priority:
                by_node.setdefault(at.node, []).append(at)
        return by_node
