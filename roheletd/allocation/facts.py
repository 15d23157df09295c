"""What a user's algorithm is given of a node and of a service.

These are values: frozen, their mappings read-only, with nothing in them that leads back to the
allocator's own. They name what an algorithm may go by, so that what is inside can change without
breaking one. All but the name has a default, for the sake of a user's tests.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from msgspec import Struct

from roheletd.allocation.ask import cpu_need
from roheletd.allocation.snapshot import FreeNode
from roheletd.model import Service


class GpuFacts(Struct, frozen=True, kw_only=True):
    """One device: percent and MiB, all of it and what is left to promise."""

    id: str = ""
    kind: str = "gpu"
    model: str = ""
    percent: int = 100
    free_percent: int = 100
    memory_mib: int = 0
    free_memory_mib: int = 0
    shares_memory: bool = False


class NodeFacts(Struct, frozen=True, kw_only=True):
    """One node, as it is with all that this pass has placed so far.

    By core id: `cores` is millicores, `free_cores` what is left of them to promise, `busy` the
    measured use as a share of the core, 0 to 1. `instances` counts ours by service. `celsius` is
    the hottest zone, None where nothing measures it. `charge` is that of a battery, 0 to 1.
    """

    name: str
    arch: str = ""
    engine: str = "none"
    labels: Mapping[str, str] = {}
    frequency_ghz: float = 0.0
    cores: Mapping[int, int] = {}
    free_cores: Mapping[int, int] = {}
    busy: Mapping[int, float] = {}
    cpu_millicores: int = 0
    free_cpu_millicores: int = 0
    memory_mib: int = 0
    free_memory_mib: int = 0
    gpus: tuple[GpuFacts, ...] = ()
    images: frozenset[str] = frozenset()
    instances: Mapping[str, int] = {}
    celsius: float | None = None
    throttled: bool = False
    power: Literal["unknown", "mains", "battery"] = "unknown"
    charge: float = 1.0


class ServiceFacts(Struct, frozen=True, kw_only=True):
    """What one instance asks for. Its environment is not here: that may hold secrets.

    `cores` is millicores for each core used; `accelerators` is percent of one device by kind.
    """

    name: str
    application: str = "default"
    image: str = ""
    replicas: int = 1
    cpu_millicores: int = 0
    cores: tuple[int, ...] = ()
    memory_mib: int = 0
    vms_mib: int = 0
    accelerators: Mapping[str, int] = {}
    gpu_memory_mib: int = 0
    sensitivity: int = 0
    priority: int = 0
    labels: Mapping[str, str] = {}


class Candidate(Struct, frozen=True, kw_only=True):
    """A node that takes the service: its score, 0 to 1, and the terms that it was made of."""

    name: str
    score: float = 0.0
    terms: Mapping[str, float] = {}
    node: NodeFacts


def node_facts(free: FreeNode) -> NodeFacts:
    node, condition = free.node, free.condition
    return NodeFacts(
        name=node.name,
        arch=node.arch,
        engine=node.engine,
        labels=MappingProxyType(node.labels),
        frequency_ghz=node.frequency_ghz,
        cores=MappingProxyType(node.capacity.cores),
        free_cores=MappingProxyType(free.cores),
        busy=MappingProxyType(condition.busy),
        cpu_millicores=node.capacity.cpu_millicores,
        free_cpu_millicores=free.cpu_millicores,
        memory_mib=node.capacity.memory_mib,
        free_memory_mib=free.memory_mib,
        gpus=tuple(
            GpuFacts(
                id=item.gpu.id,
                kind=item.gpu.kind,
                model=item.gpu.model,
                percent=item.gpu.percent,
                free_percent=item.percent,
                memory_mib=item.gpu.memory_mib,
                free_memory_mib=min(item.memory_mib, free.memory_mib)
                if item.gpu.shares_memory
                else item.memory_mib,
                shares_memory=item.gpu.shares_memory,
            )
            for item in free.gpus
        ),
        images=condition.images,
        instances=MappingProxyType(free.instances),
        celsius=condition.celsius,
        throttled=condition.throttled,
        power=condition.power,
        charge=condition.charge,
    )


def service_facts(service: Service) -> ServiceFacts:
    return ServiceFacts(
        name=service.name,
        application=service.application,
        image=service.image,
        replicas=service.replicas,
        cpu_millicores=cpu_need(service),
        cores=service.cores,
        memory_mib=service.memory_mib,
        vms_mib=service.vms_mib,
        accelerators=MappingProxyType(service.accelerators),
        gpu_memory_mib=service.gpu_memory_mib,
        sensitivity=service.sensitivity,
        priority=service.priority,
        labels=MappingProxyType(service.labels),
    )
