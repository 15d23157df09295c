"""ROHE's nine services and the machines of its test-bed, as this project's own values.

The figures are those of ROHE's templates: what each service asks for, how often, and what a
Raspberry Pi, a Jetson Nano and a Jetson Xavier have. Host ports are left to the allocator, for the
templates give all services the same two.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from roheletd.model import Capacity, Gpu, Node, Port, Service

TEST_BED = ("pi", "pi", "pi", "pi", "nano", "nano", "nano", "nano", "xavier")
"""The kinds of ROHE's nine nodes, in its order."""


def _service(  # noqa: PLR0917 - a table reads best with its columns in order
    name: str,
    cores: tuple[int, ...],
    cpu: int,
    rss: int,
    gpu: int = 0,
    replicas: int = 1,
    vms: int = 500,
) -> Service:
    return Service(
        name=name,
        image=f"rdsea/{name}:2.0",
        cores=cores,
        cpu_millicores=cpu,
        memory_mib=rss,
        vms_mib=vms,
        accelerators={"gpu": gpu} if gpu else {},
        replicas=replicas,
        ports=(Port(container_port=4002, required=False),),
    )


SERVICES = (
    _service("od_web", (500, 50), 424, 200, replicas=2),
    _service("od_imgproc", (900, 50), 933, 300, replicas=2),
    _service("od_inference", (500,), 500, 600, gpu=15, vms=200),
    _service("kpi_web", (400, 50), 400, 200),
    _service("kpi_minio", (1000,), 1000, 300, replicas=2),
    _service("kpi_database", (200, 200, 100, 100), 500, 500),
    _service("kpi_inference", (1000, 800, 800, 800), 4000, 400),
    _service("bts_dataproc", (1000, 50, 50, 50), 1000, 300, replicas=2),
    _service("bts_inference", (1000, 50, 50, 50), 1000, 2500, replicas=3),
)

_CORES = {"pi": 4, "nano": 4, "xavier": 8}
_MEMORY_MIB = {"pi": 4096, "nano": 4096, "xavier": 16_384}
_VMS_MIB = {"pi": 4096, "nano": 2048, "xavier": 16_384}
_FREQUENCY_GHZ = {"pi": 1.5, "nano": 1.5, "xavier": 2.3}


def node(name: str, kind: str) -> Node:
    has_gpu = kind != "pi"
    return Node(
        name=name,
        capacity=Capacity(
            cores=dict.fromkeys(range(_CORES[kind]), 1000),
            memory_mib=_MEMORY_MIB[kind],
            vms_mib=_VMS_MIB[kind],
            gpus=(Gpu(id="GPU0", shares_memory=True),) if has_gpu else (),
        ),
        arch="arm64",
        engine="docker",
        frequency_ghz=_FREQUENCY_GHZ[kind],
    )


def nodes(count: int, kinds: tuple[str, ...] = TEST_BED) -> tuple[Node, ...]:
    """`count` machines in the mix of `kinds`; names in the order of their numbers."""
    width = len(str(count))
    drawn = ((number, kinds[number % len(kinds)]) for number in range(count))
    return tuple(node(f"{kind}-{number:0{width}}", kind) for number, kind in drawn)


def one_set(factor: int) -> tuple[Service, ...]:
    """The nine services, each with `factor` times its replicas."""
    return tuple(replace(it, replicas=it.replicas * factor) for it in SERVICES)


def many_sets(count: int) -> tuple[Service, ...]:
    """`count` applications of the nine services each: as many instances, in many services."""
    return tuple(
        replace(it, name=f"{it.name}-{number}", application=f"app-{number}")
        for number in range(count)
        for it in SERVICES
    )


def light_sets(wanted: int, replicas: int = 10) -> tuple[Service, ...]:
    """`wanted` instances, ten of each service, that fit beside what the nodes use themselves."""
    light = [it for it in SERVICES if max(it.cores) <= 500]
    kinds = [light[number % len(light)] for number in range(-(-wanted // replicas))]
    return tuple(
        replace(it, name=f"{it.name}-{number}", replicas=min(replicas, wanted - number * replicas))
        for number, it in enumerate(kinds)
    )


def instances(services: Iterable[Service]) -> int:
    return sum(service.replicas for service in services)
