"""Random clusters and what happens to them, drawn from one generator of random numbers.

Numbers are few and round, so that exact fits, equal needs and ties are common and not rare.
"""

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from roheletd.allocation.snapshot import Condition, ForeignLoad, Profile
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    AnyCommand,
    JoinNode,
    RemoveNode,
    RemoveService,
)
from roheletd.fields import EngineKind
from roheletd.model import Capacity, Gpu, Neighbour, Node, Port, Service, contradiction
from tests.allocation.reference import Away
from tests.builders import Driver, a_member

T = TypeVar("T")
NODE_NAMES = tuple("abcdefghijklmnopqrst")
FEW_NODES = 8
SERVICE_NAMES = ("web", "db", "cam", "kpi", "api", "bts", "od", "log")
ZONES = ("hall", "yard")
IMAGES = ("web:1", "cam:1")
ENGINES: tuple[EngineKind, ...] = (*("docker",) * 14, "process", "none")
PORT_MIN, PORT_MAX = 20_000, 20_004


class Cluster:
    """The agreed state and what is measured of it, while one thing after another happens."""

    def __init__(self, rng: Random, *, preemption: bool = False, attempts: int = 0) -> None:
        self.rng = rng
        self.driver = Driver()
        self.conditions: dict[str, Condition] = {}
        self.away = Away()
        self.told: list[str] = []
        self.profile = replace(a_profile(rng), preemption=preemption, search_attempts=attempts)
        self.told.append(f"profile {shown(self.profile)}")
        for name in NODE_NAMES[: rng.randint(1, rng.choice([*[FEW_NODES] * 5, len(NODE_NAMES)]))]:
            self.set_node(a_node(rng, name))
            self.set_condition(name, a_condition(rng))

    def set_node(self, node: Node) -> None:
        self.conditions.setdefault(node.name, Condition())
        self.told.append(f"node {shown(node)}")
        self.apply(AddNodes(nodes=(node,)))

    def set_condition(self, name: str, condition: Condition) -> None:
        self.conditions[name] = condition
        self.told.append(f"condition of {name} {shown(condition)}")

    def define(self, *services: Service) -> None:
        self.told += [f"service {shown(service)}" for service in services]
        self.apply(AddServices(services=services))

    def apply(self, command: AnyCommand) -> None:
        self.driver.apply(command)

    def step(self) -> None:
        """One thing happens, which may be nothing."""
        self.rng.choice(EVENTS)(self)


def shown(value: Struct) -> str:
    """Only what is said: most fields are empty."""
    given = {name: getattr(value, name) for name in value.__struct_fields__}
    return " ".join(f"{name}={said!r}" for name, said in given.items() if said) or "as usual"


def maybe(rng: Random, one_in: int, make: Callable[[], T], otherwise: T) -> T:
    return make() if rng.randint(1, one_in) == 1 else otherwise


def some_of(rng: Random, values: tuple[T, ...]) -> list[T]:
    return [value for value in values if rng.randint(0, 1)]


def a_profile(rng: Random) -> Profile:
    weights = {"cpu": 0.0, "spread": 0.0, "contention": 0.25, "power": 2.0}
    nothing = dict.fromkeys((*weights, "memory", "balance", "gpu", "image", "temperature"), 0.0)
    return Profile(
        strategy=rng.choice(["worst_fit", "best_fit", "first_fit"]),
        weights=rng.choice([{}, {}, {}, weights, nothing]),
        queue_priority=rng.randint(0, 3),
        queue_balance=rng.choice([0, 1, 3]),
        foreign_cpu_max=rng.choice([0.9, 0.9, 0.0, 1.0]),
        port_min=PORT_MIN,
        port_max=PORT_MAX,
    )


# --- nodes


def a_node(rng: Random, name: str) -> Node:
    memory_mib = rng.choice([500, 1000, 4000, 16_000])
    labels = {"zone": rng.choice(ZONES), "disk": rng.choice(["ssd", "3"])}
    return Node(
        name=name,
        engine=rng.choice(ENGINES),
        arch=rng.choice(["", "arm64", "aarch64", "x86_64"]),
        frequency_ghz=rng.choice([1.5, 2.0]),
        capacity=Capacity(
            cores=some_cores(rng),
            memory_mib=memory_mib,
            vms_mib=rng.choice([0, memory_mib * 2]),
            gpus=some_gpus(rng),
        ),
        labels={key: value for key, value in labels.items() if rng.randint(0, 3)},
    )


def some_cores(rng: Random) -> dict[int, int]:
    """Equal ones, unequal ones, and ids with holes."""
    count = rng.randint(1, 4)
    ids = rng.choice([range(count), (0, 2, 5, 7)[:count]])
    sizes = rng.choice([*[[1000]] * 5, *[[500, 1000, 2000]] * 5, [1000, 0]])
    return {core: sizes[position % len(sizes)] for position, core in enumerate(ids)}


