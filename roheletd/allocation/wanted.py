"""What each service has and what it lacks: the placements to keep, those to move, the free slots.

What is placed and still wanted is never moved, except from a node that has been lost for the
service's `reschedule_after_s`, runs nothing any more or is drained. Such an instance keeps its
slot, and also its place while no other node takes it: it runs again when its node comes back.
What is of an older edition is replaced in its turn (see `turnover`).
"""

from msgspec import Struct

from roheletd.allocation.turnover import Turnover, turnover
from roheletd.allocation.view import View
from roheletd.cluster.definition import Definition
from roheletd.cluster.homes import is_bound
from roheletd.cluster.rollout import is_stale
from roheletd.cluster.state import ClusterState, instance_name, slot
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

    With too many replicas those on lost nodes go first, then those that are not healthy, then the
    worst placed, by the score they were placed with.
    """
    name, replicas = known.service.name, known.service.replicas
    fresh: list[Placement] = []
    lost: list[Placement] = []
    stale: list[Placement] = []
    for at in state.placements_of(name):
        if at.instance in view.displaced:
            continue
        if not is_stale(state, known, at):
            fresh.append(at)
        elif _must_move(state, at, view):
            lost.append(at)  # it cannot be replaced in its turn: it is not there
        else:
            stale.append(at)
    fresh.sort(
        key=lambda at: (
            at.node in view.lost_for_s,
            at.instance not in view.available,
            -at.score,
            slot(at.instance),
        )
    )
    held = fresh[:replicas]
    turn = _turn(known, held, stale, view)
    moving = {at.instance: at for at in held if _must_move(state, at, view)}
    stay = [*(at for at in held if at.instance not in moving), *turn.stay]
    going = [at for at in lost if at.revision == known.revision][: replicas - len(held)]
    going = [*moving.values(), *going, *turn.replaced]
    missing = max(0, replicas - len(stay) - len(going)) + turn.surge
    used = {slot(at.instance) for at in (*stay, *going)}
    if turn.surge:
        # Not the name of one that ends now: its copy is in the way for a moment.
        used |= {slot(at.instance) for at in stale}
    free = (number for number in range(1, 2 * replicas + len(used) + 1) if number not in used)
    return Wanted(
        known=known,
        stay=tuple(stay),
        moving=tuple(going),
        missing=tuple(instance_name(name, next(free)) for _ in range(missing)),
    )


def _turn(known: Definition, held: list[Placement], stale: list[Placement], view: View) -> Turnover:
    if not stale:
        return Turnover()
    return turnover(
        known,
        fresh=held,
        stale=stale,
        settled=view.settled,
        available=view.available,
        tied=lambda _at: is_bound(known.service),
        waits=known.service.name in view.waiting,
        unready=known.service.name in view.unready,
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
