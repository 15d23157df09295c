"""Every filter and every score of one node, from first principles.

A part of the slow allocator; see reference.py.
"""

from collections.abc import Iterable
from operator import eq, ge, gt, le, lt, ne
from statistics import pstdev

from roheletd.allocation.snapshot import Condition
from roheletd.model import Neighbour, Node, Service
from tests.allocation.reference_world import (
    World,
    asked_accelerators,
    choose_cores,
    choose_gpus,
    choose_ports,
    cpu_need,
    needs,
    sensitive,
)

WEIGHTS = {
    "cpu": 1.0,
    "memory": 1.0,
    "balance": 0.5,
    "contention": 8.0,
    "gpu": 1.0,
    "image": 0.5,
    "spread": 1.0,
    "temperature": 0.5,
    "power": 0.5,
}
"""Those of `scores.WEIGHTS`, once more: a change there is a change of what is promised."""
TOLERANCE = 8.0
MILLIONTHS = 1_000_000


# --- filters


def refusals(world: World, node: str, service: Service) -> set[str]:
    """Names of the filters that keep the service from the node."""
    asked = {
        "alive": world.conditions[node].liveness == "alive",
        "cordoned": not world.conditions[node].cordoned,
        "engine": node not in world.witnesses and _engine_runs(world.nodes[node], service),
        "architecture": _is_made_for(world.nodes[node], service),
        "constraint": all(_holds(world.nodes[node], each) for each in service.constraints),
        "image": not service.image
        or service.image in world.conditions[node].images
        or service.image not in world.conditions[node].refused_images,
        "affinity": _neighbours_agree(world, node, service),
        "cpu": not cpu_need(service) or cpu_need(service) <= world.free_cpu(node),
        "cores": choose_cores(world, node, service) is not None,
        "memory": _memory_fits(world, node, service),
        "gpu": choose_gpus(world, node, service) is not None,
        "ports": choose_ports(world, node, service) is not None,
    }
    return {name for name, fits in asked.items() if not fits}


def _engine_runs(node: Node, service: Service) -> bool:
    if node.source == "declared":
        return True  # what a person declared says nothing of an engine
    if node.engine == "docker":
        return bool(service.image)
    return node.engine == "process" and bool(service.command)


COMPARISONS = {">=": ge, "<=": le, "==": eq, "!=": ne, ">": gt, "<": lt}
"""The longer signs first: they are looked for in this order."""
ALIASES = {"x86_64": "amd64", "aarch64": "arm64"}


def _is_made_for(node: Node, service: Service) -> bool:
    """A node that does not say what it is may be anything."""
    own, made_for = _canonical(node.arch), [_canonical(name) for name in service.architectures]
    return not own or not made_for or own in made_for


def _canonical(arch: str) -> str:
    return ALIASES.get(arch, arch)


def _holds(node: Node, constraint: str) -> bool:
    """Words are equal or not; what is more or less is a number. A label that lacks is no value."""
    sign = next(sign for sign in COMPARISONS if sign in constraint)
    name, value = (part.strip() for part in constraint.split(sign, maxsplit=1))
    if name == "node.arch":
        value = _canonical(value)
    fact = _fact(node, name.removeprefix("node."))
    if fact is None:
        return sign == "!="
    if isinstance(fact, str) and sign in ("==", "!="):
        return bool(COMPARISONS[sign](fact, value))
    try:
        return bool(COMPARISONS[sign](float(fact), float(value)))
    except ValueError:
        return sign == "!="


def _fact(node: Node, name: str) -> str | float | None:
    if name.startswith("labels."):
        return node.labels.get(name.removeprefix("labels."))
    facts: dict[str, str | float] = {
        "name": node.name,
        "arch": _canonical(node.arch),
        "engine": node.engine,
        "gpus": len(node.capacity.gpus),
        "cores": len(node.capacity.cores),
        "memory_mib": node.capacity.memory_mib,
        "frequency_ghz": node.frequency_ghz,
    }
    return facts[name]


def _neighbours_agree(world: World, node: str, service: Service) -> bool:
    near = all(_is_near(world, node, service, each) for each in service.affinity)
    apart = not any(_is_there(world, node, each) for each in service.anti_affinity)
    wanted_apart = not any(
        _is_there(world, node, Neighbour(service=other.name, over=each.over))
        for other in world.services.values()
        for each in other.anti_affinity
        if each.service == service.name
    )
    return near and apart and wanted_apart


def _is_near(world: World, node: str, service: Service, other: Neighbour) -> bool:
    """The first of a service that wants its own kind near it begins anywhere in such a group."""
    if other.service == service.name and not world.instances(service.name, world.nodes):
        return other.over is None or other.over in world.nodes[node].labels
    return _is_there(world, node, other)


def _is_there(world: World, node: str, other: Neighbour) -> bool:
    return world.instances(other.service, world.nodes_like(node, other.over)) > 0


def _memory_fits(world: World, node: str, service: Service) -> bool:
    need = service.memory_mib
    asked = asked_accelerators(service)
    devices = [gpu for gpu in world.nodes[node].capacity.gpus if gpu.kind in asked]
    chosen = choose_gpus(world, node, service)
    if any(gpu.shares_memory for gpu in devices if chosen is None or gpu.id in chosen):
        need += service.gpu_memory_mib
    resident = not need or need <= world.free_memory(node)
    return resident and (not service.vms_mib or service.vms_mib <= world.free_vms(node))


