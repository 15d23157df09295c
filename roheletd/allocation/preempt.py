"""Preemption: what of lower priority would have to go for a service that finds no place.

Off unless `allocation.preemption` says otherwise. The way of choosing is that of the Kubernetes
scheduler: take everything of lower priority off a node, and put back whatever still fits beside
the newcomer, the most valuable first. What is left over is needed to the last one.
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from roheletd.allocation.books import Books
from roheletd.allocation.judge import Judge
from roheletd.allocation.snapshot import FreeNode, with_placement, without_placement
from roheletd.model import Placement


class Preemption(Struct, frozen=True, kw_only=True):
    """A node that takes the service once `victims` have left it."""

    node: str
    victims: tuple[Placement, ...]


def preemption(
    books: Books,
    judge: Judge,
    lower: Mapping[str, Iterable[Placement]],
    priority: Callable[[str], int],
) -> Preemption | None:
    """The one that costs least: the lowest priorities, then the fewest instances.

    `lower` is, by node, what may go: instances of services of lower priority than the newcomer.
    """
    found = []
    for node, placements in lower.items():
        free = books.nodes[node]
        if judge.refuses_for_good(free) or judge.refuses_group_of(free):
            continue
        victims = _victims(free, judge, placements, priority)
        if victims:
            of_each = sorted((priority(at.service) for at in victims), reverse=True)
            found.append(((of_each, node), victims))
    if not found:
        return None
    (_, node), victims = min(found, key=lambda item: item[0])
    return Preemption(node=node, victims=victims)


def _victims(
    free: FreeNode, judge: Judge, placements: Iterable[Placement], priority: Callable[[str], int]
) -> tuple[Placement, ...]:
    """Those of `placements` that have to go, none without need; empty: not even all would do."""
    dearest = sorted(placements, key=lambda at: (-priority(at.service), at.placed_at, at.instance))
    for at in dearest:
        free = without_placement(free, at)
    if judge.local(free) is None:
        return ()
    victims = []
    for at in dearest:
        with_it = with_placement(free, at)
        if judge.local(with_it) is None:
            victims.append(at)
        else:
            free = with_it
    return tuple(victims)
