"""Where the next instance of a service would go: the node that gets its image beforehand.

Every node works this out for itself, from what is agreed and from who is lost. Whoever differs for
a moment pulls an image too many, which is cheaper than an entry of the log for each change.
"""

from collections.abc import Collection

from msgspec.structs import replace

from roheletd.allocation.allocate import Allocator
from roheletd.allocation.books import Books
from roheletd.allocation.snapshot import Condition, Profile
from roheletd.allocation.view import View, snapshot
from roheletd.cluster.homes import is_bound
from roheletd.cluster.state import ClusterState, instance_name
from roheletd.model import Neighbour, Service

_SEED = 0
"""The same on all nodes, so that equal scores are decided alike."""


def spares(state: ClusterState, lost: Collection[str], profile: Profile) -> dict[str, str]:
    """By service that wants a warm spare, the best node that has no instance of it."""
    wanting = [
        known.service
        for known in state.services.values()
        if known.service.warm_spare
        and known.service.image
        and known.service.replicas
        and not is_bound(known.service)
    ]
    if not wanting:
        return {}
    conditions = {
        name: Condition(
            liveness="lost" if name in lost else "alive", cordoned=name in state.cordoned
        )
        for name in state.nodes
    }
    books = Books(snapshot(state, View(conditions=conditions), profile), profile)
    allocator = Allocator(books, _SEED)
    found: dict[str, str] = {}
    for service in sorted(wanting, key=lambda it: it.name):
        placed = allocator.fill(_elsewhere(service), [instance_name(service.name, 0)], 0)
        found |= {at.service: at.node for at in placed}
    return found


def _elsewhere(service: Service) -> Service:
    apart = (*service.anti_affinity, Neighbour(service=service.name))
    return replace(service, anti_affinity=apart, affinity=_others(service))


def _others(service: Service) -> tuple[Neighbour, ...]:
    return tuple(it for it in service.affinity if it.service != service.name)
