"""What one node is to run now: what is placed on it, as far as it may go by what it knows.

A member goes by its own log, also with no network at all. A node that joins goes by nothing until
it has all that the leader had: half of a log would stop what the rest of it wants.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial

from msgspec import Struct

from roheletd.cluster.isolation import isolation
from roheletd.cluster.reconcile import InstanceSpec, Parting, leaving_s, specification
from roheletd.cluster.state import ClusterState, service_of

CATCH_UP_S = 0.5
"""How often a node looks whether it knows by now what has happened while it heard nobody."""


class Orders(Struct, frozen=True, kw_only=True):
    """What is to run here now, and for how many seconds that holds if nothing else changes it.

    `parting` says how an instance goes that is not among them; None where nothing is known of it.
    `held` are those that are not to be started yet, and what each waits for.
    """

    run: dict[str, InstanceSpec]
    for_s: float
    parting: Callable[[str], Parting | None] = lambda _instance: None
    held: Mapping[str, str] = {}


class StandingOrders:
    """Remembers what it had stopped for want of a leader, until it is sure of what came since.

    `informed`: this node has a log of its own to go by. `settle_s`: how long a node has to be in
    step with a leader before it starts again what it had stopped. What is heard first may be old:
    kernels keep what they could not deliver, and do so after a cut.
    """

    def __init__(
        self, *, cluster: str, node: str, informed: bool, lost_after_s: float, settle_s: float
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._informed = informed
        self._lost_after_s = lost_after_s
        self._settle_s = settle_s
        self._settled_at_s = 0.0
        self._stopped: frozenset[str] = frozenset()

    def now(
        self, state: ClusterState, *, now_s: float, in_step: bool, isolated_for_s: float
    ) -> Orders | None:
        """None while there is nothing to go by.

        `in_step`: nothing is missing here that a leader last said was committed.
        """
        self._informed |= in_step
        if not (self._informed and state.applied_index):
            return None
        stopping, for_s = isolation(
            state, self._node, isolated_for_s=isolated_for_s, lost_after_s=self._lost_after_s
        )
        if stopping or not in_step:
            self._settled_at_s = now_s + self._settle_s
        self._stopped = stopping if now_s >= self._settled_at_s else self._stopped | stopping
        if self._stopped != stopping:
            for_s = min(for_s, CATCH_UP_S)
        wanted = specifications(
            state, cluster=self._cluster, node=self._node, stopping=self._stopped
        )
        return Orders(run=wanted, for_s=for_s, parting=partial(parting, state, self._stopped))


def parting(state: ClusterState, stopped: Collection[str], instance: str) -> Parting | None:
    """How `instance` goes, by what its service says."""
    known = state.services.get(service_of(instance))
    if known is None:
        return None
    service = known.service
    if instance in stopped:
        return Parting(grace_s=service.stop_grace_s, reason="no leader is heard (on_isolation)")
    return Parting(
        grace_s=service.stop_grace_s,
        reason="no longer placed here",
        leave_s=leaving_s(service.ports),
    )


def specifications(
    state: ClusterState, *, cluster: str, node: str, stopping: Collection[str] = ()
) -> dict[str, InstanceSpec]:
    """What the agreed state wants running on `node`, by instance, less what is `stopping`.

    What is not replaced yet runs as the edition says that it was placed for.
    """
    return {
        name: specification(
            cluster=cluster,
            service=(edition := state.edition_of(at)).service,
            placement=at,
            node=state.registrations[node].node,
            included=state.configuration.included(edition),
        )
        for name, at in state.placements_on(node).items()
        if name not in stopping
    }
