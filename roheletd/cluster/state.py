"""The agreed state: what every node holds after applying the same entries in the same order.

`apply` is deterministic: it reads nothing but the entry and the state. A command that the state
does not allow is applied as a rejection, so that all nodes agree on that, too.
"""

from collections.abc import Iterable
from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    Applied,
    Found,
    JoinNode,
    Missing,
    Outcome,
    Place,
    Proposal,
    Rejected,
    RemoveNode,
    RemoveService,
)
from roheletd.decoding import decoded
from roheletd.model import Member, Node, Placement, Service, node_of

REMEMBERED_COMMANDS = 1024
"""How many command ids are kept to recognise one that is sent again; the oldest are forgotten."""

AROUND_INSTANCES = ("replicas", "reschedule_after_s", "on_isolation")
"""Fields of a service that say how many instances there are and where, and not what one is."""


class Definition(Struct, frozen=True, kw_only=True):
    """A service and its history: `revision` is the index of the entry that last changed it."""

    service: Service
    created_at: int
    revision: int


class Registration(Struct, frozen=True, kw_only=True):
    """What is known of a node, and from whom: `node` is both put together."""

    node: Node
    declared: Node | None = None
    measured: Node | None = None


class Remembered(Struct, frozen=True, kw_only=True):
    """What became of one command, and a digest that tells it from another under the same id."""

    outcome: Outcome
    digest: bytes


