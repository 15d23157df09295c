"""The allocator once more, slow and obvious, to tell whether the fast one decides right.

Written from roheletd/allocation/README.md alone. For every single instance, every node is judged
from nothing but its capacity, its condition and all that is placed there. Nothing is remembered
from one question to the next: no heap, no cache, no books.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import eq, ge, gt, le, lt, ne
from random import Random
from statistics import pstdev

from roheletd.allocation.snapshot import Condition, Profile
from roheletd.cluster.state import ClusterState, Definition, instance_name, slot
from roheletd.model import Gpu, Neighbour, Node, Placement, Port, PortBinding, Service

WEIGHTS = {
    "cpu": 1.0,
    "memory": 1.0,
    "balance": 0.5,
    "contention": 1.0,
    "gpu": 1.0,
    "image": 0.5,
    "spread": 1.0,
    "temperature": 0.5,
    "power": 0.5,
}
"""Those of `scores.WEIGHTS`, once more: a change there is a change of what is promised."""
SENSITIVE_CONTENTION = 8.0
MILLIONTHS = 1_000_000
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
        return min(measured * size // CORE, int(size * self.profile.foreign_cpu_max))

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
        core = min(able, key=lambda core: (_company(world, node, core, service), -free[core], core))
        chosen[core] = need
    return chosen


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


def choose_ports(world: World, node: str, service: Service) -> tuple[PortBinding, ...] | None:
    """Those that must be had first, then the wishes, then what is left for any."""
    taken = world.taken_ports(node)
    chosen: dict[int, int] = {}
    for position in sorted(range(len(service.ports)), key=lambda at: _choosiness(service, at)):
        port = service.ports[position]
        choices = range(world.profile.port_min, world.profile.port_max + 1)
        numbers = [port.host_port] if port.host_port else []
        if not (port.host_port and port.required):
            numbers += choices
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
        "spread": 1 / (1 + _same_service(world, node, service)),
        "temperature": _temperature(condition),
        "power": condition.charge / 2 if condition.power == "battery" else 1.0,
    }
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
    if not chosen:
        return 1.0
    suffered = sum(need * _crowding(world, node, core, service) for core, need in chosen.items())
    return 1 - suffered / sum(chosen.values())


def _crowding(world: World, node: str, core: int, service: Service) -> float:
    holders = [at for at in world.on(node) if core in at.cores]
    if sensitive(service.sensitivity) and holders:
        return 1.0
    if any(sensitive(at.sensitivity) for at in holders):
        return 1.0
    busy = world.conditions[node].busy.get(core, 0.0)
    size = world.nodes[node].capacity.cores[core]
    return min(1.0, max(busy, world.promised(node, core) / size))


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


def weight_of(world: World, service: Service, term: str) -> float:
    weight = world.profile.weights.get(term, WEIGHTS[term])
    is_heavier = term == "contention" and sensitive(service.sensitivity)
    return weight * SENSITIVE_CONTENTION if is_heavier else weight


def millionths(world: World, node: str, service: Service) -> int:
    """What is compared: the weighted sum, with the term that differs over label values apart."""
    weighted = {
        name: weight_of(world, service, name) * term
        for name, term in terms(world, node, service).items()
    }
    spread = weighted.pop("spread")
    return _rounded(weighted.values()) + _rounded([spread])


def _rounded(weighted: Iterable[float]) -> int:
    """Added one after the other: `sum` of a newer Python rounds in a way of its own."""
    total = 0.0
    for value in weighted:
        total += value
    return round(total * MILLIONTHS)


def score(world: World, node: str, service: Service) -> float:
    found = terms(world, node, service)
    weights = {name: weight_of(world, service, name) for name in found}
    total = sum(weights.values())
    return sum(weights[name] * term for name, term in found.items()) / total if total else 0.0


# --- one instance


def tie(seed: int, node: str) -> int:
    return int.from_bytes(blake2b(f"{seed}/{node}".encode(), digest_size=8).digest(), "big")


def choose(world: World, service: Service) -> str | None:
    able = [node for node in world.nodes if not refusals(world, node, service)]
    if not able:
        return None
    if strategy_of(world, service) == "first_fit":
        return min(able)
    return min(able, key=lambda node: (-millionths(world, node, service), tie(world.seed, node)))


def placed(world: World, node: str, service: Service, name: str, revision: int) -> Placement:
    return Placement(
        instance=name,
        service=service.name,
        node=node,
        revision=revision,
        cores=choose_cores(world, node, service) or {},
        gpus=choose_gpus(world, node, service) or {},
        ports=choose_ports(world, node, service) or (),
        cpu_millicores=cpu_need(service),
        memory_mib=service.memory_mib,
        vms_mib=service.vms_mib,
        gpu_memory_mib=service.gpu_memory_mib if asked_accelerators(service) else 0,
        sensitivity=service.sensitivity,
        score=score(world, node, service),
        terms=terms(world, node, service),
    )


# --- one pass


@dataclass
class Turn:
    """One service and what it lacks: instance names, and the place that each leaves, if any."""

    known: Definition
    kept: list[Placement]
    lacking: list[tuple[str, Placement | None]]

    @property
    def service(self) -> Service:
        return self.known.service


@dataclass
class Decision:
    """The whole of one pass. `refused` is, by service and node, the filters that refuse."""

    placements: list[Placement] = field(default_factory=list)
    released: set[str] = field(default_factory=set)
    refused: dict[str, dict[str, set[str]]] = field(default_factory=dict)


def decide(
    state: ClusterState,
    conditions: Mapping[str, Condition],
    profile: Profile,
    rng: Random,
    *,
    lost_for_s: Mapping[str, float],
    displaced: frozenset[str],
) -> Decision:
    turns = [_turn(state, known, lost_for_s, displaced) for known in state.services.values()]
    world = World(
        nodes=state.nodes,
        conditions=conditions,
        services={name: known.service for name, known in state.services.items()},
        profile=profile,
        placed=[at for turn in turns for at in turn.kept],
        witnesses=witnesses_of(state),
        seed=rng.getrandbits(64),
    )
    decision = Decision()
    for party, is_whole in parties(
        in_queue([turn for turn in turns if turn.lacking], profile), world
    ):
        _serve(world, party, decision, is_whole=is_whole)
    still_there = {at.instance for at in world.placed}
    decision.released = state.placements.keys() - still_there
    return decision


def _turn(
    state: ClusterState,
    known: Definition,
    lost_for_s: Mapping[str, float],
    displaced: frozenset[str],
) -> Turn:
    service = known.service
    usable = [
        at
        for at in state.placements.values()
        if at.service == service.name
        and at.revision == known.revision
        and at.instance not in displaced
    ]
    usable.sort(key=lambda at: (at.node in lost_for_s, -at.score, slot(at.instance)))
    kept = usable[: service.replicas]
    names = {at.instance for at in kept}
    all_names = [instance_name(service.name, n + 1) for n in range(service.replicas)]
    missing = [name for name in all_names if name not in names][: service.replicas - len(kept)]
    leaving = [at for at in kept if _leaves(state, at, lost_for_s)]
    return Turn(
        known=known,
        kept=kept,
        lacking=[*((name, None) for name in missing), *((at.instance, at) for at in leaving)],
    )


def witnesses_of(state: ClusterState) -> frozenset[str]:
    """Whatever they have said of an engine before: they vote and run nothing."""
    return frozenset(name for name, member in state.members.items() if member.witness)


def _leaves(state: ClusterState, at: Placement, lost_for_s: Mapping[str, float]) -> bool:
    if at.node in witnesses_of(state):
        return True
    patience_s = state.services[at.service].service.reschedule_after_s
    return at.node in lost_for_s and lost_for_s[at.node] >= patience_s


def in_queue(turns: list[Turn], profile: Profile) -> list[Turn]:
    preferred = {0: (), 1: (1, 3), 2: (2, 3), 3: (1, 2, 3)}[profile.queue_priority]
    found: list[Turn] = []
    for priority in sorted({turn.service.priority for turn in turns}, reverse=True):
        level = sorted((turn for turn in turns if turn.service.priority == priority), key=_arrival)
        first = [turn for turn in level if turn.service.sensitivity in preferred]
        others = [turn for turn in level if turn.service.sensitivity not in preferred]
        in_a_row = 0
        while first or others:
            if first and (not others or in_a_row < profile.queue_balance):
                found.append(first.pop(0))
                in_a_row += 1
            else:
                found.append(others.pop(0))
                in_a_row = 0
    return found


def _arrival(turn: Turn) -> tuple[int, int, str]:
    return turn.known.created_at, -cpu_need(turn.service), turn.service.name


def parties(queue: list[Turn], world: World) -> Iterator[tuple[list[Turn], bool]]:
    """Who is served together: a service, or the whole of an application that holds itself back."""
    served: set[str] = set()
    for turn in queue:
        application = turn.service.application
        if turn.service.name in served:
            continue
        is_whole = _holds_back(world, application)
        party = [each for each in queue if each.service.application == application]
        party = party if is_whole else [turn]
        served |= {each.service.name for each in party}
        yield party, is_whole


def _holds_back(world: World, application: str) -> bool:
    """Until an application runs, one such service in it speaks for all of them."""
    members = [each for each in world.services.values() if each.application == application]
    runs = any(world.instances(each.name, world.nodes) for each in members)
    return not runs and any(each.all_or_nothing for each in members)


def _serve(world: World, party: list[Turn], decision: Decision, *, is_whole: bool) -> None:
    before = list(world.placed)
    found: list[Placement] = []
    for turn in party:
        refused = _serve_one(world, turn, found)
        if refused is not None:
            decision.refused[turn.service.name] = refused
            if is_whole:
                held_back = {each.service.name: {} for each in party}
                decision.refused |= {**held_back, turn.service.name: refused}
                world.placed = before
                return
    decision.placements += found


def _serve_one(world: World, turn: Turn, found: list[Placement]) -> dict[str, set[str]] | None:
    """Place what is lacking, up to the first that no node takes: then, why not."""
    for name, left in turn.lacking:
        others = [at for at in world.placed if at is not left]
        staying, world.placed = world.placed, others
        node = choose(world, turn.service)
        if node is None:
            why = {each: refusals(world, each, turn.service) for each in world.nodes}
            world.placed = staying
            return why
        at = placed(world, node, turn.service, name, turn.known.revision)
        world.placed = [*others, at]
        found.append(at)
    return None
