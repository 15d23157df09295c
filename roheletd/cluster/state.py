"""The agreed state: what every node holds after applying the same entries in the same order.

`apply` is deterministic: it reads nothing but the entry and the state. A command that the state
does not allow is applied as a rejection, so that all nodes agree on that, too.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Cordon,
    Found,
    JoinNode,
    Outcome,
    Place,
    Proposal,
    Rejected,
    RemoveNode,
    RemoveService,
)
from roheletd.cluster.outcomes import concerns_decisions, fits_state, outcome_of
from roheletd.cluster.placements import Placements
from roheletd.cluster.registration import Registration, registered
from roheletd.cluster.remembered import Remembered, RememberedOutcomes
from roheletd.decoding import decoded
from roheletd.model import Member, Node, Placement, Service, node_of

AROUND_INSTANCES = (
    "replicas",
    "reschedule_after_s",
    "on_isolation",
    "priority",
    "strategy",
    "spread_over",
    "all_or_nothing",
)
"""Fields of a service that say how many instances there are and where, and not what one is."""


class Definition(Struct, frozen=True, kw_only=True):
    """A service and its history: `revision` is the index of the entry that last changed it."""

    service: Service
    created_at: int
    revision: int


class SavedState(Struct, frozen=True, kw_only=True):
    """The whole state as one value: what a snapshot of the log holds.

    `allocated_at` is the index of the last entry after which a decision of the allocator may be
    wrong that was made before it.
    """

    index: int
    term: int
    allocated_at: int = 0
    services: dict[str, Definition] = {}
    registrations: dict[str, Registration] = {}
    placements: dict[str, Placement] = {}
    outcomes: dict[str, Remembered] = {}
    members: dict[str, Member] = {}
    cordoned: tuple[str, ...] = ()
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
        self.allocated_at = saved.allocated_at
        self.cluster_id = saved.cluster_id
        self.epoch = saved.epoch
        self._placements = Placements(self._replicas(), saved.placements.values())
        self._outcomes = RememberedOutcomes(saved.outcomes)

    def saved(self) -> SavedState:
        return SavedState(
            index=self.applied_index,
            term=self.applied_term,
            services=dict(self.services),
            registrations=dict(self.registrations),
            placements=dict(self.placements),
            outcomes=self._outcomes.saved(),
            members=dict(self.members),
            cordoned=tuple(sorted(self.cordoned)),
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

    def placements_on(self, node: str) -> dict[str, Placement]:
        return dict(self._placements.on(node))

    def placements_of(self, service: str) -> list[Placement]:
        """The placements of one service, by instance slot."""
        return sorted(self._placements.of(service).values(), key=lambda at: slot(at.instance))

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
            assert at.revision <= self.services[at.service].revision
            assert 0 < at.placed_at <= self.applied_index
        for name, member in self.members.items():
            assert name == member.name == node_of(member.id), f"{name} is {member}"
        assert (self.epoch > 0) == bool(self.cluster_id), "an epoch is that of a cluster"
        assert self.cordoned <= self.registrations.keys(), "a cordon is that of a node"
        assert 0 <= self.allocated_at <= self.applied_index
        self._placements.check(self._replicas())
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
            case Cordon(name=name, cordoned=cordoned):
                self.cordoned = self.cordoned | {name} if cordoned else self.cordoned - {name}
            case JoinNode(member=member):
                self.members[member.name] = member
            case Found(cluster_id=cluster_id, epoch=epoch, member=member):
                self.cluster_id, self.epoch = cluster_id, epoch
                self.members = {member.name: member}
            case Place():
                self._place(index, command)

    def _define(self, index: int, services: Iterable[Service]) -> None:
        for service in services:
            known = self.services.get(service.name)
            if known is None:
                known = Definition(service=service, created_at=index, revision=index)
            elif known.service != service:
                revision = self._revision(index, known, service)
                known = replace(known, service=service, revision=revision)
            self.services[service.name] = known
            self._placements.want(service.name, service.replicas)

    def _forget(self, services: Iterable[str]) -> None:
        for name in services:
            self.services.pop(name, None)
            self._placements.forget(name)

    def _revision(self, index: int, known: Definition, service: Service) -> int:
        """A change of what no single instance is made from replaces no running instance."""
        around = {field: getattr(service, field) for field in AROUND_INSTANCES}
        same = replace(known.service, **around) == service
        return known.revision if same else index

    def _register(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            known = self.registrations.get(node.name)
            self.registrations[node.name] = registered(known, node)

    def _remove_node(self, name: str) -> None:
        self.registrations.pop(name, None)
        self.members.pop(name, None)
        self.cordoned -= {name}
        self._release(self.placements_on(name))

    def _place(self, index: int, command: Place) -> None:
        self._release(command.released)
        for at in command.placements:
            if fits_state(at, self):
                self._placements.put(replace(at, placed_at=index))

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
