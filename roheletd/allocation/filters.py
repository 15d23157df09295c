"""Filters: may this instance go to that node at all? A refusal is a reason a person can act on.

Each takes a node, an ask and the books, and answers with the reason, or with None where it does not
mind. `FILTERS` says beside each what it depends on: `concerns`, whether it minds anything about an
ask, and `moves`, whether its answer changes when instances come and go.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from roheletd.allocation.ask import Ask
from roheletd.allocation.books import Books
from roheletd.allocation.constraints import refusal
from roheletd.allocation.cores import assign_cores, assign_gpus, assign_ports, memory_need
from roheletd.allocation.snapshot import FreeNode, Profile
from roheletd.architecture import architecture as canonical
from roheletd.model import Neighbour, Port
from roheletd.upkeep import folders


class Filter(Struct, frozen=True):
    """`refuses` decides; the other two say when it need not be asked."""

    refuses: Callable[[FreeNode, Ask, Books], str | None]
    concerns: Callable[[Ask], object] = lambda _ask: True
    moves: bool = False


def alive(free: FreeNode, _ask: Ask, _books: Books) -> str | None:
    liveness = free.condition.liveness
    if liveness == "alive":
        return None
    if liveness == "never seen":
        return "registered, but its daemon has not reported yet"
    if liveness == "unknown":
        return "is not heard by the node that was asked, which does not vote: ask a voter"
    return f"is {liveness}"


def cordoned(free: FreeNode, _ask: Ask, _books: Books) -> str | None:
    return "is cordoned: takes no new instances" if free.condition.cordoned else None


def engine(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    if free.condition.witness:
        return "is a witness: it votes and runs nothing"
    if free.node.source == "declared":
        return None  # a person's file does not say; the node itself will
    match free.node.engine:
        case "none":
            return "runs no instances (no engine)"
        case "docker" if not ask.image:
            return "runs containers, and the service names no image"
        case "process" if not ask.has_command:
            return "has no container engine, and the service names no command to run as a process"
        case "process" if ask.container_field:
            return f"has no container engine, and the service has `{ask.container_field}`"
    return None


def home(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    return None if free.name == ask.home else f"its volume data is on {ask.home}"


def volumes(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    if free.node.source == "declared":
        return None  # as in `engine`
    if free.node.engine == "process":
        return "has no container engine, and the service has volumes"
    allowed = {folders(path) for path in free.node.host_paths}
    for path in ask.host_paths:
        whole = folders(path)
        if not any(whole[:length] in allowed for length in range(1, len(whole) + 1)):
            return f"does not allow host path {path} (`node.host_paths` in its configuration)"
    return None


def architecture(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    own = canonical(free.node.arch)
    if not own or own in ask.architectures:
        return None
    return f"is {own}, and the image is made for {', '.join(ask.architectures)}"


def constraint(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    unmet = (refusal(wanted, free.node) for wanted in ask.constraints)
    return next((reason for reason in unmet if reason), None)


def image(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    if ask.image in free.condition.images:
        return None
    why = free.condition.refused_images.get(ask.image)
    return why and f"does not have {ask.image} and could not get it: {why}"


def failing(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    return dict(ask.failed_on).get(free.name)


def affinity(free: FreeNode, ask: Ask, books: Books) -> str | None:
    return neighbours_refuse(free, ask, ask.affinity, ask.apart, books)


def neighbours_refuse(
    free: FreeNode, ask: Ask, near: Iterable[Neighbour], apart: Iterable[Neighbour], books: Books
) -> str | None:
    """The same for a part of the neighbours."""
    for other in near:
        if other.over is not None and other.over not in free.node.labels:
            return f"must be near {other.service}, and has no label {other.over}"
        begins = other.service == ask.itself and not books.where(other.service)
        if not begins and not books.near(free, other):
            return f"must be near {other.service}, which has no instance {_place(free, other)}"
    for other in apart:
        is_group = other.over is None or other.over in free.node.labels
        if is_group and books.near(free, other):
            return (
                f"must be apart from {other.service}, which has an instance {_place(free, other)}"
            )
    return None


def _place(free: FreeNode, other: Neighbour) -> str:
    if other.over is None:
        return "there"
    return f"where {other.over} is {free.node.labels[other.over]}"


def cpu(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    if ask.cpu_millicores <= free.cpu_millicores:
        return None
    return f"needs {ask.cpu_millicores} millicores, {max(0, free.cpu_millicores)} are free"


def cores(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    needs = ask.demand
    if len(needs) > len(free.cores):
        return f"needs {len(needs)} cores, it has {len(free.cores)}"
    if assign_cores(free, ask) is not None:
        return None
    freest = sorted(free.cores.items(), key=lambda item: (-item[1], item[0]))[: len(needs)]
    have = ", ".join(f"core {core}: {max(0, left)}" for core, left in freest)
    return f"needs {list(needs)} millicores on cores of their own, the freest have {have}"


def memory(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    need = ask.memory_mib
    if ask.gpu_memory_mib and ask.accelerators:
        chosen = assign_gpus(free.gpus, ask)
        kinds = dict(ask.accelerators)
        able = {item.gpu.id for item in free.gpus if item.gpu.kind in kinds}
        need = memory_need(free, ask, able if chosen is None else chosen)
    if need > free.memory_mib and need:
        return f"needs {need} MiB of memory, {max(0, free.memory_mib)} are free"
    if ask.vms_mib > free.vms_mib and ask.vms_mib:
        return f"needs {ask.vms_mib} MiB of virtual memory, {max(0, free.vms_mib)} are free"
    return None


def gpu(free: FreeNode, ask: Ask, _books: Books) -> str | None:
    if assign_gpus(free.gpus, ask) is not None:
        return None
    some = "devices" if ask.spread_devices else "one device"
    wanted = ", ".join(f"{percent} % of {kind} on {some}" for kind, percent in ask.accelerators)
    if ask.gpu_memory_mib:
        wanted += f" with {ask.gpu_memory_mib} MiB"
    have = ", ".join(
        f"{item.gpu.kind} {item.gpu.id}: {item.percent} %, {item.memory_mib} MiB"
        for item in free.gpus
    )
    return f"needs {wanted}; free: {have or 'it has no accelerator'}"


def ports(free: FreeNode, ask: Ask, books: Books) -> str | None:
    profile = books.profile
    room = profile.port_max - profile.port_min + 1 - len(free.ports)
    if len(ask.ports) <= room and ask.must_ports.isdisjoint(free.ports):
        return None  # enough whichever are taken, so that none needs to be chosen yet
    found = assign_ports(free.ports, ask, port_choices(profile))
    if not isinstance(found, Port):
        return None
    if found.host_port and found.required:
        return f"host port {found.host_port}/{found.protocol} is taken"
    return f"no host port from {profile.port_min} to {profile.port_max} is free"


def port_choices(profile: Profile) -> range:
    return range(profile.port_min, profile.port_max + 1)


FILTERS: dict[str, Filter] = {
    "alive": Filter(alive),
    "cordoned": Filter(cordoned),
    "engine": Filter(engine),
    "architecture": Filter(architecture, lambda ask: ask.architectures),
    "home": Filter(home, lambda ask: ask.home),
    "volumes": Filter(volumes, lambda ask: ask.has_volumes),
    "constraint": Filter(constraint, lambda ask: ask.constraints),
    "image": Filter(image, lambda ask: ask.image),
    "failing": Filter(failing, lambda ask: ask.failed_on),
    "affinity": Filter(affinity, lambda ask: ask.affinity or ask.apart, moves=True),
    "cpu": Filter(cpu, lambda ask: ask.cpu_millicores, moves=True),
    "cores": Filter(cores, lambda ask: ask.demand, moves=True),
    "memory": Filter(memory, moves=True),
    "gpu": Filter(gpu, lambda ask: ask.accelerators, moves=True),
    "ports": Filter(ports, lambda ask: ask.ports, moves=True),
}