# --- scores


def terms(world: World, node: str, service: Service) -> dict[str, float]:
    """Each 0 to 1, of a node that refuses nothing; only those that the service has a say in."""
    condition = world.conditions[node]
    cpu_left = world.free_cpu(node) - cpu_need(service)
    memory_left = _memory_left(world, node, service)
    capacity = world.nodes[node].capacity
    found = {
        "cpu": _fit(world, service, cpu_left, capacity.cpu_millicores),
        "memory": _fit(world, service, memory_left, capacity.memory_mib),
        "gpu": _gpu_term(world, node, service),
        "temperature": _temperature(condition),
        "power": condition.charge / 2 if condition.power == "battery" else 1.0,
    }
    if service.spread_over or strategy_of(world, service) != "best_fit":
        found["spread"] = 1 / (1 + _same_service(world, node, service))
    if needs(service):
        found["balance"] = _balance(world, node, service)
        found["contention"] = _contention(world, node, service)
    if service.image:
        found["image"] = 1.0 if service.image in condition.images else 0.0
    return {name: min(1.0, max(0.0, found[name])) for name in WEIGHTS if name in found}


def strategy_of(world: World, service: Service) -> str:
    return service.strategy or world.profile.strategy


def _memory_left(world: World, node: str, service: Service) -> int:
    """With all that the instance takes: a device's memory too, where it is the system's."""
    devices = world.nodes[node].capacity.gpus
    chosen = choose_gpus(world, node, service) or {}
    shares = any(gpu.shares_memory for gpu in devices if gpu.id in chosen)
    return world.free_memory(node) - service.memory_mib - shares * service.gpu_memory_mib


def _fit(world: World, service: Service, left: int, size: int) -> float:
    share = min(1.0, max(0.0, left / size)) if size else 0.0
    return 1 - share if strategy_of(world, service) == "best_fit" else share


def _balance(world: World, node: str, service: Service) -> float:
    sizes = world.nodes[node].capacity.cores
    chosen = choose_cores(world, node, service) or {}
    used = [
        (sizes[core] - left + chosen.get(core, 0)) / sizes[core]
        for core, left in world.free_cores(node).items()
    ]
    return 1 - 2 * pstdev(used)


def _contention(world: World, node: str, service: Service) -> float:
    chosen = choose_cores(world, node, service) or {}
    loads = [need * _load(world, node, core) for core, need in chosen.items()]
    crowded = sum(loads) / sum(chosen.values())
    quiet = 1 - (crowded if sensitive(service.sensitivity) else crowded / TOLERANCE)
    disturbs = any(_disturbs(world, node, core, service) for core in chosen)
    return quiet / TOLERANCE if disturbs else quiet


def _load(world: World, node: str, core: int) -> float:
    busy = world.conditions[node].busy.get(core, 0.0)
    size = world.nodes[node].capacity.cores[core]
    return min(1.0, max(busy, world.promised(node, core) / size))


def _disturbs(world: World, node: str, core: int, service: Service) -> bool:
    """One of those that share the core is sensitive to it."""
    holders = [at for at in world.on(node) if core in at.cores]
    return any(sensitive(service.sensitivity) or sensitive(at.sensitivity) for at in holders)


def _gpu_term(world: World, node: str, service: Service) -> float:
    devices = world.nodes[node].capacity.gpus
    free = {gpu.id: world.free_percent(node, gpu) for gpu in devices}
    if asked_accelerators(service):
        chosen = choose_gpus(world, node, service) or {}
        left = [free[device] - percent for device, percent in chosen.items()]
        return 1 - sum(left) / len(left) / 100
    whole = sum(gpu.percent for gpu in devices)
    return 1 - sum(free.values()) / whole if whole else 1.0


def _same_service(world: World, node: str, service: Service) -> int:
    label = service.spread_over
    if label is None:
        return world.instances(service.name, [node])
    value = world.nodes[node].labels.get(label)
    alike = [name for name, each in world.nodes.items() if each.labels.get(label) == value]
    return world.instances(service.name, alike)


def _temperature(condition: Condition) -> float:
    if condition.throttled:
        return 0.0
    if condition.celsius is None:
        return 1.0
    return (85 - condition.celsius) / (85 - 60)


def weight_of(world: World, term: str) -> float:
    return world.profile.weights.get(term, WEIGHTS[term])


def millionths(world: World, node: str, service: Service) -> int:
    """What is compared: the weighted sum, with the term that differs over label values apart."""
    weighted = {
        name: weight_of(world, name) * term for name, term in terms(world, node, service).items()
    }
    spread = weighted.pop("spread", 0.0)
    return _rounded(weighted.values()) + _rounded([spread])


def _rounded(weighted: Iterable[float]) -> int:
    """Added one after the other: `sum` of a newer Python rounds in a way of its own."""
    total = 0.0
    for value in weighted:
        total += value
    return round(total * MILLIONTHS)


def score(world: World, node: str, service: Service) -> float:
    found = terms(world, node, service)
    weights = {name: weight_of(world, name) for name in found}
    total = sum(weights.values())
    return sum(weights[name] * term for name, term in found.items()) / total if total else 0.0
