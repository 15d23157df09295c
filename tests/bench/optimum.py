"""The most replicas that can be placed at all, by OR-Tools' CP-SAT, which proves it.

Instances of one service are alike, so the model counts them: `x` of a service on a node, and how
many of these have a need of a certain size on a certain core. An instance may use a core once, so
no core serves more of them than there are; by König's theorem on the edges of bipartite graphs such
counts can always be dealt out to the instances, each of its needs on a core of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct
from ortools.sat.python import cp_model

from roheletd.model import Capacity, Node, Service, accelerators, demand, is_cpu_sensitive
from tests.bench.patterns import fullest, is_small

Var = cp_model.IntVar
Sum = Any
"""A sum of variables, or a number where there are none."""


class Optimum(Struct, frozen=True, kw_only=True):
    """`placed` was found, and no more than `bound` can be: they are equal where it is proved."""

    placed: int
    bound: int


class Model:
    """Counts of instances per service and node, and what a node has."""

    def __init__(self, nodes: Sequence[Node], services: Sequence[Service]) -> None:
        self.cp = cp_model.CpModel()
        self.services = services
        self.nodes = nodes
        self.x: dict[tuple[str, str], Var] = {}
        self.on_core: dict[tuple[str, str, int], Sum] = {}
        for node in nodes:
            self._add(node)
        for one, other in pairwise(nodes):
            if one.capacity == other.capacity:
                self._in_order(one, other)

    def placed(self, service: Service) -> Sum:
        return sum(self.x[service.name, node.name] for node in self.nodes)

    def held(self, services: Iterable[Service], node: Node, core: int) -> Sum:
        """How many instances of `services` hold this core."""
        return sum(self.on_core[service.name, node.name, core] for service in services)

    def _add(self, node: Node) -> None:
        model, capacity = self.cp, node.capacity
        load: dict[int, Sum] = dict.fromkeys(capacity.cores, 0)
        for service in self.services:
            x = model.new_int_var(0, _most_on(node, service), "")
            self.x[service.name, node.name] = x
            uses: dict[int, Sum] = dict.fromkeys(capacity.cores, 0)
            for need, count in Counter(demand(service)).items():
                taken = {
                    core: model.new_int_var(0, min(service.replicas, size // need), "")
                    for core, size in capacity.cores.items()
                }
                model.add(sum(taken.values()) == count * x)
                for core, times in taken.items():
                    uses[core] += times
                    load[core] += need * times
            for core, times in uses.items():
                model.add(times <= x)
                self.on_core[service.name, node.name, core] = times
        for core, size in capacity.cores.items():
            model.add(load[core] <= size)
        for (core, size), (other, other_size) in pairwise(capacity.cores.items()):
            if size == other_size:  # such cores can be exchanged
                model.add(load[core] >= load[other])
        self._limit(node, lambda it: it.cpu_millicores or sum(it.cores), capacity.cpu_millicores)
        self._limit(node, lambda it: it.memory_mib, capacity.memory_mib)
        self._limit(node, lambda it: it.vms_mib, capacity.vms_mib or capacity.memory_mib)
        self._add_gpus(node)

    def _limit(self, node: Node, asks: Callable[[Service], int], has: int) -> None:
        asked = sum(asks(it) * self.x[it.name, node.name] for it in self.services)
        self.cp.add(asked <= has)

    def _add_gpus(self, node: Node) -> None:
        model = self.cp
        load: dict[str, Sum] = {gpu.id: 0 for gpu in node.capacity.gpus}
        for service in self.services:
            for kind, percent in accelerators(service).items():
                taken = {
                    gpu.id: model.new_int_var(0, service.replicas, "")
                    for gpu in node.capacity.gpus
                    if gpu.kind == kind
                }
                model.add(sum(taken.values()) == self.x[service.name, node.name])
                for device, times in taken.items():
                    load[device] += percent * times
        for gpu in node.capacity.gpus:
            model.add(load[gpu.id] <= gpu.percent)

    def _in_order(self, one: Node, other: Node) -> None:
        """Nodes that are alike can be exchanged: one order of them is enough to look at."""
        counts = [
            sum(self.x[service.name, node.name] for service in self.services)
            for node in (one, other)
        ]
        self.cp.add(counts[0] >= counts[1])


def most_placed(nodes: Sequence[Node], services: Sequence[Service], *, limit_s: float) -> Optimum:
    """Small nodes of one kind are dealt with together: how many of them run which combination."""
    small = [node for node in nodes if is_small(node.capacity)]
    model = Model([node for node in nodes if node not in small], services)
    placed = [model.placed(it) for it in services]
    for capacity, count in _kinds(small):
        combinations = fullest(capacity, services)
        times = [model.cp.new_int_var(0, count, "") for _ in combinations]
        model.cp.add(sum(times) <= count)
        for place in range(len(services)):
            pairs = zip(combinations, times, strict=True)
            placed[place] += sum(counts[place] * nodes_with for counts, nodes_with in pairs)
    return most_in(model, placed, limit_s=limit_s)


def most_in(model: Model, placed: Sequence[Sum], *, limit_s: float) -> Optimum:
    """`placed` is where each service has room; what counts of it is what was asked for."""
    counted = []
    for service, room in zip(model.services, placed, strict=True):
        counted.append(model.cp.new_int_var(0, service.replicas, ""))
        model.cp.add(counted[-1] <= room)
    model.cp.maximize(sum(counted))
    solver = _solver(limit_s)
    status = solver.solve(model.cp)
    assert status in (cp_model.OPTIMAL, cp_model.FEASIBLE), solver.status_name(status)
    return Optimum(
        placed=round(solver.objective_value), bound=int(solver.best_objective_bound + 1e-6)
    )


def can_keep_apart(
    nodes: Sequence[Node], services: Sequence[Service], *, limit_s: float
) -> bool | None:
    """Whether all replicas fit with no sensitive one on a shared core; None: not known."""
    model = Model(nodes, services)
    for service in services:
        model.cp.add(model.placed(service) == service.replicas)
    sensitive = [it for it in services if is_cpu_sensitive(it.sensitivity)]
    most = sum(service.replicas for service in services)
    for node in nodes:
        for core in node.capacity.cores:
            own = model.cp.new_bool_var("")
            model.cp.add(model.held(sensitive, node, core) <= own)
            model.cp.add(model.held(services, node, core) <= most - (most - 1) * own)
    status = _solver(limit_s).solve(model.cp)
    if status == cp_model.UNKNOWN:
        return None
    return status in (cp_model.OPTIMAL, cp_model.FEASIBLE)


def _kinds(nodes: Iterable[Node]) -> list[tuple[Capacity, int]]:
    found: list[tuple[Capacity, int]] = []
    for node in nodes:
        for place, (capacity, count) in enumerate(found):
            if capacity == node.capacity:
                found[place] = (capacity, count + 1)
                break
        else:
            found.append((node.capacity, 1))
    return found


def _most_on(node: Node, service: Service) -> int:
    """How many of one service a node could take by what is summed up there."""
    capacity = node.capacity
    cpu = service.cpu_millicores or sum(service.cores)
    pairs = (
        (capacity.cpu_millicores, cpu),
        (capacity.memory_mib, service.memory_mib),
        (capacity.vms_mib or capacity.memory_mib, service.vms_mib),
    )
    return min(service.replicas, *(has // asked for has, asked in pairs if asked))


def _solver(limit_s: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = limit_s
    solver.parameters.num_workers = 2
    solver.parameters.random_seed = 1
    return solver
