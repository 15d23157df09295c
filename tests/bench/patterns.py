"""All that one small node could run at once: the fullest combinations of services, found by trying.

Nodes that are alike have the same ones, and a solver then only says how many nodes run which. That
is what lets it prove its optimum, where single cores of single nodes leave too much to try.
"""

from collections.abc import Iterable, Sequence
from functools import cache

from roheletd.model import Capacity, Service, accelerators, demand

Counts = tuple[int, ...]
CORES_MAX = 4


def is_small(capacity: Capacity) -> bool:
    """Few cores of one size, and at most one device: then there are some thousand combinations."""
    alike = len(set(capacity.cores.values())) == 1
    return alike and len(capacity.cores) <= CORES_MAX and len(capacity.gpus) <= 1


def fullest(capacity: Capacity, services: Sequence[Service]) -> list[Counts]:
    """Numbers of instances per service; what is left out is part of one that is there."""
    found = _all(capacity, services)
    return [
        counts
        for counts in found
        if not any(_one_more(counts, place) in found for place in range(len(services)))
    ]


def _one_more(counts: Counts, place: int) -> Counts:
    return (*counts[:place], counts[place] + 1, *counts[place + 1 :])


def _all(capacity: Capacity, services: Sequence[Service]) -> set[Counts]:
    """Service by service, one instance more each time, with every way to use the cores."""
    left = _left(capacity)
    found = {((0,) * len(services)): ({tuple(capacity.cores.values())}, left)}
    for place, service in enumerate(services):
        asks = _asks(service, capacity)
        needs = demand(service)
        edge = found
        for _ in range(service.replicas):
            grown = {}
            for counts, (ways, has) in edge.items():
                rest = tuple(free - need for free, need in zip(has, asks, strict=True))
                if min(rest) < 0:
                    continue
                after = set().union(*(_ways(way, needs) for way in ways))
                if after:
                    grown[_one_more(counts, place)] = (after, rest)
            if not grown:
                break
            edge = grown
            found = found | grown
    return set(found)


def _left(capacity: Capacity) -> Counts:
    gpu = capacity.gpus[0].percent if capacity.gpus else 0
    vms = capacity.vms_mib or capacity.memory_mib
    return (capacity.cpu_millicores, capacity.memory_mib, vms, gpu)


def _asks(service: Service, capacity: Capacity) -> Counts:
    asked = accelerators(service)
    kinds = {gpu.kind for gpu in capacity.gpus}
    gpu = sum(asked.values()) if asked.keys() <= kinds else 101
    cpu = service.cpu_millicores or sum(service.cores)
    return (cpu, service.memory_mib, service.vms_mib, gpu)


@cache
def _ways(free: Counts, needs: Counts) -> frozenset[Counts]:
    """Free cores, sorted, after `needs` (largest first) took one core each."""
    return frozenset(tuple(sorted(way)) for way in _dealt(free, needs, frozenset()))


def _dealt(free: Counts, needs: Counts, used: frozenset[int]) -> Iterable[Counts]:
    if not needs:
        yield free
        return
    tried = set()
    for core, left in enumerate(free):
        if core not in used and left >= needs[0] and left not in tried:
            tried.add(left)
            after = (*free[:core], left - needs[0], *free[core + 1 :])
            yield from _dealt(after, needs[1:], used | {core})
