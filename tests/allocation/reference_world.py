"""What is free, and what an instance would get of it: counted anew from all that is placed.

A part of the slow allocator; see reference.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from roheletd.allocation.cores import EDITION_PORTS
from roheletd.allocation.snapshot import Condition, Profile
from roheletd.model import Gpu, Node, Placement, Port, PortBinding, Service

CORE = 1000


# --- what a service asks for


def needs(service: Service) -> list[int]:
    """Millicores, each for a core of its own, the largest first."""
    if service.cores:
        return sorted((need for need in service.cores if need), reverse=True)
    found = [CORE] * (service.cpu_millicores // CORE)
    rest = service.cpu_millicores % CORE
    return [*found, rest] if rest else found


def cpu_need(service: Service) -> int:
    return service.cpu_millicores or sum(service.cores)


def asked_accelerators(service: Service) -> dict[str, int]:
    return {kind: percent for kind, percent in service.accelerators.items() if percent > 0}


def sensitive(sensitivity: int) -> bool:
    return sensitivity in (1, 3)


# --- what is free


@dataclass
class World:
    """All that is known while one pass decides. `placed` grows and shrinks with each decision."""

    nodes: dict[str, Node]
    conditions: Mapping[str, Condition]
    services: dict[str, Service]
    profile: Profile
    placed: list[Placement]
    witnesses: frozenset[str]
    seed: int = 0

    def on(self, node: str) -> list[Placement]:
        return [at for at in self.placed if at.node == node]

    def foreign(self, node: str, core: int) -> int:
        """Millicores of a core that others use, up to the part that is believed."""
        size = self.nodes[node].capacity.cores[core]
        measured = self.conditions[node].foreign.cores_millicores.get(core, 0)
        used = measured * size // CORE
        # Up to a tenth of a core is housekeeping.
        return min(used, int(size * self.profile.foreign_cpu_max)) if used > size / 10 else 0

    def promised(self, node: str, core: int) -> int:
        return sum(at.cores.get(core, 0) for at in self.on(node))

    def free_core(self, node: str, core: int) -> int:
        size = self.nodes[node].capacity.cores[core]
        return size - self.foreign(node, core) - self.promised(node, core)

    def free_cores(self, node: str) -> dict[int, int]:
        """Of cores that have any size: one without is none."""
        cores = self.nodes[node].capacity.cores
        return {core: self.free_core(node, core) for core, size in cores.items() if size}

    def free_cpu(self, node: str) -> int:
        cores = self.nodes[node].capacity.cores
        ours = sum(at.cpu_millicores for at in self.on(node))
        return sum(size - self.foreign(node, core) for core, size in cores.items()) - ours

    def free_memory(self, node: str) -> int:
        total = self.nodes[node].capacity.memory_mib
        ours = sum(at.memory_mib + self.shared_memory(at) for at in self.on(node))
        return total - self.conditions[node].foreign.memory_mib - ours

    def shared_memory(self, at: Placement) -> int:
        """System memory that an instance has as the memory of its device."""
        devices = self.nodes[at.node].capacity.gpus
        shares = any(gpu.shares_memory for gpu in devices if gpu.id in at.gpus)
        return at.gpu_memory_mib if shares else 0

    def free_vms(self, node: str) -> int:
        capacity = self.nodes[node].capacity
        total = capacity.vms_mib or capacity.memory_mib
        return total - sum(at.vms_mib for at in self.on(node))

    def free_percent(self, node: str, gpu: Gpu) -> int:
        return gpu.percent - sum(at.gpus.get(gpu.id, 0) for at in self.on(node))

    def free_gpu_memory(self, node: str, gpu: Gpu) -> int:
        return gpu.memory_mib - sum(at.gpu_memory_mib for at in self.on(node) if gpu.id in at.gpus)

    def taken_ports(self, node: str) -> set[tuple[int, str]]:
        others = {(port, "tcp") for port in self.conditions[node].foreign.ports}
        ours = {(b.host_port, b.protocol) for at in self.on(node) for b in at.ports}
        return others | ours

    def nodes_like(self, node: str, label: str | None) -> set[str]:
        """The node itself, or all with its value of the label; none where it has no value."""
        if label is None:
            return {node}
        value = self.nodes[node].labels.get(label)
        if value is None:
            return set()
        return {name for name, each in self.nodes.items() if each.labels.get(label) == value}

    def instances(self, service: str, nodes: Iterable[str]) -> int:
        where = set(nodes)
        return sum(at.service == service and at.node in where for at in self.placed)


# --- what an instance would get


def choose_cores(world: World, node: str, service: Service) -> dict[int, int] | None:
    free = world.free_cores(node)
    chosen: dict[int, int] = {}
    for need in needs(service):
        able = [core for core in free if core not in chosen and free[core] >= need]
        if not able:
            return None
        chosen[min(able, key=lambda core: _dislike(world, node, core, service))] = need
    return chosen


def _dislike(world: World, node: str, core: int, service: Service) -> tuple[int, int, int]:
    """Who is there already comes first; then the freest."""
    return _company(world, node, core, service), -world.free_core(node, core), core


def _company(world: World, node: str, core: int, service: Service) -> int:
    """How little a service likes who is on a core already."""
    holders = [at for at in world.on(node) if core in at.cores]
    with_sensitive = any(sensitive(at.sensitivity) for at in holders)
    if sensitive(service.sensitivity):
        return 2 if with_sensitive else 1 if holders else 0
    return 1 if with_sensitive else 0


def choose_gpus(world: World, node: str, service: Service) -> dict[str, int] | None:
    chosen: dict[str, int] = {}
    for kind, percent in asked_accelerators(service).items():
        able = [
            gpu
            for gpu in world.nodes[node].capacity.gpus
            if gpu.kind == kind
            and (gpu.shares_memory or world.free_gpu_memory(node, gpu) >= service.gpu_memory_mib)
        ]
        found = (_over_devices if service.spread_devices else _one_device)(
            {gpu.id: world.free_percent(node, gpu) for gpu in able}, percent
        )
        if found is None:
            return None
        chosen |= found
    return chosen


def _one_device(free: dict[str, int], percent: int) -> dict[str, int] | None:
    able = [device for device, left in free.items() if left >= percent]
    if not able:
        return None
    return {min(able, key=lambda device: (free[device], device)): percent}


def _over_devices(free: dict[str, int], percent: int) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for device in sorted(free, key=lambda device: (-free[device], device)):
        part = min(free[device], percent - sum(found.values()))
        if part > 0:
            found[device] = part
    return found if sum(found.values()) == percent else None


def choose_ports(
    world: World, node: str, service: Service, revision: int = 0
) -> tuple[PortBinding, ...] | None:
    """Those that must be had first, then the wishes, then what is left for any.

    All numbers are tried in a circle, from the one where this edition begins.
    """
    taken = world.taken_ports(node)
    circle = list(range(world.profile.port_min, world.profile.port_max + 1))
    begin = revision * EDITION_PORTS % len(circle)
    circle = circle[begin:] + circle[:begin]
    chosen: dict[int, int] = {}
    for position in sorted(range(len(service.ports)), key=lambda at: _choosiness(service, at)):
        port = service.ports[position]
        numbers = [port.host_port] if port.host_port else []
        if not (port.host_port and port.required):
            numbers += circle
        free = [number for number in numbers if (number, port.protocol) not in taken]
        if not free:
            return None
        chosen[position] = free[0]
        taken.add((free[0], port.protocol))
    return tuple(_binding(port, chosen[position]) for position, port in enumerate(service.ports))


def _choosiness(service: Service, position: int) -> int:
    port = service.ports[position]
    return 2 if not port.host_port else 0 if port.required else 1


def _binding(port: Port, number: int) -> PortBinding:
    return PortBinding(container_port=port.container_port, host_port=number, protocol=port.protocol)
