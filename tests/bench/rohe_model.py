"""What ROHE's allocator decides, said again as a model, so that it can be asked without ROHE.

Filter by CPU, resident memory and one accelerator of those asked for; rank by free cores and free
memory; take the first node, the highest rank or the lowest. Virtual memory is not looked at, and so
given out more often than it is there: `heeds_vms` mends that, for a comparison of what can be.
Cores are booked without their ids, which on nodes of equal cores is no less than with them.
"""

from collections.abc import Iterable

from roheletd.model import Node, Service

STRATEGIES = {"first": 0, "emptiest": 1, "fullest": 2}


class _Machine:
    """A node and what is used of it."""

    def __init__(self, node: Node) -> None:
        capacity = node.capacity
        self.name = node.name
        self.cores = [float(size) for size in capacity.cores.values()]
        self.size_cores = len(self.cores)
        self.cpu = capacity.cpu_millicores
        self.rss = self.size_rss = capacity.memory_mib
        self.vms = capacity.vms_mib or capacity.memory_mib
        self.gpus = {gpu.id: gpu.percent for gpu in capacity.gpus}
        self.kinds = {gpu.id: gpu.kind for gpu in capacity.gpus}

    def lets_in(self, service: Service, *, heeds_vms: bool) -> bool:
        if service.cpu_millicores > self.cpu or service.memory_mib > self.rss:
            return False
        if heeds_vms and service.vms_mib > self.vms:
            return False
        return not service.accelerators or any(self._devices(service))

    def rank(self, service: Service) -> float:
        left = [
            free - need for free, need in zip(sorted(self.cores), self._needs(service), strict=True)
        ]
        if min(left) < 0:
            return -1.0
        cores = sum(left) / (1000 * self.size_cores)
        return cores + (self.rss - service.memory_mib) / self.size_rss

    def book(self, service: Service) -> None:
        self.cpu -= service.cpu_millicores
        self.rss -= service.memory_mib
        self.vms -= service.vms_mib
        for device, percent in list(self._devices(service)):
            self.gpus[device] -= percent
        # The largest need goes to the freest core.
        self.cores = [
            free - need for free, need in zip(sorted(self.cores), self._needs(service), strict=True)
        ]

    def _needs(self, service: Service) -> list[int]:
        """As many as there are cores, ascending; what is more than that is cut off."""
        needs = list(service.cores[: self.size_cores])
        return sorted(needs + [0] * (self.size_cores - len(needs)))

    def _devices(self, service: Service) -> Iterable[tuple[str, int]]:
        for kind, percent in service.accelerators.items():
            for device, left in self.gpus.items():
                if self.kinds[device] == kind and percent < left:  # an exact fit is none
                    yield device, percent


def rohe_places(
    nodes: Iterable[Node], services: Iterable[Service], strategy: int, *, heeds_vms: bool = False
) -> list[tuple[str, str]]:
    """Service and node of each instance, in the order in which they are placed."""
    machines = [_Machine(node) for node in nodes]
    placed = []
    for service in sorted(services, key=lambda it: -it.cpu_millicores):
        for _ in range(service.replicas):
            let_in = [it for it in machines if it.lets_in(service, heeds_vms=heeds_vms)]
            ranks = [(rank, it) for it in let_in if (rank := it.rank(service)) > 0]
            if not ranks:
                break
            machine = _select(ranks, strategy)
            machine.book(service)
            placed.append((service.name, machine.name))
    return placed


def _select(ranks: list[tuple[float, _Machine]], strategy: int) -> _Machine:
    if strategy == STRATEGIES["first"]:
        return ranks[0][1]
    ranks = sorted(ranks, key=lambda it: it[0])
    return ranks[-1 if strategy == STRATEGIES["emptiest"] else 0][1]
