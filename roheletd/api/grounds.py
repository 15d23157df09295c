"""What every verb stands on: the agreed and the soft state, the log, and what follows from them."""

from collections.abc import Callable, Mapping
from random import Random

from msgspec.structs import replace

from roheletd.allocation.algorithm import Algorithm
from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Profile, Snapshot
from roheletd.allocation.view import View, look, snapshot
from roheletd.api import views
from roheletd.api.collaborators import ClusterControl, Log, Vault
from roheletd.api.problems import NotFound
from roheletd.clock import Clock
from roheletd.cluster.commands import AnyCommand, Missing, Rejected
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership
from roheletd.cluster.rollout import changing
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState
from roheletd.errors import Refused
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement


class Grounds:
    """One daemon, as its verbs see it. Reads answer from memory; writes go through the log."""

    def __init__(
        self,
        *,
        node: str,
        cluster: str,
        version: str,
        profile: Profile,
        algorithm: Algorithm,
        state: ClusterState,
        soft: SoftState,
        membership: Membership,
        events: Events,
        log: Log,
        cluster_control: ClusterControl,
        vault: Vault,
        clock: Clock,
        challenge: Callable[[], str],
        own_instances: Callable[[], tuple[InstanceUse, ...]],
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._version = version
        self._profile = profile
        self._algorithm = algorithm
        self._state = state
        self._soft = soft
        self._membership = membership
        self._events = events
        self._log = log
        self._control = cluster_control
        self._vault = vault
        self._clock = clock
        self._challenge = challenge
        self._own_instances = own_instances
        self._started_s = clock.now_s()

    async def _commit(self, command: AnyCommand, command_id: str) -> views.Changes:
        outcome = await self._log.propose(command, command_id=command_id)
        if isinstance(outcome, Missing):
            raise NotFound(outcome.reason)
        if isinstance(outcome, Rejected):
            raise Refused(outcome.reason)
        return views.Changes(changed=outcome.changed)

    def _snapshot(self) -> Snapshot:
        return snapshot(self._state, self._view(), self._profile)

    def _view(self) -> View:
        return look(self._state, self._soft, self._membership, self._clock.now_s())

    def _waiting(self) -> Mapping[str, str]:
        """Service to the reason why it waits: as the leader found, or as it looks from here."""
        if self._log.leads:
            return self._soft.waiting
        state, view = self._state, self._view()
        if not (state.unfilled or view.stranded or view.lost_for_s or any(changing(state))):
            return {}
        hooks = self._algorithm.hooks()
        profile = replace(self._profile, search_attempts=0)  # a look, not a decision
        found = schedule(state, view, profile, Random(0), hooks)
        return {name: why.reason for name, why in found.unplaceable.items()}

    def _uses(self) -> dict[str, InstanceUse]:
        """The newest word on each instance, from the node where it is placed."""
        placements = self._state.placements
        reported = {node: tuple(it.values()) for node, it in self._soft.instances.items()}
        # A report of our own may be a second old, and we know better.
        reported[self._node] = self._own_instances()
        return {
            use.instance: use
            for node, uses in reported.items()
            for use in uses
            if use.instance in placements and placements[use.instance].node == node
        }

    def _views_of(self, placements: list[Placement]) -> tuple[views.InstanceView, ...]:
        uses = self._uses()
        return tuple(
            _instance_view(at, uses.get(at.instance), checked=self._is_checked(at))
            for at in placements
        )

    def _is_checked(self, at: Placement) -> bool:
        return self._state.edition_of(at).service.health is not None


def _instance_view(at: Placement, use: InstanceUse | None, *, checked: bool) -> views.InstanceView:
    return views.InstanceView(
        instance=at.instance,
        service=at.service,
        node=at.node,
        state=use.state if use else "placed",
        cores=at.cores,
        gpus=at.gpus,
        ports=at.ports,
        score=at.score,
        terms=at.terms,
        health=use.health if use else None,
        checked=checked,
        healthy_for_s=use.healthy_for_s if use else None,
        failures=use.failures if use else 0,
        last_failure=use.last_failure if use else "",
        restarts=use.restarts if use else 0,
        reason=use.reason if use else "",
        used_cpu_millicores=use.cpu_millicores if use else None,
        used_memory_mib=use.memory_mib if use else None,
    )
