"""Whose turn it is to be replaced: instances of an older edition, or on a node that is drained.

Both are `stale`: they run on until it is their turn. At most `update.parallel` instances are under
way at a time. Under way is what is new and not settled, and what is missing. What found no place
and waits does not count: else nothing could be changed for as long as a node is away.

    stop-first    a stale one gives up its place, and its name, to a new one, as long as
                  `min_available` others are healthy
    start-first   a new one comes beside the stale ones; once it is settled, one of them goes
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from roheletd.cluster.definition import Definition
from roheletd.cluster.rollout import min_available, starts_first
from roheletd.cluster.state import slot
from roheletd.model import Placement


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
    waits: bool = False,
    unready: bool = False,
) -> Turnover:
    """What is next, given the placements that are to stay (`fresh`) and those that are not.

    `tied` ones cannot be anywhere else than where they are: they are never doubled. `waits`: what
    is missing was found no place. `unready`: a new one would not be started.
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
    turns = max(0, service.update.parallel - under_way - (0 if waits else missing))
    if unready:
        turns = 0
    healthy = sum(at.instance in available for at in (*fresh, *kept, *outdated))
    if starts_first(service) and not any(tied(at) for at in kept):
        surge = min(turns, len(kept), max(0, service.replicas - len(fresh)))
        return Turnover(stay=(*kept, *outdated), surge=surge)
    replaced = _replaceable(kept[:turns], available, healthy - min_available(service))
    going = {at.instance for at in replaced}
    stay = [at for at in kept if at.instance not in going]
    return Turnover(stay=(*stay, *outdated), replaced=tuple(replaced))


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
