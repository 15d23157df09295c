"""The agreed state: what every node holds after applying the same entries in the same order.

`apply` is deterministic: it reads nothing but the entry and the state. A command that the state
does not allow is applied as a rejection, so that all nodes agree on that, too.
"""

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Configure,
    Cordon,
    Drain,
    EndRollout,
    ForgetHome,
    Found,
    JoinNode,
    LabelNode,
    OfNode,
    OfService,
    Outcome,
    Place,
    Proposal,
    Rejected,
    RemoveConfigMap,
    RemoveNode,
    RemoveSecret,
    RemoveService,
    Restart,
    RollBack,
    Scale,
    SetConfigMap,
    SetSecret,
)
from roheletd.cluster.configuration import Configuration, SavedConfiguration, users_of
from roheletd.cluster.configuring import kind_of, values_after
from roheletd.cluster.definition import (
    Definition,
    Edition,
    defined,
    ended,
    redefined,
    revised,
    rolled_back,
)
from roheletd.cluster.homes import Homes
from roheletd.cluster.outcomes import concerns_decisions, fits_state, outcome_of
from roheletd.cluster.placements import Placements
from roheletd.cluster.registration import Registration, registered, relabelled
from roheletd.cluster.remembered import Remembered, RememberedOutcomes
from roheletd.cluster.service_ports import ServicePorts
from roheletd.decoding import decoded
from roheletd.model import Member, Node, Placement, Service, node_of


