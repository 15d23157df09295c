"""What every verb does, once: HTTP routes, MQTT commands and the CLI all end here.

An operation takes one request struct and gives one response struct; it raises `InvalidInput`,
`NotFound`, `Refused`, `Unavailable` or `UnknownOutcome`, which each door turns into a `Problem`.
"""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

import msgspec

from roheletd.allocation.allocate import explain
from roheletd.allocation.schedule import View, look, schedule, snapshot
from roheletd.allocation.snapshot import Profile, Snapshot
from roheletd.api import views
from roheletd.clock import Clock
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Missing,
    Outcome,
    Rejected,
    RemoveNode,
    RemoveService,
)
from roheletd.cluster.events import Event, Events
from roheletd.cluster.membership import Membership
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState, slot
from roheletd.errors import InvalidInput, Refused, RoheletError, Unavailable
from roheletd.model import Placement, Service, contradiction
from roheletd.rohe import nodes_from, services_from
from roheletd.telemetry import InstanceUse
from roheletd.token import Token, decode


class NotFound(RoheletError):  # noqa: N818 - the word every door uses
    """There is nothing of that name."""


class UnknownOutcome(RoheletError):  # noqa: N818 - the word every door uses
    """The command may or may not have been committed; sending the same id again tells."""


class Log(Protocol):
    """The agreed log as the doors see it."""

    @property
    def term(self) -> int: ...

    @property
    def leader(self) -> str:
        """Who leads by all that this node knows; empty: nobody."""

    @property
    def leads(self) -> bool:
        """Whether this node may act as the leader."""

    @property
    def failure(self) -> str: ...

    async def propose(self, command: AnyCommand, *, command_id: str) -> Outcome:
        """Returns once the command is durable and applied, or known to be refused."""


class ClusterControl(Protocol):
    """Membership of this node as the doors see it."""

    def view(self) -> views.ClusterView: ...

    async def share(self) -> None:
        """Others may join from now on, and reach what they need for that."""

    async def token(self, valid_for_s: int) -> str:
        """A token that others join with; the cluster is shared from now on. 0: valid for ever."""

    async def join(self, token: Token, *, force: bool) -> None:
        """Returns once this node is bound to ask; from then on `view` says what becomes of it."""

    async def leave(self) -> None:
        """Returns once the others know."""

    async def recover(self) -> None:
        """Returns once this node leads the next epoch, alone."""

    async def remove(self, name: str, *, command_id: str) -> None:
        """Returns once it is committed. Raises `NotFound` for a name that no member has."""


