"""Whose turn it is to be replaced: instances of an older edition, or on a node that is drained.

Both are `stale`: they run on until it is their turn. At most `update.parallel` instances are under
way at a time; under way is what is missing, and what is new and not settled.

    stop-first    a stale one gives up its place, and its name, to a new one, as long as
                  `min_available` others are healthy
    start-first   a new one comes beside the stale ones; once it is settled, one of them goes
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from roheletd.cluster.definition import Definition
from roheletd.cluster.state import slot
from roheletd.model import Placement, Service


class Turnover(Struct, frozen=True, kw_only=True):
    """`stay` are the stale ones to be kept as they are, `replaced` those that give up their place.

    `surge` new ones may come beside them. What is in none of these ends.
    """

    stay: tuple[Placement, ...] = ()
    replaced: tuple[Placement, ...] = ()
    surge: int = 0


def turnover(
    known: Definition,
    *,
    fresh: Sequence[Placement],
    stale: Sequence[Placement],
    settled: AbstractSet[str],
    available: AbstractSet[str],
    tied: Callable[[Placement], bool] = lambda _at: False,
) -> Turnover:
    """What is next, given the placements that are to stay (`fresh`) and those that are not.

    `tied` ones cannot be anywhere else than where they are: they are never doubled.
    """
    service = known.service
    order = sorted(stale, key=lambda at: (at.instance in available, slot(at.instance)))
    proven = sum(at.instance in settled for at in fresh)
    kept = order[-max(0, service.replicas - proven) :] if service.replicas > proven else []
    if known.is_paused:
        outdated = [at for at in kept if at.revision != known.revision]
        kept = [at for at in kept if at.revision == known.revision]
    else:
        outdated = []
    under_way = len(fresh) - proven
    missing = max(0, service.replicas - len(fresh) - len(kept) - len(outdated))
    turns = max(0, service.update.parallel - under_way - missing)
    healthy = sum(at.instance in available for at in (*fresh, *kept, *outdated))
    if _starts_first(service) and not any(tied(at) for at in kept):
        surge = min(turns, len(kept), max(0, service.replicas - len(fresh)))
        return Turnover(stay=(*kept, *outdated), surge=surge)
    replaced = _replaceable(kept[:turns], available, healthy - min_available(service))
    going = {at.instance for at in replaced}
    stay = [at for at in kept if at.instance not in going]
    return Turnover(stay=(*stay, *outdated), replaced=tuple(replaced))


def min_available(service: Service) -> int:
    """How many are to be healthy at any time, as far as that is ours to decide."""
    if service.min_available is not None:
        return service.min_available
    return max(0, service.replicas - service.update.parallel)


def _starts_first(service: Service) -> bool:
    """Also where nobody may be missing: then there is no other way."""
    return service.update.order == "start-first" or min_available(service) >= service.replicas > 0


def _replaceable(
    stale: Sequence[Placement], available: AbstractSet[str], spare: int
) -> list[Placement]:
    """Those that do not run as they should cost nothing; of the others as many as are to spare."""
    found = []
    for at in stale:
        if at.instance in available:
            if spare <= 0:
                continue
            spare -= 1
        found.append(at)
    return found
