"""Every key of the configuration with its type, unit, range, default and reason.

The description at each field is the reference that `roheletd config-check --explain` prints, so
that the documentation cannot differ from the code.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from roheletd.config.base import Port, Seconds, Section
from roheletd.config.engine import EngineConfig, ImagesConfig
from roheletd.fields import AbsolutePath, Name, StrategyName
from roheletd.raft.values import Timing

Url = Annotated[
    str,
    Meta(
        pattern=r"^mqtts?://[^\s/]+/?$(?!\n)",
        description="mqtt://HOST[:PORT] or mqtts://HOST[:PORT]",
    ),
]
Host = Annotated[
    str,
    Meta(
        # A name, or two colons at least: with a single one it would be a name and a port.
        pattern=r"^([\w.-]{1,253}|(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]{2,45}(%[\w.-]{1,15})?)$(?!\n)",
        description="an IP address or a host name, without a port",
    ),
]

Algorithm = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_]\w*:[A-Za-z_]\w*$(?!\n)",
        max_length=253,
        description="module:Class, e.g. greenest:Greenest for greenest.py",
    ),
]

Weight = Annotated[float, Meta(ge=0, le=1000)]

TIMINGS: Mapping[str, Timing] = {
    "lan": Timing(heartbeat_s=0.5, election_min_s=2.0, election_max_s=4.0),
    "wifi": Timing(heartbeat_s=2.0, election_min_s=10.0, election_max_s=20.0),
}
"""What each word of `cluster.timing` stands for."""


class NodeConfig(Section, frozen=True):
    """This machine."""

    name: Annotated[
        Name | None,
        Meta(description="unique in the cluster; default: the host name up to its first dot"),
    ] = None
    address: Annotated[
        Host | None,
        Meta(
            description="where other nodes reach this one, which they need for its broker; "
            "default: the address that this machine talks to them from"
        ),
    ] = None
    labels: Annotated[
        dict[str, str],
        Meta(max_length=256, description="facts about the machine that services may ask for"),
    ] = {}
    host_paths: Annotated[
        tuple[AbsolutePath, ...],
        Meta(
            max_length=256,
            description="files and folders of this machine that instances may mount, with all "
            "below them and nothing else; default: none. Whoever may define services can read and "
            "write them",
        ),
    ] = ()


class ClusterConfig(Section, frozen=True):
    """The cluster this node belongs to."""

    name: Annotated[
        Name | None,
        Meta(
            description="second level of every MQTT topic: rohe/<name>/...; default: `edge` where "
            "this node founds its cluster, the cluster's own name where it joins one. A cluster "
            "keeps its name: another one is refused later"
        ),
    ] = None
    key_file: Annotated[
        str | None,
        Meta(
            description="file with the cluster key (64 hex digits), which signs every message; "
            "default: <data-dir>/cluster.key, made at the first start"
        ),
    ] = None
    role: Annotated[
        Literal["node", "witness"],
        Meta(
            description="node: runs instances; witness: only votes and runs nothing, so that two "
            "nodes and a small third machine survive the loss of any one"
        ),
    ] = "node"
    voter: Annotated[
        Literal["auto", "never"],
        Meta(
            description="auto: the leader makes it a voter where one is needed; never: it follows "
            "and does not vote, for a machine that is often off or has a slow disk"
        ),
    ] = "auto"
    timing: Annotated[
        Literal["lan", "wifi"],
        Meta(
            description="lan: heartbeat 0.5 s, a new election after 2 to 4 s of silence; wifi: "
            "2 s and 10 to 20 s, for links that fall silent for seconds. More saves power and "
            "finds a dead leader later; the same on all nodes"
        ),
    ] = "lan"
    promote_after_s: Annotated[
        Seconds,
        Meta(
            description="a node becomes a voter once it was alive and caught up for this long; "
            "less trusts a node sooner that comes and goes"
        ),
    ] = 30.0
    replace_after_s: Annotated[
        Seconds,
        Meta(
            description="a voter that is silent for this long gives its place to a healthy node, "
            "where there is one; less moves the vote at each reboot"
        ),
    ] = 120.0


class BrokerConfig(Section, frozen=True):
    """The MQTT broker."""

    mode: Annotated[
        Literal["auto", "external", "managed", "embedded"],
        Meta(
            description="external: the brokers in urls; managed: this daemon runs mosquitto; "
            "embedded: amqtt inside the daemon (slow, for trying out); auto: external if urls are "
            "given, else managed if mosquitto is installed, else embedded"
        ),
    ] = "auto"
    urls: Annotated[
        tuple[Url, ...],
        Meta(max_length=16, description="external brokers, tried in order"),
    ] = ()
    username: Annotated[
        str | None, Meta(description="for external brokers; managed ones use `rohe`")
    ] = None
    password_file: Annotated[
        str | None,
        Meta(description="file whose first line is the password, so that it is in no process list"),
    ] = None
    ca_file: Annotated[
        str | None, Meta(description="CA certificates for mqtts; default: the system's")
    ] = None
    listen: Annotated[
        Host | None,
        Meta(
            description="address that a managed or embedded broker listens on; default: loopback "
            "until the cluster is shared by `cluster init` or `cluster token`, then all "
            "addresses. Clients need the password either way"
        ),
    ] = None
    port: Annotated[
        Port,
        Meta(
            description="port of a managed or embedded broker; not 1883, where a broker that the "
            "system started would be in the way"
        ),
    ] = 9471
    keepalive_s: Annotated[
        int,
        Meta(
            ge=2,
            le=3600,
            description="a silent broker is noticed after up to twice this; less costs wakeups",
        ),
    ] = 10


class TelemetryConfig(Section, frozen=True):
    """What this node reports."""

    interval_s: Annotated[
        Seconds,
        Meta(description="from one report to the next; more saves power and detects less quickly"),
    ] = 1.0


class WeightsConfig(Section, frozen=True):
    """How much each score of a node counts beside the others; 0 leaves it out."""

    cpu: Annotated[Weight, Meta(description="free millicores, once the instance is there")] = 1.0
    memory: Annotated[Weight, Meta(description="free memory")] = 1.0
    balance: Annotated[Weight, Meta(description="that all cores are used alike")] = 0.5
    contention: Annotated[
        Weight,
        Meta(description="quiet cores, and above all none that a sensitive service shares"),
    ] = 8.0
    gpu: Annotated[Weight, Meta(description="full devices, and none for who needs none")] = 1.0
    image: Annotated[Weight, Meta(description="that the image is there already")] = 0.5
    spread: Annotated[Weight, Meta(description="no other instance of the service nearby")] = 1.0
    temperature: Annotated[Weight, Meta(description="below 60 °C, and not throttled")] = 0.5
    power: Annotated[Weight, Meta(description="mains, or a full battery")] = 0.5
    user: Annotated[Weight, Meta(description="what the configured algorithm says")] = 1.0


class AllocationConfig(Section, frozen=True):
    """How the leader places instances."""

    strategy: Annotated[
        Literal[StrategyName, 0, 1, 2],
        Meta(
            description="worst_fit: the emptiest node, which spreads load; best_fit: the fullest "
            "that fits, which keeps room for large services; first_fit: the first by name. ROHE's "
            "numbers keep what ROHE did with them: 0 first_fit, 1 worst_fit, 2 best_fit"
        ),
    ] = "worst_fit"
    queue_priority: Annotated[
        int,
        Meta(
            ge=0,
            le=3,
            description="which services of one priority have their turn first: 0 none, 1 those "
            "sensitive to CPU, 2 to memory, 3 to either",
        ),
    ] = 3
    queue_balance: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="after so many of those in a row one other service has its turn, so that "
            "neither kind starves; more lets the others wait longer",
        ),
    ] = 3
    preemption: Annotated[
        bool,
        Meta(
            description="what fits nowhere may displace instances of lower priority; else it waits"
        ),
    ] = False
    search_attempts: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="how often some nodes are emptied and filled anew in thought, where a new "
            "service would be left out or a sensitive one share a core; more places more and "
            "thinks longer; 0: never",
        ),
    ] = 200
    rebalance_moves: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="instances per hour that the leader may move by itself to where they "
            "score better; each is restarted there; 0: none",
        ),
    ] = 0
    algorithm: Annotated[
        Algorithm | None,
        Meta(description="your own filter, score, choice or whole algorithm; null: the built-in"),
    ] = None
    algorithm_dir: Annotated[
        str | None, Meta(description="folder of that file; default: <data-dir>/userModule")
    ] = None
    foreign_cpu_max: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="measured load that is not ours takes at most this share of a core from "
            "what can be promised: CPU time can be shared, so a busy core still has some",
        ),
    ] = 0.9
    port_min: Annotated[
        Port, Meta(description="first host port given out where a service leaves the choice")
    ] = 20_000
    port_max: Annotated[Port, Meta(description="last such host port")] = 29_999
    weights: WeightsConfig = WeightsConfig()


class StreamsConfig(Section, frozen=True):
    """Logs, events and commands that other nodes ask this one for, over MQTT."""

    bytes_per_s_max: Annotated[
        int,
        Meta(
            ge=4096,
            le=1 << 30,
            description="what each may cost the broker: of a log that is followed, lines beyond it "
            "are left out and counted; all else takes longer",
        ),
    ] = 262_144
    open_max: Annotated[
        int, Meta(ge=0, le=1000, description="how many at the same time; 0: none")
    ] = 16


class DiscoveryConfig(Section, frozen=True):
    """How services are found: a stable port for each on every node, and a name."""

    forwarder: Annotated[
        bool,
        Meta(
            description="this node listens on the service ports of the cluster and leads each "
            "connection to a healthy instance, on whichever node that is"
        ),
    ] = True
    listen: Annotated[
        Host, Meta(description="address of the service ports; containers do not reach loopback")
    ] = "0.0.0.0"  # noqa: S104 - as published ports of containers
    connections_max: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="open at a time over all service ports; more are refused. Each takes two "
            "file descriptors, and up to 1 MB while its receiver is slow",
        ),
    ] = 1000
    wait_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="how long a connection waits where no instance is healthy, as between two "
            "of an update; more hides longer gaps and tells clients later; 0: refused at once",
        ),
    ] = 5.0
    dns: Annotated[
        bool,
        Meta(
            description="this node answers for SERVICE.CLUSTER.rohe, and is the resolver of the "
            "containers that it makes; it asks the machine's own resolvers for all other names"
        ),
    ] = True
    dns_listen: Annotated[
        Host | None,
        Meta(
            description="address of the resolver; default: where the engine's containers reach "
            "this node, and none with engine process"
        ),
    ] = None
    dns_port: Annotated[
        Port, Meta(description="on another port than 53 containers cannot use it and do not get it")
    ] = 53


class ApiConfig(Section, frozen=True):
    """The local HTTP endpoint. The unix socket <data-dir>/roheletd.sock is always there."""

    enabled: Annotated[
        bool, Meta(description="also listen on TCP; the unix socket stays either way")
    ] = True
    listen: Annotated[
        str,
        Meta(
            description="address of the TCP endpoint; it has no TLS, so keep it on the machine. "
            "On another address than loopback, reads need the token as well"
        ),
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the TCP endpoint")] = 9470


class Config(Section, frozen=True):
    """The whole file. Every key may be left out."""

    node: NodeConfig = NodeConfig()
    cluster: ClusterConfig = ClusterConfig()
    broker: BrokerConfig = BrokerConfig()
    engine: EngineConfig = EngineConfig()
    images: ImagesConfig = ImagesConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    allocation: AllocationConfig = AllocationConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    api: ApiConfig = ApiConfig()
    streams: StreamsConfig = StreamsConfig()
    data_dir: Annotated[
        str, Meta(description="where the log, the key and the socket live; --data-dir overrides")
    ] = "/var/lib/roheletd"
    event_loop: Annotated[
        Literal["asyncio", "uvloop"],
        Meta(
            description="uvloop moves twice the messages for 2 MB more memory: worth it where one "
            "leader hears hundreds of nodes"
        ),
    ] = "asyncio"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="what goes to standard error, and so to the journal"),
    ] = "info"