class Operations:
    """The verbs of one daemon. Reads answer from memory; writes go through the log."""

    def __init__(
        self,
        *,
        node: str,
        cluster: str,
        version: str,
        profile: Profile,
        state: ClusterState,
        soft: SoftState,
        membership: Membership,
        events: Events,
        log: Log,
        cluster_control: ClusterControl,
        clock: Clock,
        challenge: Callable[[], str],
        own_instances: Callable[[], tuple[InstanceUse, ...]],
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._version = version
        self._profile = profile
        self._state = state
        self._soft = soft
        self._membership = membership
        self._events = events
        self._log = log
        self._control = cluster_control
        self._clock = clock
        self._challenge = challenge
        self._own_instances = own_instances
        self._started_s = clock.now_s()

    async def status(self, _request: views.Nothing, _id: str) -> views.Status:
        """What this node is, whom it follows, how much runs, and what a person should look at."""
        wanted = sum(known.service.replicas for known in self._state.services.values())
        running = sum(use.state == "running" for use in self._uses().values())
        return views.Status(
            version=self._version,
            node=self._node,
            cluster=self._cluster,
            role="leader" if self._log.leader == self._node else "follower",
            leader=self._log.leader,
            term=self._log.term,
            applied_index=self._state.applied_index,
            uptime_s=round(self._clock.now_s() - self._started_s, 3),
            nodes=len(self._state.registrations),
            services=len(self._state.services),
            instances_wanted=wanted,
            instances_running=running,
            broker=self._soft.broker,
            engine=self._soft.engine,
            warnings=self._warnings(),
            dropped_messages=self._soft.dropped,
        )

    async def ready(self, _request: views.Nothing, _id: str) -> views.Ready:
        """Whether this node can do its whole job now: 200 or 503, with the reasons."""
        reasons = []
        if not self._log.leader:
            reasons.append("there is no leader")
        if self._log.failure:
            reasons.append(f"the log does not take entries: {self._log.failure}")
        if not self._soft.engine.reachable:
            reasons.append(f"the engine does not answer: {self._soft.engine.reason}")
        if self._node not in self._state.registrations:
            reasons.append("this node is not registered yet")
        return views.Ready(ready=not reasons, reasons=tuple(reasons))

    async def leader(self, _request: views.Nothing, _id: str) -> views.LeaderView:
        """Who leads, and the challenge that a signed MQTT command must carry."""
        return views.LeaderView(
            leader=self._log.leader, term=self._log.term, challenge=self._challenge()
        )

    async def nodes(self, _request: views.Nothing, _id: str) -> views.Nodes:
        """All nodes: capacity, liveness, and what can still be promised on each."""
        free = self._snapshot().nodes
        found = tuple(
            views.NodeView(
                node=item.node,
                liveness=item.liveness,
                instances=len(self._state.placements_on(name)),
                free_cores=dict(item.cores),
                free_cpu_millicores=item.cpu_millicores,
                free_memory_mib=item.memory_mib,
            )
            for name, item in free.items()
        )
        return views.Nodes(nodes=found)

    async def services(self, _request: views.Nothing, _id: str) -> views.Services:
        """All services, and how many of their replicas are placed and running."""
        uses = self._uses()
        waiting = self._waiting()
        found = []
        for name, known in sorted(self._state.services.items()):
            placed = [at.instance for at in self._state.placements_of(name)]
            found.append(
                views.ServiceView(
                    service=known.service,
                    revision=known.revision,
                    placed=len(placed),
                    running=sum(
                        uses[instance].state == "running" for instance in placed if instance in uses
                    ),
                    waiting=waiting.get(name, ""),
                )
            )
        return views.Services(services=tuple(found))

    async def instances(self, _request: views.Nothing, _id: str) -> views.Instances:
        """All placed instances: node, cores, ports, score, state and measured use."""
        placements = sorted(
            self._state.placements.values(), key=lambda at: (at.service, slot(at.instance))
        )
        return views.Instances(instances=self._views_of(placements))

    async def why(self, request: views.ByName, _id: str) -> views.Why:
        """Why a service runs where it does, or which filter of which node refuses it."""
        known = self._state.services.get(request.name)
        if known is None:
            raise NotFound(f"there is no service {request.name}")
        return views.Why(
            service=request.name,
            replicas=known.service.replicas,
            waiting=self._waiting().get(request.name, ""),
            instances=self._views_of(self._state.placements_of(request.name)),
            verdicts=explain(self._snapshot(), known.service, self._profile),
        )

    async def telemetry(self, _request: views.Nothing, _id: str) -> views.TelemetryList:
        """The newest report of each node: per-core CPU, memory, GPUs, disks, temperatures."""
        return views.TelemetryList(telemetry=tuple(self._soft.telemetry.values()))

    async def events(self, request: views.EventsAfter, _id: str) -> views.EventList:
        """What happened on this node, oldest first; with `wait_s`, waits until something does."""
        found = self._events.after(request.after)
        if not found and request.wait_s > 0:
            found = await self._next_events(request.after, request.wait_s)
        return views.EventList(events=found, last=found[-1].seq if found else request.after)

    async def add_services(self, request: views.ServicesToAdd, command_id: str) -> views.Changes:
        """Define services, or redefine those that exist: all of them or none."""
        _refuse_twins([service.name for service in request.services], "$.services")
        return await self._define(request.services, command_id, field="$.services")

    async def add_nodes(self, request: views.NodesToAdd, command_id: str) -> views.Changes:
        """Register nodes by hand, or correct what is known of them: all of them or none."""
        _refuse_twins([node.name for node in request.nodes], "$.nodes")
        declared = tuple(msgspec.structs.replace(node, source="declared") for node in request.nodes)
        return await self._commit(AddNodes(nodes=declared), command_id)

    async def import_services(self, request: views.Document, command_id: str) -> views.Changes:
        """Define the services of a ROHE command file (`add-service`), given as JSON."""
        imported = services_from(request.document)
        changes = await self._define(imported.items, command_id, field="$.document")
        return msgspec.structs.replace(changes, notes=imported.notes)

    async def import_nodes(self, request: views.Document, command_id: str) -> views.Changes:
        """Register the nodes of a ROHE command file (`add-node`), given as JSON."""
        imported = nodes_from(request.document)
        changes = await self._commit(AddNodes(nodes=imported.items), command_id)
        return msgspec.structs.replace(changes, notes=imported.notes)

    async def remove_service(self, request: views.ByName, command_id: str) -> views.Changes:
        """Forget a service and stop its instances."""
        return await self._commit(RemoveService(name=request.name), command_id)

    async def remove_node(self, request: views.ByName, command_id: str) -> views.Changes:
        """Forget a node that is gone; what was placed on it is placed elsewhere."""
        if self._membership.liveness(request.name, self._clock.now_s()) == "alive":
            raise Refused(
                f"node {request.name} is alive and would register itself again: stop its roheletd "
                "first"
            )
        return await self._commit(RemoveNode(name=request.name), command_id)

    async def cluster_status(self, _request: views.Nothing, _id: str) -> views.ClusterView:
        """Who is in the cluster, who leads, and what the loss of one more node would mean."""
        return self._control.view()

    async def cluster_init(self, request: views.ClusterToShare, _id: str) -> views.Changes:
        """Let other nodes join the cluster of this one."""
        before = self._control.view()
        if request.name not in (None, before.cluster):
            raise Refused(
                f"this node belongs to cluster {before.cluster} already, and a cluster keeps its "
                "name: name it before the first start, or use another data directory"
            )
        await self._control.share()
        return views.Changes(changed={before.cluster: "unchanged" if before.shared else "shared"})

    async def cluster_token(self, request: views.TokenWanted, _id: str) -> views.TokenMade:
        """Make the secret that another node joins with."""
        text = await self._control.token(request.valid_for_s)
        return views.TokenMade(token=text, expires_at_s=decode(text).expires_at_s)

    async def cluster_join(self, request: views.ClusterToJoin, _id: str) -> views.Changes:
        """Make this node ask to be let into a cluster; its status tells what becomes of it."""
        token = decode(request.token)
        await self._control.join(token, force=request.force)
        return views.Changes(changed={token.cluster: "joining"})

    async def cluster_leave(self, _request: views.Nothing, _id: str) -> views.Changes:
        """Take this node out of its cluster; what ran here is placed on the others."""
        cluster = self._control.view().cluster
        await self._control.leave()
        return views.Changes(changed={cluster: "left"})

    async def cluster_remove(self, request: views.ByName, command_id: str) -> views.Changes:
        """Take a node out of the cluster that will not come back."""
        if self._membership.liveness(request.name, self._clock.now_s()) == "alive":
            raise Refused(
                f"node {request.name} is alive: `roheletd cluster leave` on it, or stop its "
                "roheletd first"
            )
        await self._control.remove(request.name, command_id=command_id)
        return views.Changes(changed={request.name: "removed"})

    async def cluster_recover(self, request: views.Recovery, _id: str) -> views.Changes:
        """Begin anew from this node alone, where most voters are lost for good."""
        if not request.force:
            raise Refused(
                "what was acknowledged and is not on this node would be lost, and all other nodes "
                "would have to join anew: ask with `force` where most voters are lost for good"
            )
        await self._control.recover()
        after = self._control.view()
        return views.Changes(changed={after.cluster: f"recovered in epoch {after.epoch}"})

    async def _next_events(self, after: int, wait_s: float) -> tuple[Event, ...]:
        happened = asyncio.Event()

        def listen(_event: Event) -> None:
            happened.set()

        self._events.listeners.add(listen)
        try:
            await asyncio.wait_for(happened.wait(), wait_s)
        except TimeoutError:
            return ()
        finally:
            self._events.listeners.discard(listen)
        return self._events.after(after)

    async def _define(
        self, services: tuple[Service, ...], command_id: str, *, field: str
    ) -> views.Changes:
        for position, service in enumerate(services):
            if (wrong := contradiction(service)) is not None:
                where = (
                    f"{field}[{position}]" if field == "$.services" else f"{field} {service.name}"
                )
                raise InvalidInput(f"{where}.{wrong[0]}", wrong[1])
        return await self._commit(AddServices(services=services), command_id)

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
        wanted = sum(known.service.replicas for known in self._state.services.values())
        if wanted <= len(self._state.placements):
            return {}
        found = schedule(self._state, self._view(), self._profile, Random(0))
        return {name: why.reason for name, why in found.unplaceable.items()}

    def _uses(self) -> dict[str, InstanceUse]:
        """The newest word on each instance, from the node where it is placed."""
        placements = self._state.placements
        reported = {node: it.instances for node, it in self._soft.telemetry.items()}
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
        return tuple(_instance_view(at, uses.get(at.instance)) for at in placements)

    def _warnings(self) -> tuple[str, ...]:
        found = _doubts(self._control.view())
        if not self._soft.broker.connected:
            found.append(f"no broker: {self._soft.broker.reason}; telemetry stays on this node")
        if not self._soft.engine.reachable:
            found.append(f"the engine does not answer: {self._soft.engine.reason}")
        found += [f"{part}: {notice}" for part, notice in self._soft.notices.items()]
        report = self._soft.telemetry.get(self._node)
        if report is not None:
            found += [f"sensor {name}: {reason}" for name, reason in report.sick.items()]
            found += [f"this node is throttled: {reason}" for reason in report.throttled]
        found += [f"service {name} waits: {why}" for name, why in self._waiting().items()]
        return tuple(found)


def _doubts(cluster: views.ClusterView) -> list[str]:
    """What a person should know of the cluster; nothing where one more machine may die."""
    if cluster.failure:
        return [cluster.failure]
    voters = [it for it in cluster.members if it.role in ("voter", "witness")]
    found = []
    if not cluster.leader and cluster.leader_heard_s is not None:
        found.append(
            f"no leader was heard for {cluster.leader_heard_s:.0f} s: what is shown may be as old, "
            "and commands are refused"
        )
    if len(voters) == 2 or any(it.liveness != "alive" for it in voters):  # noqa: PLR2004
        found.append(cluster.outlook)
    return found


def _instance_view(at: Placement, use: InstanceUse | None) -> views.InstanceView:
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
        restarts=use.restarts if use else 0,
        reason=use.reason if use else "",
        used_cpu_millicores=use.cpu_millicores if use else None,
        used_memory_mib=use.memory_mib if use else None,
    )


def _refuse_twins(names: list[str], field: str) -> None:
    seen = set()
    for position, name in enumerate(names):
        if name in seen:
            raise InvalidInput(f"{field}[{position}].name", f"expected each name once, got {name}")
        seen.add(name)


def problem_of(error: RoheletError) -> views.Problem:
    """What a door answers for `error`."""
    match error:
        case InvalidInput():
            return views.Problem(error="invalid", reason=error.expected, field=error.field)
        case NotFound():
            return views.Problem(error="not found", reason=str(error))
        case UnknownOutcome():
            return views.Problem(error="unknown", reason=str(error))
        case Unavailable():
            return views.Problem(error="unavailable", reason=str(error))
    return views.Problem(error="refused", reason=str(error))
