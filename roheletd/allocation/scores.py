"""Scores: how good is a node that may be used? Each is 0 (worst) to 1 (best), higher is emptier.

The formulas are the "least requested" ones of the Kubernetes scheduler: the share of a resource
that is still free once the instance is there.
"""

from collections.abc import Callable, Mapping

from roheletd.allocation.snapshot import FreeNode, cpu_need
from roheletd.model import Service

Score = Callable[[FreeNode, Service], float]


def cpu(free: FreeNode, service: Service) -> float:
    return _share(free.cpu_millicores - cpu_need(service), free.node.capacity.cpu_millicores)


def memory(free: FreeNode, service: Service) -> float:
    return _share(free.memory_mib - service.memory_mib, free.node.capacity.memory_mib)


def _share(left: int, whole: int) -> float:
    return min(1.0, max(0.0, left / whole)) if whole > 0 else 0.0


SCORES: dict[str, Score] = {"cpu": cpu, "memory": memory}


def total(terms: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted mean of `terms`; a weight that is not given is 1, all zero means no opinion."""
    sum_of_weights = sum(weights.get(name, 1.0) for name in terms)
    if sum_of_weights <= 0:
        return 0.0
    return sum(value * weights.get(name, 1.0) for name, value in terms.items()) / sum_of_weights
