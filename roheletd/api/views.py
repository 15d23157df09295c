"""What the doors are asked and what they answer: the request and response structs of every verb.

They are the wire format of HTTP, of MQTT replies and of `--output json`, and the source of the
OpenAPI document.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from roheletd.allocation.judge import Verdict
from roheletd.allocation.what_if import Forecast
from roheletd.cluster.definition import Progress
from roheletd.cluster.difference import Difference
from roheletd.cluster.events import Event
from roheletd.cluster.membership import Liveness
from roheletd.cluster.soft import BrokerLink, EngineLink
from roheletd.fields import LabelKey, Name, StrategyName, Text
from roheletd.instance_use import Health, InstanceUse
from roheletd.model import Node, PortBinding, Service
from roheletd.telemetry import Telemetry
from roheletd.token import LENGTH_MAX

Standing = Literal["joined", "joining", "refused", "left"]
Part = Literal["leader", "follower", "candidate", "learner", "not a member"]
MemberRole = Literal["voter", "witness", "learner", "follower"]
SUBJECT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?:\.[0-9]{1,5})?$(?!\n)"


SUBJECT_MEANING = "a service's name, or an instance's: `web.2`"
Subject = Annotated[str, Meta(pattern=SUBJECT_PATTERN, description=SUBJECT_MEANING)]


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


class WhatIfAsked(Request, frozen=True):
    """Services that are not there, or not like that: ours, or a ROHE file as plain values.

    `config_maps` and `secrets` name those that are to be set before, and may not be there yet.
    """

    services: Annotated[tuple[Service, ...], Meta(max_length=1000)] = ()
    document: object = None
    config_maps: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    secrets: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()


class PlanAsked(WhatIfAsked, frozen=True):
    """What should be. `prune`: and nothing else in the applications that are named."""

    nodes: Annotated[tuple[Node, ...], Meta(max_length=1000)] = ()
    prune: bool = False


class PlanToApply(PlanAsked, frozen=True):
    """A plan to carry out; with `fingerprint`, only if it is still the one that was shown."""

    fingerprint: Annotated[str, Meta(max_length=64)] = ""


class Rebalancing(Request, frozen=True):
    """Move at most so many instances to clearly better places."""

    moves: Annotated[int, Meta(ge=1, le=1000)] = 1
    dry_run: bool = False


class Scaling(ByName, frozen=True):
    """A service, and how many instances of it there are to be."""

    replicas: Annotated[int, Meta(ge=0, le=10_000)]


class Labelling(ByName, frozen=True):
    """Labels of a node to be set, and others to be taken away."""

    labels: Annotated[dict[LabelKey, Text], Meta(max_length=256)] = {}
    removed: Annotated[tuple[LabelKey, ...], Meta(max_length=256)] = ()


class SubjectAsked(Request, frozen=True):
    """A service, or one instance of it: `web`, `web.2`."""

    name: Subject


class LogsAsked(Request, frozen=True):
    """The logs of a service, or of one instance of it. `tail`: the last lines of each instance."""

    name: Subject
    follow: bool = False
    since_s: Annotated[float, Meta(ge=0, description="only lines of so long ago")] | None = None
    tail: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    node: Annotated[Name | None, Meta(description="only the instances that are there")] = None


class ExecAsked(Request, frozen=True):
    """A command to run within an instance; it gets `input` to read."""

    instance: Subject
    command: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=256)]
    input: Annotated[str, Meta(max_length=1 << 19)] = ""
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0


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
    """A node, whether it is alive, and what can still be promised on it.

    `cordoned`: somebody keeps new instances away from it. `draining`: what is on it moves away.
    """

    node: Node
    liveness: Liveness
    instances: int
    free_cores: dict[int, int]
    free_cpu_millicores: int
    free_memory_mib: int
    cordoned: bool = False
    draining: bool = False


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
    """One placed instance: where, on which cores, with which score, and how it does.

    `health` is null while its node has not spoken of it, and `checked` is false for a service
    without a health check: its instances are healthy as long as they run. `failures` in a row, the
    last one with `last_failure`, are forgotten after five minutes of health.
    """

    instance: str
    service: str
    node: str
    state: str
    cores: dict[int, int]
    gpus: dict[str, int]
    ports: tuple[PortBinding, ...]
    score: float
    terms: dict[str, float]
    health: Health | None = None
    checked: bool = False
    healthy_for_s: float | None = None
    failures: int = 0
    last_failure: str = ""
    restarts: int = 0
    reason: str = ""
    used_cpu_millicores: int | None = None
    used_memory_mib: int | None = None


class Instances(Response, frozen=True):
    """All placed instances, by service and slot."""

    instances: tuple[InstanceView, ...]


class RolloutView(Response, frozen=True):
    """How far the last change of a service is, in instances.

    `state` is null for a service that was never changed, or of which nothing ran when it last was.
    `new` instances are of `target`, the revision that is rolled out; `settled` of them are healthy
    for long enough, `failed` are not; `old` ones are to be replaced. `reason` says why it was given
    up or rolled back, `waiting` what it waits for. `rollback_to` is the revision that `rollback`
    would go to.
    """

    service: str
    state: Progress | None
    source: int | None
    target: int
    wanted: int
    new: int
    settled: int
    old: int
    failed: tuple[str, ...] = ()
    reason: str = ""
    waiting: str = ""
    rollback_to: int | None = None


class Leaving(Response, frozen=True):
    """An instance that is still on a node that is drained, and what it waits for."""

    instance: str
    state: str
    waiting: str


class DrainView(Response, frozen=True):
    """What is left on a node, in the order of their names."""

    node: str
    draining: bool
    left: tuple[Leaving, ...]


class EventList(Response, frozen=True):
    """Events, oldest first; `last` is what to pass as `after` next."""

    events: tuple[Event, ...]
    last: int


class Why(Response, frozen=True):
    """Where a service is and why; for each node the refusals or the score terms of one more.

    Asked about an `instance`, the nodes are judged as if it were to be placed anew. `weights` say
    how much each term counts in the score. Only the leader knows since when something waits and
    when it is tried again.
    """

    service: str
    replicas: int
    waiting: str
    instances: tuple[InstanceView, ...]
    verdicts: tuple[Verdict, ...]
    instance: str = ""
    strategy: StrategyName = "worst_fit"
    weights: dict[str, float] = {}
    waiting_for_s: float | None = None
    tried_again_in_s: float | None = None


class WhatIf(Response, frozen=True):
    """What would come of it; nothing was changed. `notes`: how a ROHE file was read."""

    forecast: Forecast
    notes: tuple[str, ...] = ()


class Plan(Response, frozen=True):
    """What would change of what was agreed, and what would come of that; nothing was changed.

    `changes` counts what would be added, changed or removed. `fingerprint` names this difference:
    given to `apply`, it is refused where the difference has become another one.
    """

    changes: int
    services: Difference
    nodes: Difference
    forecast: Forecast
    fingerprint: str
    notes: tuple[str, ...] = ()


class AppliedPlan(Plan, frozen=True, kw_only=True):
    """A plan that was carried out; `changed` is what became of each name."""

    changed: dict[str, str]


class BetterPlace(Response, frozen=True):
    """One instance that would sit better on `target`, and by how much of 1 its score rises."""

    instance: str
    service: str
    source: str
    target: str
    cores: dict[int, int]
    gpus: dict[str, int]
    gain: float
    reason: str


class Rebalanced(Response, frozen=True):
    """The moves, the largest gain first; with `dry_run` they were only looked at."""

    moves: tuple[BetterPlace, ...]
    dry_run: bool


class MeasuredUse(Response, frozen=True):
    """What one instance used by a report of its node. `at_s` is that node's clock."""

    node: str
    at_s: float
    use: InstanceUse


class ServiceUse(Response, frozen=True):
    """A service as it is declared, and the newest report of each of its instances."""

    service: Service
    instances: tuple[MeasuredUse, ...]


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


class ExecResult(Response, frozen=True):
    """How a command has ended. `cut`: it wrote more than is shown; `reason`: it was not started."""

    exit_code: int
    stdout: str
    stderr: str
    cut: bool = False
    reason: str = ""
