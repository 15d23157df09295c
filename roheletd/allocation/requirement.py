"""What a service needs, from what its instances used: samples in, a requirement out.

    samples of each instance --95th percentile--> the largest of all instances --rounded up--> need

- **Cores**: by rank and not by core id, for ids differ between nodes: the busiest core of each
  sample, the next busiest, and so on; of each the 95th percentile. What goes beyond it is slowed
  down for a moment, no more. Rounded up to 10 millicores, since less is the measurement's own
  noise; for the same reason a core below that is none of its own, and goes to the one before it.
- **Memory**: the most that was ever seen and a tenth, rounded up to 4 MiB, and not a percentile:
  at `memory_mib` the engine kills. The 95th percentile is told beside it.
- **GPU**: the 95th percentile of what its processes used of a device, where the driver says so.
- Of several instances the largest figure counts, since each of them has to fit.
- An instance counts from `SAMPLES_MIN` samples on: of fewer, the 95th percentile is the largest.

A percentile is the smallest sample that is not exceeded by that share of all (nearest rank).
"""

import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from msgspec import Struct
from msgspec.structs import replace

from roheletd.model import Service, accelerators, demand

SAMPLES_MIN = 20
SHARE = 0.95

CORE_STEP_MILLICORES = 10
MEMORY_STEP_MIB = 4
MEMORY_SPARE = 1.1
AT_ITS_LIMIT = 0.95
"""Who used this share of what it was given may have needed more."""


class Use(Struct, frozen=True, kw_only=True):
    """One sample of one instance; `cores_millicores` is largest first, null is not measured."""

    instance: str
    cores_millicores: tuple[int, ...]
    memory_mib: int | None = None
    gpu_percent: float | None = None
    gpu_memory_mib: int | None = None


class Need(Struct, frozen=True, kw_only=True):
    """What one copy needs; null was not measured. `samples` are those of the instances that count.

    `memory_p95_mib` is for people; `memory_mib` has room for the peak.
    """

    samples: int
    instances: int
    cores: tuple[int, ...]
    memory_mib: int | None = None
    memory_p95_mib: int | None = None
    gpu_percent: int | None = None
    gpu_memory_mib: int | None = None


class TooFew(Struct, frozen=True):
    """No instance was seen often enough to say anything."""

    reason: str


def need(samples: Iterable[Use]) -> Need | TooFew:
    seen: dict[str, list[Use]] = {}
    for sample in samples:
        seen.setdefault(sample.instance, []).append(sample)
    enough = [uses for uses in seen.values() if len(uses) >= SAMPLES_MIN]
    if not enough:
        most, name = max(((len(uses), name) for name, uses in seen.items()), default=(0, ""))
        found = f"there are {most} of {name}" if most else "there is none"
        return TooFew(f"{SAMPLES_MIN} samples of one instance are needed, and {found}")
    return Need(
        samples=sum(map(len, enough)),
        instances=len(enough),
        cores=_cores(enough),
        memory_mib=_memory_mib(enough),
        memory_p95_mib=_largest([_known(use.memory_mib for use in uses) for uses in enough]),
        gpu_percent=_largest([_known(use.gpu_percent for use in uses) for uses in enough]),
        gpu_memory_mib=_largest([_known(use.gpu_memory_mib for use in uses) for uses in enough]),
    )


def percentile(values: Sequence[float], share: float = SHARE) -> float:
    """The nearest rank: always one of `values`."""
    assert values, "there is something to rank"
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def proposed(service: Service, found: Need) -> Service:
    """`service` as it would be declared by what it used; what was not measured stays."""
    memory_mib = service.memory_mib if found.memory_mib is None else found.memory_mib
    measured = replace(service, cpu_millicores=0, cores=found.cores, memory_mib=memory_mib)
    # More than one kind of accelerator: nobody can tell which of them was used.
    if found.gpu_percent is None or len(kinds := accelerators(service)) != 1:
        return measured
    return replace(
        measured,
        accelerators=dict.fromkeys(kinds, min(100, max(1, found.gpu_percent))),
        gpu_memory_mib=found.gpu_memory_mib or service.gpu_memory_mib,
    )


def remarks(service: Service, found: Need) -> tuple[str, ...]:
    """What a person has to know before trusting the figures."""
    told = []
    given, used = sum(demand(service)), sum(found.cores)
    if given and used >= AT_ITS_LIMIT * given:
        told.append(
            f"it used all of the {given} m that it is given and may need more: declare more, and "
            "profile again"
        )
    if found.memory_mib is None:
        told.append("its memory is not measured here and left as it is declared")
    elif 0 < AT_ITS_LIMIT * service.memory_mib <= found.memory_mib / MEMORY_SPARE:
        told.append(
            f"it came up to its limit of {service.memory_mib} MiB of memory and may need more: "
            "declare more, and profile again"
        )
    if service.vms_mib:
        told.append("its virtual memory is not measured and left as it is declared")
    if accelerators(service) and proposed(service, found).accelerators == service.accelerators:
        told.append("what it uses of its accelerators is not known and left as it is declared")
    return tuple(told)


def _cores(enough: list[list[Use]]) -> tuple[int, ...]:
    largest: list[float] = []
    for uses in enough:
        ranks = zip_longest(*(use.cores_millicores for use in uses), fillvalue=0)
        own = [percentile(rank) for rank in ranks]
        largest = [max(pair) for pair in zip_longest(largest, own, fillvalue=0)]
    # Each rank's percentile is at most that of the rank before it.
    busy = [load for load in largest if load >= CORE_STEP_MILLICORES]
    rest = sum(largest[len(busy) :])
    if busy:
        return tuple(_up(load, CORE_STEP_MILLICORES) for load in (*busy[:-1], busy[-1] + rest))
    return (max(CORE_STEP_MILLICORES, _up(rest, CORE_STEP_MILLICORES)),)


def _memory_mib(enough: list[list[Use]]) -> int | None:
    seen = [use.memory_mib for uses in enough for use in uses if use.memory_mib is not None]
    return _up(max(MEMORY_SPARE * max(seen), 1), MEMORY_STEP_MIB) if seen else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _largest(each: list[list[float]]) -> int | None:
    found = [percentile(values) for values in each if values]
    return math.ceil(max(found)) if found else None


def _up(value: float, step: int) -> int:
    return step * math.ceil(value / step)
