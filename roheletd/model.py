"""The nouns: what a node is, what a service asks for, where an instance was placed.

Everything here is a frozen value that can be a member of a log entry. Units: CPU in millicores
(1000 is one core), memory in MiB, GPU in percent of one device and MiB of its memory.
"""

from typing import Annotated, Literal

from msgspec import Meta

from roheletd.fields import (
    AbsolutePath,
    Constraint,
    CoreId,
    EngineKind,
    EnvName,
    EnvValue,
    HostName,
    LabelKey,
    Mebibytes,
    MemberId,
    Millicores,
    Name,
    Percent,
    PortNumber,
    Protocol,
    StopSignal,
    StrategyName,
    Text,
    User,
    Value,
    Voting,
    WorkingDir,
)
from roheletd.upkeep import (
    Dependency,
    HealthCheck,
    Inclusion,
    UpdatePolicy,
    Volume,
    contradictory_check,
    contradictory_inclusion,
    contradictory_program,
    contradictory_volume,
)

MILLICORES_PER_CORE = 1000


class Port(Value, frozen=True):
    """A port that an instance listens on, and the port of the node that leads to it."""

    container_port: PortNumber
    host_port: Annotated[int, Meta(ge=0, le=65535, description="0: the allocator chooses")] = 0
    protocol: Protocol = "tcp"
    service_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="port of every node that leads to a healthy instance, wherever it is; "
            "0: the cluster chooses",
        ),
    ] = 0
    required: Annotated[
        bool, Meta(description="false: another host port will do where this one is taken")
    ] = True


class Neighbour(Value, frozen=True):
    """Another service, and how near is near: on the same node, or on nodes of one label value."""

    service: Name
    over: Annotated[
        LabelKey | None,
        Meta(description="label whose values divide the nodes, e.g. zone; null: the node itself"),
    ] = None


