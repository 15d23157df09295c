"""What is agreed here as ROHE's resources: Node, Microservice, Deployment and ConfigMap.

The field names are those of ROHE's newer generation, and cores are in percent, as its templates
have them and its ranking takes them. Nodes and microservices under a key `data` are files that
ROHE's `add-node` and `add-service` read, and ours.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from roheletd.model import Node, Placement, Service, demand
from roheletd.rohe.units import PERCENT

_MILLICORES_PER_PERCENT = 1000 // PERCENT
_SHARED, _OWN = "nonpre-emptive", "pre-emptive"


class Memory(Struct, frozen=True, kw_only=True):
    """In MB there and MiB here: taken as one, as when a file is read."""

    rss: int
    vms: int


class MemoryBooks(Struct, frozen=True, kw_only=True):
    """All of it, and what is promised of it."""

    capacity: Memory
    used: Memory


class CpuBooks(Struct, frozen=True, kw_only=True):
    """In millicores."""

    capacity: int
    used: int


class CoreBooks(Struct, frozen=True, kw_only=True):
    """In percent of a core, in the order of the core ids."""

    capacity: tuple[float, ...]
    used: tuple[float, ...]


class Accelerator(Struct, frozen=True, kw_only=True):
    """One device, in percent."""

    accelerator_type: str
    capacity: int
    used: int
    mode: str = _SHARED
    core: int = 0


class RoheNode(Struct, frozen=True, kw_only=True):
    """ROHE's Node: `services` counts the instances of each."""

    node_name: str
    mac_address: str
    status: str
    frequency: float
    accelerator: dict[str, Accelerator]
    cpu: CpuBooks
    memory: MemoryBooks
    cores: CoreBooks
    services: dict[str, int]


class PortMapping(Struct, frozen=True, kw_only=True):
    """Port of the container and port of the node."""

    con_port: int
    phy_port: int


class Microservice(Struct, frozen=True, kw_only=True):
    """ROHE's Microservice: `node` counts its instances by node, `running` those that run."""

    service_name: str
    service_id: str
    node: dict[str, int]
    status: str
    instance_ids: tuple[str, ...]
    running: int
    image: str
    ports: tuple[int, ...]
    port_mapping: tuple[PortMapping, ...]
    cpu_required: int
    accelerator_required: dict[str, int]
    memory_required: Memory
    cores_required: tuple[float, ...]
    sensitivity: int
    replicas: int


class Deployment(Struct, frozen=True, kw_only=True):
    """ROHE's Deployment: the instances of a microservice that are on one node."""

    task_name: str
    node_name: str
    service_replica: int
    image_name: str
    ports: tuple[int, ...]
    port_mapping: tuple[PortMapping, ...]


def nodes_of(nodes: Iterable[Node], placements: Iterable[Placement]) -> dict[str, RoheNode]:
    on: dict[str, list[Placement]] = {}
    for at in placements:
        on.setdefault(at.node, []).append(at)
    return {it.name: _node(it, on.get(it.name, [])) for it in nodes}


def _node(node: Node, placements: list[Placement]) -> RoheNode:
    capacity = node.capacity
    promised: Counter[int] = Counter()
    devices: Counter[str] = Counter()
    for at in placements:
        promised.update(at.cores)
        devices.update(at.gpus)
    cores = sorted(capacity.cores)
    return RoheNode(
        node_name=node.name,
        mac_address=node.mac_address or node.name,
        status="running",
        frequency=node.frequency_ghz,
        accelerator={
            gpu.id: Accelerator(
                accelerator_type=gpu.kind, capacity=gpu.percent, used=devices[gpu.id]
            )
            for gpu in capacity.gpus
        },
        cpu=CpuBooks(
            capacity=capacity.cpu_millicores, used=sum(at.cpu_millicores for at in placements)
        ),
        memory=MemoryBooks(
            capacity=Memory(rss=capacity.memory_mib, vms=capacity.vms_mib),
            used=Memory(
                rss=sum(at.memory_mib for at in placements),
                vms=sum(at.vms_mib for at in placements),
            ),
        ),
        cores=CoreBooks(
            capacity=tuple(_percent(capacity.cores[core]) for core in cores),
            used=tuple(_percent(promised[core]) for core in cores),
        ),
        services=dict(sorted(Counter(at.service for at in placements).items())),
    )


def microservices_of(
    services: Iterable[Service],
    placements: Iterable[Placement],
    running: Mapping[str, int],
    macs: Mapping[str, str],
) -> dict[str, dict[str, Microservice]]:
    """By application and name. `running` counts by service, `macs` are the nodes' addresses."""
    by_service: dict[str, list[Placement]] = {}
    for at in placements:
        by_service.setdefault(at.service, []).append(at)
    found: dict[str, dict[str, Microservice]] = {}
    for service in services:
        own = by_service.get(service.name, [])
        found.setdefault(service.application, {})[service.name] = _microservice(
            service, own, running.get(service.name, 0), macs
        )
    return found


def _microservice(
    service: Service, placements: list[Placement], running: int, macs: Mapping[str, str]
) -> Microservice:
    nodes = Counter(macs.get(at.node) or at.node for at in placements)
    return Microservice(
        service_name=service.name,
        service_id=service.name,
        node=dict(sorted(nodes.items())),
        status="running" if running >= service.replicas else "queueing",
        instance_ids=tuple(at.instance for at in placements),
        running=running,
        image=service.image,
        ports=_ports(service),
        port_mapping=_mapping(service),
        cpu_required=service.cpu_millicores or sum(service.cores),
        # ROHE places nothing where this is empty.
        accelerator_required=dict(service.accelerators) or {"gpu": 0},
        memory_required=Memory(rss=service.memory_mib, vms=service.vms_mib),
        cores_required=tuple(_percent(need) for need in service.cores or demand(service)),
        sensitivity=service.sensitivity,
        replicas=service.replicas,
    )


def deployments_of(
    services: Iterable[Service], placements: Iterable[Placement]
) -> tuple[Deployment, ...]:
    counts: dict[str, Counter[str]] = {}
    for at in placements:
        counts.setdefault(at.service, Counter())[at.node] += 1
    return tuple(
        Deployment(
            task_name=service.name,
            node_name=node,
            service_replica=count,
            image_name=service.image,
            ports=_ports(service),
            port_mapping=_mapping(service),
        )
        for service in services
        for node, count in sorted(counts.get(service.name, {}).items())
    )


def _ports(service: Service) -> tuple[int, ...]:
    return tuple(dict.fromkeys(port.container_port for port in service.ports))


def _mapping(service: Service) -> tuple[PortMapping, ...]:
    return tuple(
        PortMapping(con_port=port.container_port, phy_port=port.host_port)
        for port in service.ports
        if port.host_port
    )


def _percent(millicores: int) -> float:
    value = millicores / _MILLICORES_PER_PERCENT
    return math.floor(value) if value == math.floor(value) else value