class SavedState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole state as one value: what a snapshot of the log holds. Closed, as commands are.

    `allocated_at` is the index of the last entry after which a decision of the allocator may be
    wrong that was made before it.
    """

    index: int
    term: int
    allocated_at: int = 0
    services: dict[str, Definition] = {}
    registrations: dict[str, Registration] = {}
    placements: dict[str, Placement] = {}
    homes: dict[str, str] = {}
    outcomes: dict[str, Remembered] = {}
    members: dict[str, Member] = {}
    cordoned: tuple[str, ...] = ()
    draining: tuple[str, ...] = ()
    service_ports: dict[str, dict[str, int]] = {}
    configuration: SavedConfiguration = SavedConfiguration()
    cluster_id: str = ""
    epoch: int = 0


class ClusterState:
    """Services, nodes, members and placements by name, and how far the log has been applied."""

    def __init__(self, saved: SavedState | None = None) -> None:
        self.restore(saved or SavedState(index=0, term=0))

    def restore(self, saved: SavedState) -> None:
        """Become what a snapshot holds; whoever has this object sees it."""
        self.applied_index = saved.index
        self.applied_term = saved.term
        self.services = dict(saved.services)
        self.registrations = dict(saved.registrations)
        self.members = dict(saved.members)
        self.cordoned = frozenset(saved.cordoned)
        self.draining = frozenset(saved.draining)
        oldest_first = sorted(saved.services.values(), key=lambda known: known.created_at)
        self.service_ports = ServicePorts(saved.service_ports, (it.service for it in oldest_first))
        self.configuration = Configuration(saved.configuration)
        self.allocated_at = saved.allocated_at
        self.cluster_id = saved.cluster_id
        self.epoch = saved.epoch
        self._placements = Placements(self._replicas(), saved.placements.values())
        self._homes = Homes(saved.homes)
        self._outcomes = RememberedOutcomes(saved.outcomes)

    def saved(self) -> SavedState:
        return SavedState(
            index=self.applied_index,
            term=self.applied_term,
            services=dict(self.services),
            registrations=dict(self.registrations),
            placements=dict(self.placements),
            homes=dict(self._homes.by_instance),
            outcomes=self._outcomes.saved(),
            members=dict(self.members),
            cordoned=tuple(sorted(self.cordoned)),
            draining=tuple(sorted(self.draining)),
            service_ports={name: dict(it) for name, it in self.service_ports.by_service.items()},
            configuration=self.configuration.saved(),
            allocated_at=self.allocated_at,
            cluster_id=self.cluster_id,
            epoch=self.epoch,
        )

    def foresee(self, proposal: Proposal) -> Outcome | None:
        """The outcome, where it is known without a log entry: a repetition, a refusal, no change.

        None means that the command has to go through the log.
        """
        if (known := self._outcomes.of(proposal)) is not None:
            return known
        outcome = outcome_of(proposal.command, self)
        if isinstance(outcome, Rejected):
            return outcome
        done = all(change == "unchanged" for change in outcome.changed.values())
        return outcome if done else None

    def apply(self, index: int, term: int, proposal: Proposal) -> Outcome:
        """Apply the committed entry at `index`; entries come in order and only once."""
        self.advance(index, term)
        if (known := self._outcomes.of(proposal)) is not None:
            return known
        outcome = outcome_of(proposal.command, self)
        if isinstance(outcome, Applied):
            if concerns_decisions(proposal.command, outcome, self):
                self.allocated_at = index
            self._change(index, proposal.command)
        self._outcomes.remember(proposal, outcome)
        return outcome

    def advance(self, index: int, term: int) -> None:
        """Go past a committed entry that is no command: it changes nothing else."""
        assert index == self.applied_index + 1, (index, self.applied_index)
        assert term >= self.applied_term, (term, self.applied_term)
        self.applied_index = index
        self.applied_term = term

    @property
    def nodes(self) -> dict[str, Node]:
        return {name: known.node for name, known in self.registrations.items()}

    @property
    def placements(self) -> dict[str, Placement]:
        """To read; they change by commands only."""
        return self._placements.by_instance

    @property
    def unfilled(self) -> AbstractSet[str]:
        """The services that have fewer placements than replicas."""
        return self._placements.unfilled

    def homes(self) -> dict[str, str]:
        """Instances that may be on one node only, with that node, which has their data."""
        names = {service_of(instance) for instance in self._homes.by_instance}
        return self._homes.bound({name: self.services[name].service for name in names})

    def home_of(self, instance: str) -> str:
        """The node that has its data, whether it may leave that behind or not; empty: none has."""
        return self._homes.by_instance.get(instance, "")

    def placements_on(self, node: str) -> dict[str, Placement]:
        return dict(self._placements.on(node))

    def placements_of(self, service: str) -> list[Placement]:
        """The placements of one service, by instance slot."""
        return sorted(self._placements.of(service).values(), key=lambda at: slot(at.instance))

    def editions(self) -> Iterator[Edition]:
        """All that instances of any service may run, or may come to run again."""
        return (it for known in self.services.values() for it in known.editions)

    def edition_of(self, at: Placement) -> Edition:
        """What an instance runs; the newest, where what it was placed for is forgotten."""
        known = self.services[at.service]
        return known.edition(at.revision) or known.now

    @property
    def expected(self) -> frozenset[str]:
        """Nodes whose silence means something; that of a merely declared one does not."""
        measured = (name for name, known in self.registrations.items() if known.measured)
        return frozenset((*self.members, *measured))

    def member_by_id(self, member_id: str) -> Member | None:
        """None for an id that the cluster has forgotten, or knows under the name's new id."""
        known = self.members.get(node_of(member_id))
        return known if known and known.id == member_id else None

    def brokers(self, member_ids: Iterable[str]) -> tuple[str, ...]:
        """URLs of the brokers that these members run, in the order given, each once."""
        known = (self.member_by_id(member_id) for member_id in member_ids)
        return tuple(dict.fromkeys(member.broker for member in known if member and member.broker))

    def check(self) -> None:
        """Assert what must hold after every entry; run by tests after each step."""
        for name, at in self.placements.items():
            assert name == at.instance
            assert at.service in self.services, f"{name} belongs to no service"
            assert at.node in self.registrations, f"{name} is placed on no node"
            assert 0 < at.revision < at.placed_at <= self.applied_index
        for name, member in self.members.items():
            assert name == member.name == node_of(member.id), f"{name} is {member}"
        assert (self.epoch > 0) == bool(self.cluster_id), "an epoch is that of a cluster"
        assert self.cordoned <= self.registrations.keys(), "a cordon is that of a node"
        assert self.draining <= self.cordoned, "what is drained takes nothing new"
        self.service_ports.check(known.service for known in self.services.values())
        assert 0 <= self.allocated_at <= self.applied_index
        self.configuration.check(self.applied_index)
        self._placements.check(self._replicas())
        self._homes.check(self.services, self.registrations)
        self._outcomes.check()

    def _change(self, index: int, command: AnyCommand) -> None:
        match command:
            case AddServices(services=services, removed=removed):
                self._forget(removed)
                self._define(index, services)
            case RemoveService(name=name):
                self._forget((name,))
            case AddNodes(nodes=nodes):
                self._register(nodes)
            case RemoveNode(name=name):
                self._remove_node(name)
            case OfService():
                self._set(self._changed(index, command))
            case OfNode():
                self._change_node(command)
            case Configure():
                self._configure(index, command)
            case JoinNode() | Found():
                self._admit(command)
            case Place():
                self._place(index, command)

    def _define(self, index: int, services: Collection[Service]) -> None:
        self.service_ports.hand_over(services)
        for service in services:
            known = self.services.get(service.name)
            if known is None:
                self._set(defined(index, service))
            elif known.service != service:
                self._set(self._begun(redefined(known, index, service)))

    def _changed(self, index: int, command: OfService) -> Definition:
        known = self.services[command.name]
        match command:
            case Scale(replicas=replicas):
                return redefined(known, index, replace(known.service, replicas=replicas))
            case Restart():
                return self._begun(revised(known, index, known.service))
            case RollBack():
                return self._begun(rolled_back(known, index, "asked for"))
            case EndRollout(succeeded=succeeded, reason=reason):
                return ended(known, index, succeeded=succeeded, reason=reason)
        raise AssertionError(command)

    def _change_node(self, command: OfNode) -> None:
        name = command.name
        match command:
            case Cordon(cordoned=cordoned):
                self.cordoned = self.cordoned | {name} if cordoned else self.cordoned - {name}
            case Drain(draining=draining):
                self.cordoned = self.cordoned | {name} if draining else self.cordoned - {name}
                self.draining = self.draining | {name} if draining else self.draining - {name}
            case LabelNode():
                self.registrations[name] = relabelled(self.registrations[name], command)
            case ForgetHome(instance=instance):
                self._homes.forget(instance, name)

    def _admit(self, command: JoinNode | Found) -> None:
        if isinstance(command, Found):
            self.cluster_id, self.epoch = command.cluster_id, command.epoch
            self.members = {}
        self.members[command.member.name] = command.member

    def _configure(self, index: int, command: Configure) -> None:
        """A change of values is one of the services that are given them."""
        kind, name = kind_of(command), command.name
        if isinstance(command, RemoveConfigMap | RemoveSecret):
            self.configuration.remove(kind, name)
            return
        assert isinstance(command, SetConfigMap | SetSecret), command
        values = values_after(command, self)
        known = self.configuration.newest(kind, name)
        if known is not None and known.values == values:
            return
        services = (known.service for known in self.services.values())
        for service in users_of(kind, name, services):
            self._revise(index, service)
        self.configuration.set(kind, name, values, index=index, editions=self.editions())

    def _revise(self, index: int, name: str) -> None:
        """Every instance of a service is to be replaced, though its own text is the same."""
        known = self.services[name]
        self._set(self._begun(revised(known, index, known.service)))

    def _begun(self, known: Definition) -> Definition:
        """Without an instance there is nothing to replace."""
        placed = self._placements.of(known.service.name)
        return known if placed else replace(known, old=(), rollout=None)

    def _set(self, known: Definition) -> None:
        name = known.service.name
        self.services[name] = known
        self._placements.want(name, known.service.replicas)
        self.service_ports.want(known.service)

    def _forget(self, services: Collection[str]) -> None:
        self._homes.forget_services(frozenset(services))
        for name in services:
            self.services.pop(name, None)
            self._placements.forget(name)
            self.service_ports.forget(name)

    def _register(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            known = self.registrations.get(node.name)
            self.registrations[node.name] = registered(known, node)

    def _remove_node(self, name: str) -> None:
        self.registrations.pop(name, None)
        self.members.pop(name, None)
        self.cordoned -= {name}
        self.draining -= {name}
        self._homes.forget_node(name)
        self._release(self.placements_on(name))

    def _place(self, index: int, command: Place) -> None:
        self._release(command.released)
        for at in command.placements:
            if fits_state(at, self):
                self._placements.put(replace(at, placed_at=index))
                self._homes.placed(at, self.edition_of(at).service)

    def _release(self, instances: Iterable[str]) -> None:
        for name in instances:
            if name in self.placements:
                self._placements.take(name)

    def _replicas(self) -> dict[str, int]:
        return {name: known.service.replicas for name, known in self.services.items()}


def slot(instance: str) -> int:
    """`web.3` is the third slot of `web`."""
    return int(instance.rpartition(".")[2])


def service_of(instance: str) -> str:
    return instance.rpartition(".")[0]


def instance_name(service: str, number: int) -> str:
    return f"{service}.{number}"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SavedState)


def encode(state: SavedState) -> bytes:
    return _encoder.encode(state)


def decode(data: bytes) -> SavedState:
    """Raises `msgspec.MsgspecError` where the bytes are no state of this version."""
    return decoded(_decoder, data)
