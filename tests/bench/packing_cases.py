"""Clusters to fill: ROHE's test-bed with more of its services than it holds, and drawn ones."""

import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd.model import Node, Service
from roheletd.rohe.nodes import nodes_from
from tests.bench.rohe_workload import SERVICES, instances, node, one_set

TEST_BED_FILE = Path(__file__).parents[3] / "shared" / "data" / "rohe" / "add_node.json"
FACTORS = (2, 3, 4)
"""How often the nine services are asked for; once, and ROHE's own nodes hold all of it."""


class Case(Struct, frozen=True, kw_only=True):
    """What is to be placed where; small enough for an exact solver."""

    name: str
    nodes: tuple[Node, ...]
    services: tuple[Service, ...]

    @property
    def wanted(self) -> int:
        return instances(self.services)


def rohe_test_bed() -> list[Case]:
    """ROHE's nine nodes as its own file says; none where the file is not there."""
    if not TEST_BED_FILE.is_file():
        return []
    machines = nodes_from(json.loads(TEST_BED_FILE.read_text())).items
    return [
        Case(name=f"ROHE's test-bed, {times} x", nodes=machines, services=one_set(times))
        for times in FACTORS
    ]


def drawn(seed: int, *, load: tuple[float, float] = (0.8, 1.3)) -> Case:
    """3 to 9 nodes, and services that ask for a share of them within `load`.

    Every other one has ROHE's services, the others have services of all shapes.
    """
    rng = Random(seed)
    machines = _machines(rng, rng.randint(3, 9))
    kinds = rng.sample(SERVICES, 6) if seed % 2 else [_service(rng, n) for n in range(6)]
    services = _scaled(kinds, machines, rng.uniform(*load))
    return Case(name=f"drawn {seed}", nodes=machines, services=services)


def drawn_sensitive(seed: int) -> Case:
    """The same with room to spare, and with every third service sensitive to shared cores."""
    case = drawn(seed, load=(0.3, 0.8))
    services = tuple(
        replace(it, sensitivity=1 if place % 3 == 0 else 0)
        for place, it in enumerate(case.services)
    )
    return Case(name=case.name, nodes=case.nodes, services=services)


def _machines(rng: Random, count: int) -> tuple[Node, ...]:
    kinds = rng.choices(("pi", "nano", "xavier"), weights=(5, 3, 1), k=count)
    return tuple(node(f"{kind}-{number}", kind) for number, kind in enumerate(kinds))


def _service(rng: Random, number: int) -> Service:
    first = rng.choice((100, 250, 400, 500, 600, 800, 1000))
    rest = [rng.choice((50, 100, 200)) for _ in range(rng.choice((0, 0, 1, 3)))]
    asks_for_gpu = rng.random() < 0.2
    return Service(
        name=f"s{number}",
        image=f"s{number}:1",
        cores=(first, *rest),
        cpu_millicores=first + sum(rest),
        memory_mib=rng.choice((64, 128, 256, 512, 1024, 2048)),
        vms_mib=rng.choice((128, 256, 512)),
        accelerators={"gpu": rng.choice((10, 15, 30, 45))} if asks_for_gpu else {},
        replicas=0,
    )


def _scaled(kinds: Sequence[Service], machines: Sequence[Node], load: float) -> tuple[Service, ...]:
    """Replicas in turn until CPU or memory is asked for as much as `load` says."""
    has_cpu = sum(it.capacity.cpu_millicores for it in machines)
    has_memory = sum(it.capacity.memory_mib for it in machines)
    has_gpus = any(it.capacity.gpus for it in machines)
    kinds = [it for it in kinds if has_gpus or not it.accelerators]
    replicas = dict.fromkeys((it.name for it in kinds), 0)
    cpu = memory = 0
    for service in cycle(kinds):
        cpu += service.cpu_millicores
        memory += service.memory_mib
        if max(cpu / has_cpu, memory / has_memory) > load:
            break
        replicas[service.name] += 1
    return tuple(replace(it, replicas=replicas[it.name]) for it in kinds if replicas[it.name])