def some_gpus(rng: Random) -> tuple[Gpu, ...]:
    shares = rng.choice([False, True])
    gpus = [
        Gpu(
            id=f"GPU{number}",
            kind=rng.choice(["gpu", "gpu", "tpu"]),
            percent=rng.choice([100, 100, 50]),
            memory_mib=rng.choice([0, 200, 1000]),
            shares_memory=shares and number == 0,
        )
        for number in range(rng.choice([0, 0, 1, 2, 3]))
    ]
    return tuple(gpus)


def a_condition(rng: Random) -> Condition:
    return Condition(
        liveness=maybe(rng, 12, lambda: rng.choice(["suspect", "never seen"]), "alive"),
        cordoned=rng.randint(1, 15) == 1,
        foreign=maybe(rng, 2, lambda: some_load(rng), ForeignLoad()),
        busy=maybe(rng, 2, lambda: {rng.randint(0, 3): rng.choice([0.1, 0.5, 1.2])}, {}),
        images=frozenset(some_of(rng, IMAGES)),
        refused_images=maybe(rng, 8, lambda: {rng.choice(IMAGES): "no such image"}, {}),
        celsius=rng.choice([None, None, 50.0, 70.0, 90.0]),
        throttled=rng.randint(1, 8) == 1,
        power=rng.choice(["unknown", "mains", "battery"]),
        charge=rng.choice([1.0, 0.25]),
    )


def some_load(rng: Random) -> ForeignLoad:
    return ForeignLoad(
        cores_millicores={core: rng.choice([100, 500, 1000]) for core in some_of(rng, (0, 1, 2))},
        memory_mib=rng.choice([0, 100, 500]),
        ports=frozenset(some_of(rng, (20_000, 8080))),
    )


# --- services


def a_service(rng: Random, name: str) -> Service:
    asked: dict[str, Any] = {
        **rng.choice(NEEDS),
        "name": name,
        "image": rng.choice([*["web:1"] * 10, "cam:1", "cam:1", ""]),
        "command": ("run",) * (rng.randint(1, 4) == 1),
        "application": rng.choice(["one", "two"]),
        "replicas": rng.randint(0, 4),
        "sensitivity": rng.randint(0, 3),
        "priority": maybe(rng, 4, lambda: rng.choice([1, 5]), 0),
        "strategy": maybe(rng, 3, lambda: rng.choice(["first_fit", "best_fit", "worst_fit"]), None),
        "reschedule_after_s": rng.choice([0.0, 5.0, 60.0]),
        **maybe(rng, 3, lambda: rng.choice(WISHES), {}),
        **maybe(rng, 5, lambda: some_neighbours(rng), {}),
    }
    service = Service(**asked)
    return replace(service, affinity=()) if contradiction(service) else service


NEEDS: list[dict[str, Any]] = [
    {},
    {"cores": (500,), "memory_mib": 100},
    {"cores": (500, 50), "memory_mib": 100},
    {"cores": (50, 500), "memory_mib": 100, "vms_mib": 500},
    {"cores": (1000,), "memory_mib": 500},
    {"cores": (1000, 1000), "memory_mib": 1000},
    {"cores": (250, 250, 250, 250)},
    {"cores": (100, 0), "cpu_millicores": 300},
    {"cpu_millicores": 1000},
    {"cpu_millicores": 2300, "memory_mib": 100},
    {"memory_mib": 1000, "vms_mib": 1000},
    {"accelerators": {"gpu": 50}},
    {"accelerators": {"gpu": 100}, "gpu_memory_mib": 200, "cores": (200,)},
    {"accelerators": {"gpu": 30, "tpu": 50}, "gpu_memory_mib": 100},
    {"accelerators": {"gpu": 0, "tpu": 30}},
    {"accelerators": {"gpu": 70}, "gpu_memory_mib": 200, "spread_devices": True},
]

WISHES: list[dict[str, Any]] = [
    {"ports": (Port(container_port=80),)},
    {"ports": (Port(container_port=80, host_port=8080),)},
    {"ports": (Port(container_port=80, host_port=20_001, required=False),)},
    {"ports": (Port(container_port=80), Port(container_port=53, protocol="udp"))},
    {"ports": (Port(container_port=80), Port(container_port=81, host_port=20_000))},
    {"ports": (Port(container_port=80, host_port=8080), Port(container_port=81))},
    {"architectures": ("arm64",)},
    {"architectures": ("amd64",)},
    {"constraints": ("node.labels.zone == hall",)},
    {"constraints": ("node.labels.zone != hall", "node.cores >= 2")},
    {"constraints": ("node.labels.disk > 2",)},
    {"constraints": ("node.labels.disk == 3.0",)},
    {"constraints": ("node.arch == x86_64",)},
    {"constraints": ("node.gpus < 1", "node.frequency_ghz <= 1.5")},
    {"constraints": ("node.name == a",)},
    {"spread_over": "zone"},
    {"spread_over": "nowhere"},
    {"all_or_nothing": True},
]


