"""How many cores an instance keeps busy at once, from what each of its threads used.

The kernel counts use per core for control groups of version 1 only, and there it counts where the
scheduler happened to put a thread: one that is moved in the middle of a second looks like two
halves. Threads are the same everywhere, and one thread never fills more than one core:

    CPU time of each thread, twice --> what each used --> the emptiest core takes the largest next

So the figure is what the work needs, as a scheduler that balances well would spread it over the
cores that the instance has. Threads that came and went between two looks are seen in the total
only; they count as one more, which is right where they ran one after the other.
"""

import math
from collections.abc import Mapping

from roheletd.model import MILLICORES_PER_CORE

TICK_S = 0.01
"""The kernel's own resolution of a thread's time."""

BUSY_MILLICORES = 100
"""From here on a thread of an instance that is not pinned counts as one with a core of its own."""
CORES_MAX = 64


def per_core(
    before: Mapping[int, float],
    after: Mapping[int, float],
    *,
    cpu_s: float,
    millicores: int,
    cores: int,
) -> tuple[int, ...]:
    """Millicores on each core that would be busy, largest first.

    `before` and `after` are seconds of CPU by thread, `cpu_s` what all used in between, by the same
    clock. They tell in which parts; how much is `millicores`. `cores` 0: the instance has all.
    """
    loads = _loads(before, after, cpu_s, millicores)
    if not cores:
        busy = sum(load >= BUSY_MILLICORES for load in loads)
        cores = min(CORES_MAX, max(busy, math.ceil(millicores / MILLICORES_PER_CORE), 1))
    full = [0.0] * cores
    for load in loads:
        full[full.index(min(full))] += load
    found = tuple(sorted((round(load) for load in full if round(load)), reverse=True))
    return found or (millicores,)


def _loads(
    before: Mapping[int, float], after: Mapping[int, float], cpu_s: float, millicores: int
) -> list[float]:
    """Millicores of each thread, largest first."""
    used_s = [_used_s(before.get(thread, 0.0), now_s) for thread, now_s in after.items()]
    gone_s = cpu_s - sum(used_s)
    if gone_s < TICK_S * (len(used_s) + 1):  # the rounding of each
        gone_s = 0.0
    whole_s = sum(used_s) + gone_s
    if not whole_s:
        return [float(millicores)]
    loads = [millicores * part_s / whole_s for part_s in used_s if part_s]
    full, rest = divmod(millicores * gone_s / whole_s, MILLICORES_PER_CORE)
    loads += [float(MILLICORES_PER_CORE)] * int(full) + [rest]
    return sorted(loads, reverse=True)


def _used_s(then_s: float, now_s: float) -> float:
    """A number that the kernel gave to another thread since begins anew."""
    return now_s - then_s if now_s >= then_s else now_s