class SavedState(Struct, frozen=True, kw_only=True):
    """The whole state as one value: what a snapshot of the log holds."""

    index: int
    term: int
    services: dict[str, Definition] = {}
    registrations: dict[str, Registration] = {}
    placements: dict[str, Placement] = {}
    outcomes: dict[str, Remembered] = {}
    members: dict[str, Member] = {}
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
        self.placements = dict(saved.placements)
        self.members = dict(saved.members)
        self.cluster_id = saved.cluster_id
        self.epoch = saved.epoch
        self._outcomes = dict(saved.outcomes)

    def saved(self) -> SavedState:
        return SavedState(
            index=self.applied_index,
            term=self.applied_term,
            services=dict(self.services),
            registrations=dict(self.registrations),
            placements=dict(self.placements),
            outcomes=dict(self._outcomes),
            members=dict(self.members),
            cluster_id=self.cluster_id,
            epoch=self.epoch,
        )

    def foresee(self, proposal: Proposal) -> Outcome | None:
        """The outcome, where it is known without a log entry: a repetition, a refusal, no change.

        None means that the command has to go through the log.
        """
        if (known := self._repeated(proposal)) is not None:
            return known
        outcome = self._outcome(proposal.command)
        if isinstance(outcome, Rejected):
            return outcome
        done = all(change == "unchanged" for change in outcome.changed.values())
        return outcome if done else None

    def apply(self, index: int, term: int, proposal: Proposal) -> Outcome:
        """Apply the committed entry at `index`; entries come in order and only once."""
        self.advance(index, term)
        if (known := self._repeated(proposal)) is not None:
            return known
        outcome = self._outcome(proposal.command)
        if isinstance(outcome, Applied):
            self._change(index, proposal.command)
        self._outcomes[proposal.id] = Remembered(outcome=outcome, digest=_digest(proposal.command))
        while len(self._outcomes) > REMEMBERED_COMMANDS:
            del self._outcomes[next(iter(self._outcomes))]
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

    def placements_on(self, node: str) -> dict[str, Placement]:
        return {name: at for name, at in self.placements.items() if at.node == node}

    def placements_of(self, service: str) -> list[Placement]:
        """The placements of one service, by instance slot."""
        found = [at for at in self.placements.values() if at.service == service]
        return sorted(found, key=lambda at: slot(at.instance))

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
        assert len(self._outcomes) <= REMEMBERED_COMMANDS

    def _repeated(self, proposal: Proposal) -> Outcome | None:
        known = self._outcomes.get(proposal.id)
        if known is None or known.digest == _digest(proposal.command):
            return known.outcome if known else None
        return Rejected(reason=f"the id {proposal.id} was used for another command before")

    def _outcome(self, command: AnyCommand) -> Outcome:
        match command:
            case AddServices(services=services):
                return self._outcome_of_services(services)
            case RemoveService(name=name) if name not in self.services:
                return Missing(reason=f"there is no service {name}")
            case RemoveNode(name=name) if name not in {*self.registrations, *self.members}:
                return Missing(reason=f"there is no node {name}")
            case RemoveService(name=name) | RemoveNode(name=name):
                return Applied(changed={name: "removed"})
            case AddNodes(nodes=nodes):
                return self._outcome_of_nodes(nodes)
            case JoinNode():
                return self._outcome_of_join(command)
            case Found():
                return self._outcome_of_found(command)
            case Place():
                return self._outcome_of_place(command)

    def _outcome_of_services(self, services: tuple[Service, ...]) -> Outcome:
        changed = {}
        for service in services:
            known = self.services.get(service.name)
            if known is None:
                changed[service.name] = "added"
            elif known.service.application != service.application:
                return Rejected(
                    reason=f"service {service.name} belongs to application "
                    f"{known.service.application}: remove it there or choose another name"
                )
            else:
                changed[service.name] = "unchanged" if known.service == service else "updated"
        return Applied(changed=changed)

    def _outcome_of_nodes(self, nodes: tuple[Node, ...]) -> Outcome:
        """A machine registers itself as a member only: what is placed elsewhere never starts."""
        for node in nodes:
            outsider = self.cluster_id and node.name not in self.members
            if outsider and node.source == "measured":
                return Rejected(reason=f"{node.name} is no member of this cluster: let it join")
        return Applied(changed={node.name: self._change_of_node(node) for node in nodes})

    def _outcome_of_join(self, command: JoinNode) -> Outcome:
        member = command.member
        known = self.members.get(member.name)
        if node_of(member.id) != member.name:
            return Rejected(reason=f"the member id {member.id} is none of node {member.name}")
        if known is None:
            change = "joined"
        elif known.id == member.id:
            change = "unchanged" if known == member else "updated"
        elif known.id == command.previous:
            change = "rejoined"
        else:
            return Rejected(
                reason=f"the name {member.name} is taken by another machine: choose another "
                f"node.name, or `roheletd cluster remove {member.name}` if that one will not come "
                "back"
            )
        return Applied(changed={member.name: change})

    def _outcome_of_found(self, command: Found) -> Outcome:
        if command.epoch <= self.epoch:
            return Rejected(reason=f"the cluster is in epoch {self.epoch} already")
        return Applied(changed={command.member.name: "founded"})

    def _change_of_node(self, node: Node) -> str:
        known = self.registrations.get(node.name)
        if known is None:
            return "added"
        return "unchanged" if known == self._registered(node) else "updated"

    def _outcome_of_place(self, command: Place) -> Outcome:
        changed = {name: "released" for name in command.released if name in self.placements}
        for at in command.placements:
            changed[at.instance] = "placed" if self._fits_state(at) else "overtaken"
        return Applied(changed=changed)

    def _fits_state(self, at: Placement) -> bool:
        """Whether what the allocator saw is still so: it decided from an earlier state."""
        known = self.services.get(at.service)
        return known is not None and known.revision == at.revision and at.node in self.registrations

    def _change(self, index: int, command: AnyCommand) -> None:
        match command:
            case AddServices(services=services):
                for service in services:
                    self._define(index, service)
            case RemoveService(name=name):
                del self.services[name]
                self._release(at.instance for at in self.placements_of(name))
            case AddNodes(nodes=nodes):
                for node in nodes:
                    self.registrations[node.name] = self._registered(node)
            case RemoveNode(name=name):
                self.registrations.pop(name, None)
                self.members.pop(name, None)
                self._release(self.placements_on(name))
            case JoinNode(member=member):
                self.members[member.name] = member
            case Found(cluster_id=cluster_id, epoch=epoch, member=member):
                self.cluster_id, self.epoch = cluster_id, epoch
                self.members = {member.name: member}
            case Place():
                self._place(index, command)

    def _define(self, index: int, service: Service) -> None:
        known = self.services.get(service.name)
        if known is None:
            known = Definition(service=service, created_at=index, revision=index)
        elif known.service != service:
            known = replace(known, service=service, revision=self._revision(index, known, service))
        self.services[service.name] = known

    def _revision(self, index: int, known: Definition, service: Service) -> int:
        """A change of what no single instance is made from replaces no running instance."""
        around = {field: getattr(service, field) for field in AROUND_INSTANCES}
        same = replace(known.service, **around) == service
        return known.revision if same else index

    def _place(self, index: int, command: Place) -> None:
        self._release(name for name in command.released if name in self.placements)
        for at in filter(self._fits_state, command.placements):
            self.placements[at.instance] = replace(at, placed_at=index)

    def _registered(self, node: Node) -> Registration:
        """Hardware that was measured stands over what was declared; labels of both stay."""
        known = self.registrations.get(node.name)
        declared = known.declared if known else None
        measured = known.measured if known else None
        if node.source == "declared":
            declared = node
        else:
            measured = node
        merged = measured or node
        if declared and measured:
            merged = replace(measured, labels={**measured.labels, **declared.labels})
        return Registration(node=merged, declared=declared, measured=measured)

    def _release(self, instances: Iterable[str]) -> None:
        for name in list(instances):
            del self.placements[name]


def _digest(command: AnyCommand) -> bytes:
    return blake2b(_encoder.encode(command), digest_size=8).digest()


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
