"""Filters: may this instance go to that node at all? A refusal is a reason a person can act on.

Each takes a node and a service and answers with the reason, or with None where it does not mind.
"""

from collections.abc import Callable

from roheletd.allocation.cores import assign_cores, assign_gpus, assign_ports
from roheletd.allocation.snapshot import FreeNode, Profile, cpu_need
from roheletd.model import Port, Service, accelerators, demand

Filter = Callable[[FreeNode, Service, Profile], str | None]


def alive(free: FreeNode, _service: Service, _profile: Profile) -> str | None:
    if free.liveness == "alive":
        return None
    if free.liveness == "never seen":
        return "registered, but its daemon has not reported yet"
    if free.liveness == "unknown":
        return "is not heard by the node that was asked, which does not vote: ask a voter"
    return f"is {free.liveness}"


def engine(free: FreeNode, service: Service, _profile: Profile) -> str | None:
    if free.node.source == "declared":
        return None  # a person's file does not say; the node itself will
    match free.node.engine:
        case "none":
            return "runs no instances (no engine)"
        case "docker" if not service.image:
            return "runs containers, and the service names no image"
        case "process" if not service.command:
            return "has no container engine, and the service names no command to run as a process"
    return None


def cpu(free: FreeNode, service: Service, _profile: Profile) -> str | None:
    need = cpu_need(service)
    if need <= free.cpu_millicores:
        return None
    return f"needs {need} millicores, {max(0, free.cpu_millicores)} are free"


def cores(free: FreeNode, service: Service, _profile: Profile) -> str | None:
    needs = demand(service)
    if len(needs) > len(free.cores):
        return f"needs {len(needs)} cores, it has {len(free.cores)}"
    if assign_cores(free.cores, needs) is not None:
        return None
    freest = sorted(free.cores.items(), key=lambda item: (-item[1], item[0]))[: len(needs)]
    have = ", ".join(f"core {core}: {max(0, left)}" for core, left in freest)
    return f"needs {list(needs)} millicores on cores of their own, the freest have {have}"


def memory(free: FreeNode, service: Service, _profile: Profile) -> str | None:
    shared = any(item.gpu.shares_memory for item in free.gpus) and accelerators(service)
    need = service.memory_mib + (service.gpu_memory_mib if shared else 0)
    if need > free.memory_mib and need:
        return f"needs {need} MiB of memory, {max(0, free.memory_mib)} are free"
    if service.vms_mib > free.vms_mib:
        return f"needs {service.vms_mib} MiB of virtual memory, {max(0, free.vms_mib)} are free"
    return None


def gpu(free: FreeNode, service: Service, _profile: Profile) -> str | None:
    asked = accelerators(service)
    if not asked:
        return None
    if assign_gpus(free.gpus, asked, service.gpu_memory_mib) is not None:
        return None
    wanted = ", ".join(f"{percent} % of a {kind}" for kind, percent in asked.items())
    if service.gpu_memory_mib:
        wanted += f" with {service.gpu_memory_mib} MiB"
    have = ", ".join(
        f"{item.gpu.kind} {item.gpu.id}: {item.percent} %, {item.memory_mib} MiB"
        for item in free.gpus
    )
    return f"needs {wanted}; free: {have or 'it has no accelerator'}"


def ports(free: FreeNode, service: Service, profile: Profile) -> str | None:
    found = assign_ports(free.ports, service.ports, port_choices(profile))
    if not isinstance(found, Port):
        return None
    if found.host_port and found.required:
        return f"host port {found.host_port}/{found.protocol} is taken"
    return f"no host port from {profile.port_min} to {profile.port_max} is free"


def port_choices(profile: Profile) -> range:
    return range(profile.port_min, profile.port_max + 1)


FILTERS: dict[str, Filter] = {
    "alive": alive,
    "engine": engine,
    "cpu": cpu,
    "cores": cores,
    "memory": memory,
    "gpu": gpu,
    "ports": ports,
}
