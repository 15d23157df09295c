"""Scores: how good is a node that may be used? Each is 0 (bad) to 1 (good); README.md has sources.

Each takes a node, an ask and what the instance would be given there (`Fit`).
"""

import math
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import asdict

from roheletd.allocation.ask import Ask
from roheletd.allocation.cores import Fit, memory_need
from roheletd.allocation.snapshot import FreeNode
from roheletd.config import WeightsConfig

COOL_CELSIUS = 60.0
HOT_CELSIUS = 85.0
TOLERANCE = 8.0
"""How many times less a loaded core matters to a service that is not sensitive to it."""

FILL = frozenset({"cpu", "memory"})
"""Terms that say how empty a node is: best fit wants them low."""

WEIGHTS: Mapping[str, float] = asdict(WeightsConfig())
"""What a term weighs where nothing else is configured."""


class Score(Struct, frozen=True):
    """`of` is the formula; `concerns`, whether it says anything about an ask."""

    of: Callable[[FreeNode, Ask, Fit], float]
    concerns: Callable[[Ask], object] = lambda _ask: True


def cpu(free: FreeNode, ask: Ask, _fit: Fit) -> float:
    return _share(free.cpu_millicores - ask.cpu_millicores, free.size_millicores)


def memory(free: FreeNode, ask: Ask, fit: Fit) -> float:
    left = free.memory_mib - memory_need(free, ask, fit.gpus)
    return _share(left, free.node.capacity.memory_mib)


def balance(free: FreeNode, _ask: Ask, fit: Fit) -> float:
    """Used shares of cores lie in 0..1, so that their deviation is at most a half.

    They lie above 1 where others took what was promised already: that is no balance at all.
    """
    sizes, cores = free.node.capacity.cores, free.cores
    used, squares = free.used, free.used_squares
    for core, need in fit.cores.items():
        size = sizes[core]
        before, more = 1.0 - cores[core] / size, need / size
        used += more
        squares += more * (before + before + more)
    mean = used / len(cores)
    variance = squares / len(cores) - mean * mean
    return max(0.0, 1.0 - 2.0 * math.sqrt(variance)) if variance > 0.0 else 1.0


def contention(free: FreeNode, ask: Ask, fit: Fit) -> float:
    load, cores, disturbed = free.load, fit.cores, free.sensitive
    if ask.cpu_sensitive:
        disturbed = free.holders
    crowded = 0.0
    for core, need in cores.items():
        crowded += need * load[core]
    quiet = 1.0 - crowded / ask.cores_millicores / (1.0 if ask.cpu_sensitive else TOLERANCE)
    return quiet if disturbed.keys().isdisjoint(cores) else quiet / TOLERANCE


def gpu(free: FreeNode, ask: Ask, fit: Fit) -> float:
    if not free.gpus:
        return 1.0
    if not ask.accelerators:
        return 1.0 - max(0.0, free.gpu_free)
    left = [item.percent - fit.gpus[item.gpu.id] for item in free.gpus if item.gpu.id in fit.gpus]
    return 1.0 - sum(left) / len(left) / 100.0


def image(free: FreeNode, ask: Ask, _fit: Fit) -> float:
    return 1.0 if ask.image in free.condition.images else 0.0


def temperature(free: FreeNode, _ask: Ask, _fit: Fit) -> float:
    condition = free.condition
    if condition.throttled:
        return 0.0
    if condition.celsius is None:
        return 1.0
    over = (condition.celsius - COOL_CELSIUS) / (HOT_CELSIUS - COOL_CELSIUS)
    return min(1.0, max(0.0, 1.0 - over))


def power(free: FreeNode, _ask: Ask, _fit: Fit) -> float:
    condition = free.condition
    return condition.charge / 2.0 if condition.power == "battery" else 1.0


def spread(instances: int) -> float:
    """`instances` of the same service share the node, or the value of its `spread_over`."""
    return 1.0 / (1 + instances)


SCORES: dict[str, Score] = {
    "cpu": Score(cpu),
    "memory": Score(memory),
    "balance": Score(balance, lambda ask: ask.demand),
    "contention": Score(contention, lambda ask: ask.demand),
    "gpu": Score(gpu),
    "image": Score(image, lambda ask: ask.image),
    "temperature": Score(temperature),
    "power": Score(power),
}
"""All but `spread`, which differs between services of one ask and over the labels of nodes."""


def weights_for(configured: Mapping[str, float]) -> dict[str, float]:
    """What each term weighs with what is configured."""
    return {**WEIGHTS, **configured}


def _share(left: int, whole: int) -> float:
    """The part that is left, 0 to 1; what is measured may take more than there is."""
    return left / whole if 0 < left <= whole else float(left > 0 < whole)
