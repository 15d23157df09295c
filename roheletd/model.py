"""The nouns: what a node is, what a service asks for, where an instance was placed.

Everything here is a frozen value that can be a member of a log entry. Units: CPU in millicores
(1000 is one core), memory in MiB, GPU in percent of one device and MiB of its memory.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MILLICORES_PER_CORE = 1000

# `$(?!\n)` and not `$` alone, which Python also matches before a trailing newline.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$(?!\n)"
# A NUL ends a string in every engine's and every kernel's eyes, wherever it stands.
TEXT_PATTERN = r"^[^\x00]*$(?!\n)"
MEMBER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}\.[0-9a-f]{8}$(?!\n)"
ENV_NAME_PATTERN = r"^[^=\x00]+$(?!\n)"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_./-]{0,252}"
LABEL_PATTERN = rf"^{_LABEL}$(?!\n)"
CONSTRAINT_PATTERN = (
    rf"^node\.(?:name|arch|engine|gpus|cores|memory_mib|frequency_ghz|labels\.{_LABEL})"
    r" *(?:==|!=|>=|<=|>|<) *[^\s=<>!\x00](?:[^\x00]{0,254}[^\s\x00])?$(?!\n)"
)
MEANINGS = {
    NAME_PATTERN: "a name of letters, digits, '_' and '-', 1 to 63 characters",
    MEMBER_ID_PATTERN: "a node's name, a dot and 8 hexadecimal digits",
    TEXT_PATTERN: "text without a NUL character",
    ENV_NAME_PATTERN: "a name without '=' and NUL, 1 to 256 characters",
    LABEL_PATTERN: "a label of letters, digits, '_', '-', '.' and '/', 1 to 253 characters",
    CONSTRAINT_PATTERN: "`node.FACT OPERATOR VALUE`, where FACT is name, arch, engine, gpus, "
    "cores, memory_mib, frequency_ghz or labels.KEY, and OPERATOR is ==, !=, >=, <=, > or <",
}
"""What each pattern asks for, in words, for whoever sent something else."""

Name = Annotated[str, Meta(pattern=NAME_PATTERN, description=MEANINGS[NAME_PATTERN])]
ClusterId = Annotated[
    str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)", description="16 lower-case hex digits")
]
MemberId = Annotated[str, Meta(pattern=MEMBER_ID_PATTERN, description=MEANINGS[MEMBER_ID_PATTERN])]
Text = Annotated[
    str, Meta(pattern=TEXT_PATTERN, max_length=4096, description=MEANINGS[TEXT_PATTERN])
]
EnvName = Annotated[
    str,
    Meta(pattern=ENV_NAME_PATTERN, max_length=256, description=MEANINGS[ENV_NAME_PATTERN]),
]
EnvValue = Annotated[
    str, Meta(pattern=TEXT_PATTERN, max_length=131_000, description=MEANINGS[TEXT_PATTERN])
]
LabelKey = Annotated[str, Meta(pattern=LABEL_PATTERN, description=MEANINGS[LABEL_PATTERN])]
Constraint = Annotated[
    str, Meta(pattern=CONSTRAINT_PATTERN, description=MEANINGS[CONSTRAINT_PATTERN])
]
Millicores = Annotated[int, Meta(ge=0, le=10_000_000)]
Mebibytes = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Percent = Annotated[int, Meta(ge=0, le=100)]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
CoreId = Annotated[int, Meta(ge=0, le=65_535)]
Protocol = Literal["tcp", "udp"]
StrategyName = Literal["first_fit", "best_fit", "worst_fit"]
EngineKind = Literal["docker", "process", "none"]
Voting = Literal["auto", "never"]


class Value(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen, closed struct: an unknown key is an error that names it."""


class Port(Value, frozen=True):
    """A port that an instance listens on, and the port of the node that leads to it."""

    container_port: PortNumber
    host_port: Annotated[int, Meta(ge=0, le=65535, description="0: the allocator chooses")] = 0
    protocol: Protocol = "tcp"
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
    strategy: Annotated[
        StrategyName | None, Meta(description="null: the cluster's configured strategy")
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
    for position, port in enumerate(service.ports):
        container, host = (port.container_port, port.protocol), (port.host_port, port.protocol)
        if container in containers:
            return f"ports[{position}].container_port", f"expected each port once, got {container}"
        if port.host_port and port.required and host in hosts:
            return f"ports[{position}].host_port", f"expected each host port once, got {host}"
        containers.add(container)
        hosts.add(host)
    for position, apart in enumerate(service.anti_affinity):
        for near in service.affinity:
            # Whoever shares a node shares the value of each of its labels.
            if near.service == apart.service and near.over in (None, apart.over):
                return (
                    f"anti_affinity[{position}].service",
                    f"expected a service that `affinity` does not name, got {apart.service}",
                )
    return None


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
