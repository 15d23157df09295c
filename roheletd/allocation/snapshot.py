"""What the allocator sees: every node with what is free on it, at one moment.

Free is capacity, less what is promised to placements, less what is measured to be used by
anything that is not ours.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.membership import Liveness
from roheletd.model import (
    MILLICORES_PER_CORE,
    Capacity,
    Gpu,
    Node,
    Placement,
    PortBinding,
    Protocol,
    Service,
    StrategyName,
    demand,
)

HostPort = tuple[int, Protocol]


class Profile(Struct, frozen=True, kw_only=True):
    """How the cluster wants to be filled; the configuration section `allocation` as a value."""

    strategy: StrategyName = "worst_fit"
    weights: Mapping[str, float] = {}
    foreign_cpu_max: float = 0.9
    port_min: int = 20_000
    port_max: int = 29_999


class ForeignLoad(Struct, frozen=True, kw_only=True):
    """What a node measures of use that is not ours; see `telemetry` for how it is smoothed."""

    cores_millicores: Mapping[int, int] = {}
    memory_mib: int = 0
    ports: frozenset[int] = frozenset()


class FreeGpu(Struct, frozen=True, kw_only=True):
    """One device and what is left of it."""

    gpu: Gpu
    percent: int
    memory_mib: int


class FreeNode(Struct, frozen=True, kw_only=True):
    """One node and what is left of it. `cores` maps core id to free millicores."""

    node: Node
    liveness: Liveness
    cores: Mapping[int, int]
    cpu_millicores: int
    memory_mib: int
    vms_mib: int
    gpus: tuple[FreeGpu, ...]
    ports: frozenset[HostPort]

    @property
    def name(self) -> str:
        return self.node.name


class Snapshot(Struct, frozen=True, kw_only=True):
    """All nodes by name, in the order of their names."""

    nodes: Mapping[str, FreeNode]


def take(
    *,
    nodes: Mapping[str, Node],
    liveness: Mapping[str, Liveness],
    foreign: Mapping[str, ForeignLoad],
    placements: Iterable[Placement],
    profile: Profile,
) -> Snapshot:
    """A snapshot of `nodes` with `placements` taken off."""
    free = {
        name: _idle(nodes[name], liveness[name], foreign.get(name, ForeignLoad()), profile)
        for name in sorted(nodes)
    }
    for placement in placements:
        if placement.node in free:
            free[placement.node] = with_placement(free[placement.node], placement)
    return Snapshot(nodes=free)


def with_placement(free: FreeNode, placement: Placement) -> FreeNode:
    """`free` after `placement` took its share."""
    cores = dict(free.cores)
    for core, need in placement.cores.items():
        if core in cores:
            cores[core] -= need
    return replace(
        free,
        cores=cores,
        cpu_millicores=free.cpu_millicores - placement.cpu_millicores,
        memory_mib=free.memory_mib - placement.memory_mib - _shared_gpu_memory(free, placement),
        vms_mib=free.vms_mib - placement.vms_mib,
        gpus=tuple(_with_gpu(gpu, placement) for gpu in free.gpus),
        ports=free.ports | host_ports(placement.ports),
    )


def cpu_need(service: Service) -> int:
    """Millicores that a service takes from a node: what it names, or else the sum of its cores."""
    return service.cpu_millicores or sum(demand(service))


def host_ports(bindings: Iterable[PortBinding]) -> frozenset[HostPort]:
    return frozenset((binding.host_port, binding.protocol) for binding in bindings)


def _idle(node: Node, liveness: Liveness, foreign: ForeignLoad, profile: Profile) -> FreeNode:
    cores = {
        core: size - _foreign_on(core, size, foreign, profile)
        for core, size in node.capacity.cores.items()
    }
    return FreeNode(
        node=node,
        liveness=liveness,
        cores=cores,
        cpu_millicores=sum(cores.values()),
        memory_mib=node.capacity.memory_mib - foreign.memory_mib,
        vms_mib=_vms_mib(node.capacity),
        gpus=tuple(
            FreeGpu(gpu=gpu, percent=gpu.percent, memory_mib=gpu.memory_mib)
            for gpu in node.capacity.gpus
        ),
        ports=frozenset((port, "tcp") for port in foreign.ports),
    )


def _foreign_on(core: int, size: int, foreign: ForeignLoad, profile: Profile) -> int:
    """CPU time is shared by weight, so a busy core still has some: load counts up to a limit."""
    used = foreign.cores_millicores.get(core, 0) * size // MILLICORES_PER_CORE
    return min(used, int(size * profile.foreign_cpu_max))


def _vms_mib(capacity: Capacity) -> int:
    """A file that names no virtual memory means that nobody limits it below the resident one."""
    return capacity.vms_mib or capacity.memory_mib


def _shared_gpu_memory(free: FreeNode, placement: Placement) -> int:
    """On boards with unified memory the GPU's share comes out of system memory, once."""
    shared = any(item.gpu.shares_memory and item.gpu.id in placement.gpus for item in free.gpus)
    return placement.gpu_memory_mib if shared else 0


def _with_gpu(free: FreeGpu, placement: Placement) -> FreeGpu:
    if free.gpu.id not in placement.gpus:
        return free
    return replace(
        free,
        percent=free.percent - placement.gpus[free.gpu.id],
        memory_mib=free.memory_mib - (0 if free.gpu.shares_memory else placement.gpu_memory_mib),
    )
