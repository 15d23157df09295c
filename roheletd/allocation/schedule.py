"""One pass of the leader over all services: what is missing, what is too much, what is outdated.

Services are served in the order in which they were first defined. What is placed and still wanted
is never moved, except from a node that has been lost for the service's `reschedule_after_s` or runs
nothing any more. Such an instance keeps its slot, and also its place while no other node takes it:
it runs again when its node comes back.
"""

from collections.abc import Iterable, Mapping
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.allocate import Unplaceable, allocate
from roheletd.allocation.foreign import foreign_loads
from roheletd.allocation.snapshot import (
    ForeignLoad,
    Profile,
    Snapshot,
    take,
    with_placement,
)
from roheletd.cluster.commands import Place
from roheletd.cluster.membership import Liveness, Membership
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState, Definition, instance_name, slot
from roheletd.model import Placement


class Schedule(Struct, frozen=True, kw_only=True):
    """What to propose, and which services had to wait with their reasons."""

    place: Place
    unplaceable: dict[str, Unplaceable]

    @property
    def is_empty(self) -> bool:
        return not self.place.placements and not self.place.released


class View(Struct, frozen=True, kw_only=True):
    """The soft half of what the leader knows: who is alive, what is used by others.

    `displaced` names instances that cannot stay as they are placed. `lost_for_s` names the lost
    nodes.
    """

    liveness: Mapping[str, Liveness]
    foreign: Mapping[str, ForeignLoad]
    displaced: frozenset[str] = frozenset()
    lost_for_s: Mapping[str, float] = {}


def look(
    state: ClusterState,
    soft: SoftState,
    membership: Membership,
    now_s: float,
    *,
    displaced: frozenset[str] = frozenset(),
) -> View:
    """What this node knows at this moment, for a decision or for showing how one would be made."""
    nodes = state.registrations
    return View(
        liveness=membership.of_all(nodes, now_s),
        foreign=foreign_loads(soft, state),
        displaced=displaced,
        lost_for_s=membership.lost_for_s(nodes, now_s),
    )


class _Wanted(Struct, frozen=True, kw_only=True):
    """The placements of one service, and the slots without one.

    Those that should be `moving` to another node stay while there is none for them.
    """

    known: Definition
    stay: tuple[Placement, ...]
    moving: tuple[Placement, ...]
    missing: tuple[int, ...]

    @property
    def slots(self) -> tuple[int, ...]:
        """Those to find a place for; what may come back by itself comes last."""
        return self.missing + tuple(slot(at.instance) for at in self.moving)


def snapshot(state: ClusterState, view: View, profile: Profile) -> Snapshot:
    """All registered nodes with every placement of the agreed state taken off."""
    return _take(state, view, profile, state.placements.values())


def schedule(state: ClusterState, view: View, profile: Profile, rng: Random) -> Schedule:
    """The placements that bring every service to its number of replicas, as far as they fit.

    What is not kept is released in the same entry, so that its share can be given out again.
    """
    in_turn = sorted(state.services.values(), key=lambda known: known.created_at)
    wanted = [_wanted(state, definition, view) for definition in in_turn]
    kept = [at for each in wanted for at in (*each.stay, *each.moving)]
    free = _take(state, view, profile, kept)
    placements, unplaceable = _fill(free, wanted, profile, rng)
    still_there = {at.instance for at in (*kept, *placements)}
    return Schedule(
        place=Place(
            placements=tuple(placements),
            released=tuple(sorted(state.placements.keys() - still_there)),
        ),
        unplaceable=unplaceable,
    )


def next_reschedule_s(state: ClusterState, view: View) -> float | None:
    """Seconds until the next instance is to leave its lost node, if that stays away."""
    left_s = (
        state.services[at.service].service.reschedule_after_s - view.lost_for_s[at.node]
        for at in state.placements.values()
        if at.node in view.lost_for_s
    )
    return min((seconds for seconds in left_s if seconds > 0), default=None)


def _wanted(state: ClusterState, known: Definition, view: View) -> _Wanted:
    """What becomes of a service's placements, and the slots that need one.

    With too many replicas those on lost nodes go first, then the worst placed, by the score they
    were placed with.
    """
    current = [
        at
        for at in state.placements_of(known.service.name)
        if at.revision == known.revision and at.instance not in view.displaced
    ]
    current.sort(key=lambda at: (at.node in view.lost_for_s, -at.score, slot(at.instance)))
    held = current[: known.service.replicas]
    moving = [at for at in held if _must_move(state, at, view)]
    used = {slot(at.instance) for at in held}
    free = (number for number in range(1, known.service.replicas + 1) if number not in used)
    return _Wanted(
        known=known,
        stay=tuple(at for at in held if at not in moving),
        moving=tuple(moving),
        missing=tuple(next(free) for _ in range(known.service.replicas - len(held))),
    )


def _must_move(state: ClusterState, at: Placement, view: View) -> bool:
    member = state.members.get(at.node)
    if member is not None and member.witness:
        return True
    lost_for_s = view.lost_for_s.get(at.node)
    patience_s = state.services[at.service].service.reschedule_after_s
    return lost_for_s is not None and lost_for_s >= patience_s


def _fill(
    free: Snapshot,
    wanted: list[_Wanted],
    profile: Profile,
    rng: Random,
) -> tuple[list[Placement], dict[str, Unplaceable]]:
    nodes = dict(free.nodes)
    placements: list[Placement] = []
    unplaceable: dict[str, Unplaceable] = {}
    for each in wanted:
        service = each.known.service
        for number in each.slots:
            found = allocate(Snapshot(nodes=nodes), service, profile, rng)
            if isinstance(found, Unplaceable):
                unplaceable[service.name] = found
                break
            placements.append(
                replace(
                    found,
                    instance=instance_name(service.name, number),
                    revision=each.known.revision,
                )
            )
            nodes[found.node] = with_placement(nodes[found.node], found)
    return placements, unplaceable


def _take(state: ClusterState, view: View, profile: Profile, held: Iterable[Placement]) -> Snapshot:
    nodes = state.nodes
    liveness: dict[str, Liveness] = {name: view.liveness.get(name, "never seen") for name in nodes}
    return take(
        nodes=nodes, liveness=liveness, foreign=view.foreign, placements=held, profile=profile
    )
