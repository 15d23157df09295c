"""What the allocator sees: every node with what is free on it, at one moment.

Free is capacity, less what is promised to placements, less what is measured to be used by
anything that is not ours. All values here are frozen: a placement makes a new `FreeNode`.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.msgpack import Encoder

from roheletd.cluster.membership import Liveness
from roheletd.fields import Protocol, StrategyName
from roheletd.model import (
    MILLICORES_PER_CORE,
    Capacity,
    Gpu,
    Neighbour,
    Node,
    Placement,
    PortBinding,
    Service,
    is_cpu_sensitive,
)

HostPort = tuple[int, Protocol]
K = TypeVar("K")

HOUSEKEEPING = 0.1
"""The share of a core that others may use without its being counted."""


class Profile(Struct, frozen=True, kw_only=True):
    """How the cluster wants to be filled; the configuration section `allocation` as a value."""

    strategy: StrategyName = "worst_fit"
    weights: Mapping[str, float] = {}
    queue_priority: int = 3
    queue_balance: int = 3
    preemption: bool = False
    search_attempts: int = 200
    foreign_cpu_max: float = 0.9
    port_min: int = 20_000
    port_max: int = 29_999


class ForeignLoad(Struct, frozen=True, kw_only=True):
    """What a node measures of use that is not ours; see `telemetry` for how it is smoothed."""

    cores_millicores: Mapping[int, int] = {}
    memory_mib: int = 0
    ports: frozenset[int] = frozenset()


class Condition(Struct, frozen=True, kw_only=True):
    """What is soft about a node. The defaults are those of one that has reported nothing.

    A `witness` runs nothing, whatever its machine could. `busy` is the measured use of each core,
    ours included, as a share of it. `refused_images` are those that the node could not get when it
    last tried, with the reason. `charge` is 0 to 1.
    """

    liveness: Liveness = "alive"
    cordoned: bool = False
    witness: bool = False
    foreign: ForeignLoad = ForeignLoad()
    busy: Mapping[int, float] = {}
    images: frozenset[str] = frozenset()
    refused_images: Mapping[str, str] = {}
    celsius: float | None = None
    throttled: bool = False
    power: Literal["unknown", "mains", "battery"] = "unknown"
    charge: float = 1.0


class FreeGpu(Struct, frozen=True, kw_only=True):
    """One device and what is left of it."""

    gpu: Gpu
    percent: int
    memory_mib: int


class FreeNode(Struct, frozen=True):
    """One node and what is left of it.

    By core id: `cores` is free millicores, `held` promised ones, `load` the larger of measured and
    promised use as a share of the core (at most 1), `holders` how many instances hold the core,
    `sensitive` how many of those are CPU-sensitive. `instances` counts them by service.

    The rest is worked out here once, because it is asked for at each judgement: `size_millicores`
    of the whole node; core ids with the `freest` first, then by id; `used` and `used_squares`, the
    sums over the cores of their used shares and of the squares of those; `gpu_free`, the free share
    of all devices.
    """

    node: Node
    condition: Condition
    size_millicores: int
    cores: Mapping[int, int]
    freest: tuple[int, ...]
    used: float
    used_squares: float
    held: Mapping[int, int]
    load: Mapping[int, float]
    holders: Mapping[int, int]
    sensitive: Mapping[int, int]
    cpu_millicores: int
    memory_mib: int
    vms_mib: int
    gpus: tuple[FreeGpu, ...]
    gpu_free: float
    ports: frozenset[HostPort]
    instances: Mapping[str, int]

    @property
    def name(self) -> str:
        return self.node.name


_FIGURES = FreeNode.__struct_fields__[1:]
_encoder = Encoder()


class Snapshot(Struct, frozen=True, kw_only=True):
    """All nodes by name, in the order of their names.

    `kinds` numbers those that are alike but for name, labels and software: whatever is worked out
    from figures for one holds for the others. Nodes with instances are of no kind. `shunned_by` is
    the other direction of `anti_affinity`: by service, those that stay apart. `homes` are instances
    that may be on one node only, with that node. `failed_on` names, by service, the nodes where it
    failed lately, and how.
    """

    nodes: Mapping[str, FreeNode]
    kinds: Mapping[str, int] = {}
    shunned_by: Mapping[str, tuple[Neighbour, ...]] = {}
    homes: Mapping[str, str] = {}
    failed_on: Mapping[str, Mapping[str, str]] = {}


def take(
    *,
    nodes: Mapping[str, Node],
    conditions: Mapping[str, Condition],
    placements: Iterable[Placement],
    profile: Profile,
    services: Iterable[Service] = (),
    homes: Mapping[str, str] = {},
    failed_on: Mapping[str, Mapping[str, str]] = {},
) -> Snapshot:
    """A snapshot of `nodes` with `placements` taken off."""
    free: dict[str, FreeNode] = {}
    kinds: dict[str, int] = {}
    known: dict[bytes, tuple[int, FreeNode]] = {}
    for name in sorted(nodes):
        node, condition = nodes[name], conditions[name]
        figures = _encoder.encode((node.capacity, condition))
        if (alike := known.get(figures)) is None:
            alike = known[figures] = (len(known), idle(node, condition, profile))
        kinds[name] = alike[0]
        free[name] = alike[1] if alike[1].node is node else _of_kind(alike[1], node)
    for placement in placements:
        if placement.node in free:
            free[placement.node] = with_placement(free[placement.node], placement)
            kinds.pop(placement.node, None)
    wishes = ((service.name, service.anti_affinity) for service in services)
    return Snapshot(
        nodes=free, kinds=kinds, shunned_by=turned(wishes), homes=homes, failed_on=failed_on
    )


def _of_kind(alike: FreeNode, node: Node) -> FreeNode:
    """The same figures for another node; they are one in memory."""
    return FreeNode(node, *[getattr(alike, name) for name in _FIGURES])


def turned(
    wishes: Iterable[tuple[str, Iterable[Neighbour]]],
) -> dict[str, tuple[Neighbour, ...]]:
    """The other direction of what services wish: by service, who wishes it, and over what."""
    found: dict[str, tuple[Neighbour, ...]] = {}
    for name, others in wishes:
        for other in others:
            wishing = Neighbour(service=name, over=other.over)
            found[other.service] = (*found.get(other.service, ()), wishing)
    return found


def with_placement(free: FreeNode, placement: Placement) -> FreeNode:
    """`free` after `placement` took its share."""
    ports = free.ports | host_ports(placement.ports) if placement.ports else free.ports
    return _changed(free, placement, 1, ports)


def without_placement(free: FreeNode, placement: Placement) -> FreeNode:
    """`free` after `placement` gave its share back."""
    others = frozenset([(port, "tcp") for port in free.condition.foreign.ports])
    return _changed(free, placement, -1, free.ports - (host_ports(placement.ports) - others))


def _changed(
    free: FreeNode, placement: Placement, sign: int, ports: frozenset[HostPort]
) -> FreeNode:
    """Positional and by hand: this runs once per placement, and keywords would double its cost."""
    cores, held, load, holders = free.cores, free.held, free.load, free.holders
    sensitive, freest, used, squares = free.sensitive, free.freest, free.used, free.used_squares
    if placement.cores:
        cores, held, load, holders = dict(cores), dict(held), dict(load), dict(holders)
        if is_cpu_sensitive(placement.sensitivity):
            sensitive = dict(sensitive)
            for core in placement.cores:
                if core in cores:
                    _count(sensitive, core, sign)
        sizes, busy = free.node.capacity.cores, free.condition.busy
        for core, need in placement.cores.items():
            if core in cores:
                cores[core] -= sign * need
                promised = held[core] = held.get(core, 0) + sign * need
                holders[core] = holders.get(core, 0) + sign
                load[core] = _load(promised, sizes[core], busy.get(core, 0.0))
                if not holders[core]:
                    del held[core], holders[core]
        freest = _freest(cores)
        used, squares = _used(cores, sizes)
    instances = dict(free.instances)
    _count(instances, placement.service, sign)
    gpus, gpu_free, shared_mib = free.gpus, free.gpu_free, 0
    if placement.gpus:
        gpus = tuple(_with_gpu(gpu, placement, sign) for gpu in gpus)
        gpu_free = _gpu_free(gpus)
        shared_mib = _shared_gpu_memory(free, placement)
    return FreeNode(
        free.node,
        free.condition,
        free.size_millicores,
        cores,
        freest,
        used,
        squares,
        held,
        load,
        holders,
        sensitive,
        free.cpu_millicores - sign * placement.cpu_millicores,
        free.memory_mib - sign * (placement.memory_mib + shared_mib),
        free.vms_mib - sign * placement.vms_mib,
        gpus,
        gpu_free,
        ports,
        instances,
    )


def idle(node: Node, condition: Condition, profile: Profile) -> FreeNode:
    """`node` with none of our instances on it."""
    foreign = condition.foreign
    # A core of no size can hold nothing, and has no share that could be used.
    sizes = {core: size for core, size in node.capacity.cores.items() if size}
    cores = sizes
    if foreign.cores_millicores:
        cores = {
            core: size - _foreign_on(core, size, foreign, profile) for core, size in sizes.items()
        }
    used, squares = _used(cores, sizes)
    gpus = tuple(
        FreeGpu(gpu=gpu, percent=gpu.percent, memory_mib=gpu.memory_mib)
        for gpu in node.capacity.gpus
    )
    return FreeNode(
        node=node,
        condition=condition,
        size_millicores=node.capacity.cpu_millicores,
        cores=cores,
        freest=_freest(cores),
        used=used,
        used_squares=squares,
        held={},
        load={core: min(1.0, condition.busy.get(core, 0.0)) for core in sizes},
        holders={},
        sensitive={},
        cpu_millicores=sum(cores.values()),
        memory_mib=node.capacity.memory_mib - foreign.memory_mib,
        vms_mib=_vms_mib(node.capacity),
        gpus=gpus,
        gpu_free=_gpu_free(gpus),
        ports=frozenset((port, "tcp") for port in foreign.ports),
        instances={},
    )


def host_ports(bindings: Iterable[PortBinding]) -> frozenset[HostPort]:
    return frozenset([(binding.host_port, binding.protocol) for binding in bindings])


def _count(counts: dict[K, int], key: K, change: int) -> None:
    """What is none is not there, so that two ways to the same books give equal ones."""
    left = counts.get(key, 0) + change
    if left:
        counts[key] = left
    else:
        counts.pop(key, None)


def _load(held: int, size: int, busy: float) -> float:
    return min(1.0, max(held / size, busy))


def _freest(cores: Mapping[int, int]) -> tuple[int, ...]:
    return tuple([core for _, core in sorted([(-left, core) for core, left in cores.items()])])


def _used(cores: Mapping[int, int], sizes: Mapping[int, int]) -> tuple[float, float]:
    shares = [1.0 - left / sizes[core] for core, left in cores.items()]
    return sum(shares), sum([share * share for share in shares])


def _gpu_free(gpus: tuple[FreeGpu, ...]) -> float:
    whole = sum([item.gpu.percent for item in gpus])
    return sum([item.percent for item in gpus]) / whole if whole else 0.0


def _foreign_on(core: int, size: int, foreign: ForeignLoad, profile: Profile) -> int:
    """CPU time is shared by weight, so a busy core still has some: load counts up to a limit.

    Housekeeping does not count: no core of a running machine is ever wholly idle, and services may
    ask for whole ones.
    """
    used = foreign.cores_millicores.get(core, 0) * size // MILLICORES_PER_CORE
    if used <= size * HOUSEKEEPING:
        return 0
    return min(used, int(size * profile.foreign_cpu_max))


def _vms_mib(capacity: Capacity) -> int:
    """A file that names no virtual memory means that nobody limits it below the resident one."""
    return capacity.vms_mib or capacity.memory_mib


def _shared_gpu_memory(free: FreeNode, placement: Placement) -> int:
    """On boards with unified memory the GPU's share comes out of system memory, once."""
    shared = any(item.gpu.shares_memory and item.gpu.id in placement.gpus for item in free.gpus)
    return placement.gpu_memory_mib if shared else 0


def _with_gpu(free: FreeGpu, placement: Placement, sign: int) -> FreeGpu:
    if free.gpu.id not in placement.gpus:
        return free
    memory_mib = 0 if free.gpu.shares_memory else placement.gpu_memory_mib
    return FreeGpu(
        gpu=free.gpu,
        percent=free.percent - sign * placement.gpus[free.gpu.id],
        memory_mib=free.memory_mib - sign * memory_mib,
    )
