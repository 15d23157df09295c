"""What each service has and what it lacks: the placements to keep, those to move, the free slots.

What is placed and still wanted is never moved, except from a node that has been lost for the
service's `reschedule_after_s` or runs nothing any more. Such an instance keeps its slot, and also
its place while no other node takes it: it runs again when its node comes back.
"""

from msgspec import Struct

from roheletd.allocation.view import View
from roheletd.cluster.state import ClusterState, Definition, instance_name, slot
from roheletd.model import Placement


class Wanted(Struct, frozen=True, kw_only=True):
    """The placements of one service, and its `missing` instances by name.

    Those that should be `moving` to another node stay while there is none for them.
    """

    known: Definition
    stay: tuple[Placement, ...] = ()
    moving: tuple[Placement, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def lacks(self) -> bool:
        return bool(self.missing or self.moving)


def wanted(state: ClusterState, known: Definition, view: View) -> Wanted:
    """What becomes of a service's placements, and which instances need one.

    With too many replicas those on lost nodes go first, then the worst placed, by the score they
    were placed with.
    """
    name, replicas = known.service.name, known.service.replicas
    current = [
        at
        for at in state.placements_of(name)
        if at.revision == known.revision and at.instance not in view.displaced
    ]
    current.sort(key=lambda at: (at.node in view.lost_for_s, -at.score, slot(at.instance)))
    held = current[:replicas]
    moving = [at for at in held if _must_move(state, at, view)]
    used = {slot(at.instance) for at in held}
    free = (number for number in range(1, replicas + 1) if number not in used)
    return Wanted(
        known=known,
        stay=tuple(at for at in held if at not in moving),
        moving=tuple(moving),
        missing=tuple(instance_name(name, next(free)) for _ in range(replicas - len(held))),
    )


def _must_move(state: ClusterState, at: Placement, view: View) -> bool:
    member = state.members.get(at.node)
    if at.instance in view.stranded or (member is not None and member.witness):
        return True
    lost_for_s = view.lost_for_s.get(at.node)
    patience_s = state.services[at.service].service.reschedule_after_s
    return lost_for_s is not None and lost_for_s >= patience_s


def next_reschedule_s(state: ClusterState, view: View) -> float | None:
    """Seconds until the next instance is to leave its lost node, if that stays away."""
    left_s = (
        state.services[at.service].service.reschedule_after_s - view.lost_for_s[at.node]
        for at in state.placements.values()
        if at.node in view.lost_for_s
    )
    return min((seconds for seconds in left_s if seconds > 0), default=None)