class Service(Value, frozen=True):
    """What a user wants running: an image or a command, how often, and what one copy needs."""

    name: Name
    application: Name = "default"
    image: Annotated[
        Text, Meta(description="container image; empty runs only on the process engine")
    ] = ""
    command: Annotated[
        tuple[Text, ...], Meta(max_length=256, description="replaces the image's own command")
    ] = ()
    entrypoint: Annotated[
        Annotated[tuple[Text, ...], Meta(max_length=256)] | None,
        Meta(
            description="goes before `command` in the place of the image's own entrypoint and "
            "command; []: nothing goes before it; null: the image's own"
        ),
    ] = None
    user: Annotated[
        User | None,
        Meta(description="who runs it: USER, UID, USER:GROUP or UID:GID; null: the image's own"),
    ] = None
    working_dir: Annotated[
        WorkingDir | None,
        Meta(description="where it begins; a container makes it; null: the image's own"),
    ] = None
    hostname: Annotated[
        HostName | None,
        Meta(description="what an instance calls itself; null: the engine chooses"),
    ] = None
    init: Annotated[
        bool,
        Meta(
            description="an init program is process 1 and passes signals on; false: the image "
            "brings its own, as those with s6-overlay do"
        ),
    ] = True
    read_only: Annotated[
        bool, Meta(description="an instance writes to its volumes alone, not to its other files")
    ] = False
    env: Annotated[dict[EnvName, EnvValue], Meta(max_length=1024)] = {}
    replicas: Annotated[int, Meta(ge=0, le=10_000)] = 1
    cpu_millicores: Annotated[
        Millicores, Meta(description="0: the sum of `cores`; both 0: no CPU is promised")
    ] = 0
    cores: Annotated[
        tuple[Millicores, ...],
        Meta(max_length=1024, description="millicores needed on each core used, e.g. [500, 50]"),
    ] = ()
    memory_mib: Annotated[
        Mebibytes, Meta(description="resident memory, also the engine's limit; 0: no limit")
    ] = 0
    vms_mib: Annotated[Mebibytes, Meta(description="virtual memory; 0: not asked")] = 0
    accelerators: Annotated[
        dict[Name, Percent],
        Meta(max_length=16, description="type to percent of one device, e.g. {gpu: 30}"),
    ] = {}
    gpu_memory_mib: Mebibytes = 0
    spread_devices: Annotated[
        bool,
        Meta(description="an accelerator's percent may come from several devices of one node"),
    ] = False
    sensitivity: Annotated[int, Meta(ge=0, le=3, description="0 none, 1 CPU, 2 memory, 3 both")] = 0
    priority: Annotated[
        int, Meta(ge=0, le=1000, description="higher ones are placed first; see preemption")
    ] = 0
    architectures: Annotated[
        tuple[Name, ...],
        Meta(max_length=16, description="what the image is made for, e.g. [arm64]; empty: any"),
    ] = ()
    constraints: Annotated[
        tuple[Constraint, ...],
        Meta(max_length=64, description="what a node must be, e.g. `node.labels.zone == hall`"),
    ] = ()
    affinity: Annotated[
        tuple[Neighbour, ...],
        Meta(max_length=64, description="only where an instance of each of these services is"),
    ] = ()
    anti_affinity: Annotated[
        tuple[Neighbour, ...],
        Meta(max_length=64, description="only where no instance of any of these services is"),
    ] = ()
    spread_over: Annotated[
        LabelKey | None,
        Meta(description="label over whose values the replicas are spread; null: over nodes"),
    ] = None
    all_or_nothing: Annotated[
        bool,
        Meta(description="the services of this application start together, or none of them does"),
    ] = False
    ports: Annotated[tuple[Port, ...], Meta(max_length=256)] = ()
    labels: Annotated[dict[Text, Text], Meta(max_length=256)] = {}
    health: Annotated[
        HealthCheck | None, Meta(description="null: an instance that runs is healthy")
    ] = None
    update: UpdatePolicy = UpdatePolicy()
    min_available: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | None,
        Meta(
            description="healthy instances that updates and drains leave; null: all but those "
            "that `update.parallel` replaces at a time",
        ),
    ] = None
    move_after: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="failures in a row of an instance until another node is tried; 0: never",
        ),
    ] = 5
    depends_on: Annotated[tuple[Dependency, ...], Meta(max_length=64)] = ()
    volumes: Annotated[tuple[Volume, ...], Meta(max_length=64)] = ()
    config_maps: Annotated[tuple[Inclusion, ...], Meta(max_length=64)] = ()
    secrets: Annotated[tuple[Inclusion, ...], Meta(max_length=64)] = ()
    pull: Annotated[
        Literal["missing", "always", "never"],
        Meta(description="when an image is fetched from its registry"),
    ] = "missing"
    warm_spare: Annotated[
        bool,
        Meta(description="the next-best node has the image and a stopped copy ready for failover"),
    ] = False
    strategy: Annotated[
        StrategyName | None, Meta(description="null: the cluster's configured strategy")
    ] = None
    stop_signal: Annotated[
        StopSignal | None, Meta(description="null: the image's own, or else SIGTERM")
    ] = None
    stop_grace_s: Annotated[
        float, Meta(ge=0, le=3600, description="from the stop signal to the kill")
    ] = 10.0
    reschedule_after_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="from the loss of a node until its instances are placed elsewhere; more "
            "keeps work in place through longer outages",
        ),
    ] = 5.0
    on_isolation: Annotated[
        Literal["keep", "stop"],
        Meta(
            description="what a node that sees no leader does with a running instance; stop: it "
            "ends about when another node starts it"
        ),
    ] = "keep"


class Gpu(Value, frozen=True):
    """One device. On boards with unified memory `memory_mib` is system memory, counted once."""

    id: str
    kind: Name = "gpu"
    model: str = ""
    percent: Percent = 100
    memory_mib: Mebibytes = 0
    shares_memory: bool = False


class Capacity(Value, frozen=True):
    """What a node has. `cores` maps core id to millicores; ids may have holes (offline cores)."""

    cores: dict[CoreId, Millicores]
    memory_mib: Mebibytes
    vms_mib: Mebibytes = 0
    gpus: tuple[Gpu, ...] = ()

    @property
    def cpu_millicores(self) -> int:
        return sum(self.cores.values())


class Node(Value, frozen=True):
    """A registered machine. `declared` came from a person's file, `measured` from its daemon."""

    name: Name
    capacity: Capacity
    arch: str = ""
    engine: EngineKind = "none"
    labels: Annotated[dict[Text, Text], Meta(max_length=256)] = {}
    host_paths: Annotated[
        tuple[AbsolutePath, ...],
        Meta(max_length=256, description="what its own configuration lets instances mount"),
    ] = ()
    mac_address: str = ""
    frequency_ghz: Annotated[float, Meta(ge=0, le=100)] = 0.0
    source: Literal["declared", "measured"] = "measured"