def some_neighbours(rng: Random) -> dict[str, tuple[Neighbour, ...]]:
    other = Neighbour(
        service=rng.choice(SERVICE_NAMES[:4]), over=rng.choice([None, None, "zone", "disk"])
    )
    return {rng.choice(["affinity", "anti_affinity"]): (other,)}


# --- what may happen


def _services_come(cluster: Cluster) -> None:
    names = cluster.rng.sample(SERVICE_NAMES, cluster.rng.randint(1, 3))
    cluster.define(*(_in_its_application(cluster, a_service(cluster.rng, name)) for name in names))


def _in_its_application(cluster: Cluster, service: Service) -> Service:
    known = cluster.driver.state.services.get(service.name)
    return replace(service, application=known.service.application) if known else service


def _equals_come(cluster: Cluster) -> None:
    """The same needs under several names: rankings that are shared."""
    like = a_service(cluster.rng, "any")
    names = cluster.rng.sample(SERVICE_NAMES, 3)
    cluster.define(
        *(
            _in_its_application(
                cluster, replace(like, name=name, replicas=cluster.rng.randint(0, 4))
            )
            for name in names
        )
    )


def _a_service_is_scaled(cluster: Cluster) -> None:
    if known := cluster.driver.state.services:
        service = known[cluster.rng.choice(sorted(known))].service
        cluster.define(replace(service, replicas=cluster.rng.randint(0, 6)))


def _a_service_goes(cluster: Cluster) -> None:
    if known := cluster.driver.state.services:
        name = cluster.rng.choice(sorted(known))
        cluster.told.append(f"service {name} is removed")
        cluster.apply(RemoveService(name=name))


def _a_node_is_lost(cluster: Cluster) -> None:
    name = cluster.rng.choice(sorted(cluster.conditions))
    lost_for_s = cluster.rng.choice([0.5, 10.0, 100.0])
    cluster.away.lost_for_s = {**cluster.away.lost_for_s, name: lost_for_s}
    cluster.set_condition(name, replace(cluster.conditions[name], liveness="lost"))
    cluster.told.append(f"{name} is lost for {lost_for_s} s")


def _a_node_is_well(cluster: Cluster) -> None:
    name = cluster.rng.choice(sorted(cluster.conditions))
    _forget_loss(cluster, name)
    cluster.set_condition(name, Condition())


def _forget_loss(cluster: Cluster, name: str) -> None:
    others = {node: for_s for node, for_s in cluster.away.lost_for_s.items() if node != name}
    cluster.away.lost_for_s = others


def _a_node_changes(cluster: Cluster) -> None:
    name = cluster.rng.choice(sorted(cluster.conditions))
    if name not in cluster.away.lost_for_s:
        cluster.set_condition(name, a_condition(cluster.rng))


def _a_node_comes(cluster: Cluster) -> None:
    """Or what is known of it changes: it may have less than is promised on it."""
    name = cluster.rng.choice(NODE_NAMES)
    member = cluster.driver.state.members.get(name)
    node = a_node(cluster.rng, name)
    cluster.set_node(replace(node, engine="none") if member and member.witness else node)


def _a_node_goes(cluster: Cluster) -> None:
    if len(cluster.conditions) > 1:
        name = cluster.rng.choice(sorted(cluster.conditions))
        cluster.told.append(f"node {name} is removed")
        cluster.apply(RemoveNode(name=name))
        _forget_loss(cluster, name)
        del cluster.conditions[name]


def _a_node_becomes_a_witness(cluster: Cluster) -> None:
    name = cluster.rng.choice(sorted(cluster.conditions))
    if cluster.rng.randint(0, 3):
        return
    cluster.told.append(f"{name} becomes a witness")
    cluster.apply(JoinNode(member=a_member(name, witness=True)))
    if cluster.rng.randint(0, 1):  # it says so itself, sooner or later
        cluster.set_node(replace(cluster.driver.state.nodes[name], engine="none"))


def _instances_should_be_elsewhere(cluster: Cluster) -> None:
    placed = sorted(cluster.driver.state.placements)
    some = frozenset(cluster.rng.sample(placed, min(2, len(placed))))
    which = cluster.rng.choice(["displaced", "stranded"])
    setattr(cluster.away, which, some)
    cluster.told.append(f"{which}: {sorted(some)}")


EVENTS: tuple[Callable[[Cluster], None], ...] = (
    _services_come,
    _services_come,
    _equals_come,
    _a_service_is_scaled,
    _a_service_is_scaled,
    _a_service_goes,
    _a_node_is_lost,
    _a_node_is_well,
    _a_node_is_well,
    _a_node_changes,
    _a_node_comes,
    _a_node_goes,
    _a_node_becomes_a_witness,
    _instances_should_be_elsewhere,
)
