"""What the doors are asked and what they answer: the request and response structs of every verb.

They are the wire format of HTTP, of MQTT replies and of `--output json`, and the source of the
OpenAPI document.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from roheletd.allocation.allocate import Verdict
from roheletd.cluster.events import Event
from roheletd.cluster.membership import Liveness
from roheletd.cluster.soft import BrokerLink, EngineLink
from roheletd.model import Name, Node, PortBinding, Service
from roheletd.telemetry import Telemetry
from roheletd.token import LENGTH_MAX

Standing = Literal["joined", "joining", "refused", "left"]
Part = Literal["leader", "follower", "candidate", "learner", "not a member"]
MemberRole = Literal["voter", "witness", "learner", "follower"]


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller sends: closed, so that a misspelt key is an error and not a surprise."""


class Nothing(Request, frozen=True):
    """A verb without arguments."""


class ByName(Request, frozen=True):
    """A verb about one thing."""

    name: Name


class ServicesToAdd(Request, frozen=True):
    """Services to define or redefine: all of them or none."""

    services: Annotated[tuple[Service, ...], Meta(min_length=1, max_length=1000)]


class NodesToAdd(Request, frozen=True):
    """Nodes to register: all of them or none."""

    nodes: Annotated[tuple[Node, ...], Meta(min_length=1, max_length=1000)]


class Document(Request, frozen=True):
    """A ROHE command file as plain values; both generations of its field names are read."""

    document: object


class EventsAfter(Request, frozen=True):
    """Events newer than `after`; with `wait_s`, held open until there is one."""

    after: Annotated[int, Meta(ge=0)] = 0
    wait_s: Annotated[float, Meta(ge=0, le=60)] = 0.0


class ClusterToShare(Request, frozen=True):
    """Let others join. `name` is what the cluster is expected to be called; null: whatever."""

    name: Name | None = None


class TokenWanted(Request, frozen=True):
    """A token that is good for so long from now; 0: for ever."""

    valid_for_s: Annotated[int, Meta(ge=0, le=315_360_000)] = 86_400


class ClusterToJoin(Request, frozen=True):
    """The cluster of `token`. `force`: give up what this node has of its own."""

    token: Annotated[str, Meta(max_length=LENGTH_MAX)]
    force: bool = False


class Recovery(Request, frozen=True):
    """Go on from what this node has. `force` must be true: what only others have is lost."""

    force: bool = False


class Response(Struct, frozen=True, kw_only=True):
    """What a caller gets: open, so that later versions may say more."""


class Problem(Response, frozen=True):
    """Every refusal, whichever door it leaves by.

    `invalid`: change the input. `refused`: change the state. `not found`: there is no such thing.
    `unavailable`: try again. `unknown`: the outcome is not known; send the same `id` again.
    `forbidden`: this caller may not. `internal`: a fault of ours, told in the daemon's log.
    """

    error: Literal[
        "invalid", "refused", "not found", "unavailable", "unknown", "forbidden", "internal"
    ]
    reason: str
    field: str = ""


class Healthy(Response, frozen=True):
    """The daemon's loop turns."""

    healthy: bool = True


class Changes(Response, frozen=True):
    """Name of each thing to what happened to it: added, updated, unchanged, removed."""

    changed: dict[str, str]
    notes: tuple[str, ...] = ()


class Status(Response, frozen=True):
    """One node's summary. `warnings` are what a person should look at, in words."""

    version: str
    node: str
    cluster: str
    role: Literal["leader", "follower"]
    leader: str
    term: int
    applied_index: int
    uptime_s: float
    nodes: int
    services: int
    instances_wanted: int
    instances_running: int
    broker: BrokerLink
    engine: EngineLink
    warnings: tuple[str, ...] = ()
    dropped_messages: dict[str, int] = {}


class Ready(Response, frozen=True):
    """Whether this node can do its whole job now, and if not, what is missing."""

    ready: bool
    reasons: tuple[str, ...] = ()


class LeaderView(Response, frozen=True):
    """Who leads. `challenge` must be carried by a signed MQTT command."""

    leader: str
    term: int
    challenge: str


class NodeView(Response, frozen=True):
    """A node, whether it is alive, and what can still be promised on it."""

    node: Node
    liveness: Liveness
    instances: int
    free_cores: dict[int, int]
    free_cpu_millicores: int
    free_memory_mib: int


class Nodes(Response, frozen=True):
    """All nodes, by name."""

    nodes: tuple[NodeView, ...]


class ServiceView(Response, frozen=True):
    """A service and how much of it runs; `waiting` says why some of it has no place."""

    service: Service
    revision: int
    placed: int
    running: int
    waiting: str = ""


class Services(Response, frozen=True):
    """All services, by name."""

    services: tuple[ServiceView, ...]


class InstanceView(Response, frozen=True):
    """One placed instance: where, on which cores, with which score, and how it does."""

    instance: str
    service: str
    node: str
    state: str
    cores: dict[int, int]
    gpus: dict[str, int]
    ports: tuple[PortBinding, ...]
    score: float
    terms: dict[str, float]
    restarts: int = 0
    reason: str = ""
    used_cpu_millicores: int | None = None
    used_memory_mib: int | None = None


class Instances(Response, frozen=True):
    """All placed instances, by service and slot."""

    instances: tuple[InstanceView, ...]


class EventList(Response, frozen=True):
    """Events, oldest first; `last` is what to pass as `after` next."""

    events: tuple[Event, ...]
    last: int


class Why(Response, frozen=True):
    """Where a service is and why; for each node the refusals or the score terms of one more."""

    service: str
    replicas: int
    waiting: str
    instances: tuple[InstanceView, ...]
    verdicts: tuple[Verdict, ...]


class TelemetryList(Response, frozen=True):
    """The newest report of each node that was heard."""

    telemetry: tuple[Telemetry, ...]


class MemberView(Response, frozen=True):
    """One node of the cluster.

    `role`: a voter decides, and so does a witness, which runs nothing; a learner is brought up to
    date to become one; a follower hears what was decided. `voter: never` keeps it a follower.
    `lag` is in entries, and only the leader knows it.
    """

    name: str
    id: str
    role: MemberRole
    liveness: Liveness
    voter: Literal["auto", "never"] = "auto"
    lag: int | None = None
    broker: str = ""
    version: str = ""


class ClusterView(Response, frozen=True):
    """The cluster as this node knows it; `leader_heard_s` ago, where another one leads.

    `membership` is this node's own: `joining` until the leader lets it in, `refused` with the
    `reason` where it does not. `outlook` says in words what the loss of one more node would mean,
    `failure` why this node takes no part.
    """

    cluster: str
    cluster_id: str
    epoch: int
    node: str
    member: str
    membership: Standing
    role: Part
    leader: str
    term: int
    commit_index: int
    applied_index: int
    members: tuple[MemberView, ...]
    reason: str = ""
    shared: bool = False
    leader_heard_s: float | None = None
    links: tuple[BrokerLink, ...] = ()
    outlook: str = ""
    failure: str = ""
    dropped_messages: dict[str, int] = {}


class TokenMade(Response, frozen=True):
    """A secret: whoever has `token` can join. `expires_at_s` is since 1970; 0: never."""

    token: str
    expires_at_s: int