class Member(Value, frozen=True):
    """A machine that takes part in the cluster. A person sees `name`, the log knows `id`.

    The digits of the id are drawn when a data directory becomes a member, so that a machine that
    lost its disk is never taken for the one it was. `witness`: it votes and runs nothing.
    """

    name: Name
    id: MemberId
    broker: Annotated[
        Text, Meta(description="URL at which others reach this node's own broker; empty: none")
    ] = ""
    voter: Voting = "auto"
    witness: bool = False
    version: Text = ""


class PortBinding(Value, frozen=True):
    """Host port chosen for one port of an instance."""

    container_port: PortNumber
    host_port: PortNumber
    protocol: Protocol = "tcp"


class Placement(Value, frozen=True):
    """One instance of a service on one node, with all that it was given of the node.

    `revision` is the log index of the service definition it was made from; `placed_at` is the
    log index of the entry that committed it: the newest placement of an instance wins.
    """

    instance: str
    service: Name
    node: Name
    revision: int
    cores: dict[CoreId, Millicores] = {}
    gpus: dict[str, Percent] = {}
    ports: tuple[PortBinding, ...] = ()
    cpu_millicores: Millicores = 0
    memory_mib: Mebibytes = 0
    vms_mib: Mebibytes = 0
    gpu_memory_mib: Mebibytes = 0
    sensitivity: Annotated[int, Meta(ge=0, le=3)] = 0
    score: float = 0.0
    terms: dict[str, float] = {}
    placed_at: int = 0


def contradiction(service: Service) -> tuple[str, str] | None:
    """The field of a service that no node could ever satisfy, and what would have been right."""
    containers, hosts = set(), set()
    stable: set[tuple[int, str]] = set()
    for position, port in enumerate(service.ports):
        container, host = (port.container_port, port.protocol), (port.host_port, port.protocol)
        if container in containers:
            return f"ports[{position}].container_port", f"expected each port once, got {container}"
        if port.host_port and port.required and host in hosts:
            return f"ports[{position}].host_port", f"expected each host port once, got {host}"
        if wrong := _wrong_service_port(service, port, stable):
            return f"ports[{position}].service_port", wrong
        containers.add(container)
        hosts.add(host)
        stable.add((port.service_port, port.protocol))
    for position, apart in enumerate(service.anti_affinity):
        for near in service.affinity:
            # Whoever shares a node shares the value of each of its labels.
            if near.service == apart.service and near.over in (None, apart.over):
                return (
                    f"anti_affinity[{position}].service",
                    f"expected a service that `affinity` does not name, got {apart.service}",
                )
    return (
        contradictory_program(service.entrypoint, service.command, service.user)
        or contradictory_volume(service.volumes)
        or contradictory_inclusion(service.config_maps, service.secrets, service.volumes)
        or contradictory_check(service.health)
    )


def _wrong_service_port(service: Service, port: Port, before: set[tuple[int, str]]) -> str:
    """`before` are those of the ports that stand before it."""
    if not port.service_port:
        return ""
    if (port.service_port, port.protocol) in before:
        return f"expected each service port once, got {port.service_port}"
    if any(
        port.service_port == it.host_port and port.protocol == it.protocol for it in service.ports
    ):
        return f"expected another number than that of a host_port, got {port.service_port}"
    return ""


def is_cpu_sensitive(sensitivity: int) -> bool:
    return sensitivity in (1, 3)


def is_memory_sensitive(sensitivity: int) -> bool:
    return sensitivity in (2, 3)


def node_of(member_id: str) -> str:
    """The name of the node that a member id belongs to."""
    return member_id.rpartition(".")[0]


def accelerators(service: Service) -> dict[str, int]:
    """Kind to percent of what is really asked for: none of something is nothing."""
    return {kind: percent for kind, percent in service.accelerators.items() if percent}


def demand(service: Service) -> tuple[int, ...]:
    """Millicores per core, largest first; a service with no vector fills whole cores in turn."""
    if needs := tuple(sorted((need for need in service.cores if need > 0), reverse=True)):
        return needs
    whole, rest = divmod(service.cpu_millicores, MILLICORES_PER_CORE)
    return (MILLICORES_PER_CORE,) * whole + ((rest,) if rest else ())
