"""One pass of the leader over all services: what is missing, what is too much, what is outdated.

Services are served in the order in which they were first defined. What is placed and still wanted
is never moved.
"""

from collections.abc import Iterable, Mapping
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.allocate import Unplaceable, allocate
from roheletd.allocation.snapshot import (
    ForeignLoad,
    Profile,
    Snapshot,
    take,
    with_placement,
)
from roheletd.cluster.commands import Place
from roheletd.cluster.membership import Liveness
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

    `displaced` names instances that cannot stay as they are placed.
    """

    liveness: Mapping[str, Liveness]
    foreign: Mapping[str, ForeignLoad]
    displaced: frozenset[str] = frozenset()


def snapshot(state: ClusterState, view: View, profile: Profile) -> Snapshot:
    """All registered nodes with every placement of the agreed state taken off."""
    return _take(state, view, profile, state.placements.values())


def schedule(state: ClusterState, view: View, profile: Profile, rng: Random) -> Schedule:
    """The placements that bring every service to its number of replicas, as far as they fit.

    What is not kept is released in the same entry, so that its share can be given out again.
    """
    kept: list[Placement] = []
    missing: list[tuple[Definition, list[int]]] = []
    for definition in sorted(state.services.values(), key=lambda known: known.created_at):
        stay, slots = _wanted(state, definition, view.displaced)
        kept += stay
        missing.append((definition, slots))
    free = _take(state, view, profile, kept)
    placements, unplaceable = _fill(free, missing, profile, rng)
    still_there = {at.instance for at in (*kept, *placements)}
    return Schedule(
        place=Place(
            placements=tuple(placements),
            released=tuple(sorted(state.placements.keys() - still_there)),
        ),
        unplaceable=unplaceable,
    )


def _wanted(
    state: ClusterState, known: Definition, displaced: frozenset[str]
) -> tuple[list[Placement], list[int]]:
    """The placements of a service that stay, and the slots that need a (new) one.

    With too many replicas the worst placed go first, by the score they were placed with.
    """
    name = known.service.name
    current = [
        at
        for at in state.placements_of(name)
        if at.revision == known.revision and at.instance not in displaced
    ]
    current.sort(key=lambda at: (-at.score, slot(at.instance)))
    stay = current[: known.service.replicas]
    used = {slot(at.instance) for at in stay}
    free = (number for number in range(1, known.service.replicas + 1) if number not in used)
    return stay, [next(free) for _ in range(known.service.replicas - len(stay))]


def _fill(
    free: Snapshot,
    missing: list[tuple[Definition, list[int]]],
    profile: Profile,
    rng: Random,
) -> tuple[list[Placement], dict[str, Unplaceable]]:
    nodes = dict(free.nodes)
    placements: list[Placement] = []
    unplaceable: dict[str, Unplaceable] = {}
    for definition, slots in missing:
        service = definition.service
        for number in slots:
            found = allocate(Snapshot(nodes=nodes), service, profile, rng)
            if isinstance(found, Unplaceable):
                unplaceable[service.name] = found
                break
            placements.append(
                replace(
                    found,
                    instance=instance_name(service.name, number),
                    revision=definition.revision,
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
