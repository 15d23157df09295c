"""One node's figures as Prometheus text, made afresh at each scrape out of what the doors answer.

Base units, as Prometheus asks for: bytes, seconds, degrees Celsius, ratios of 0 to 1. CPU is in
cores: 1 is one core, where the rest of this program says 1000 millicores.

Each daemon shows its own node and nothing of the others, which are scraped themselves: that is
what keeps the number of series in hand. Labels are what a machine has few of (cores, zones, GPUs,
sensors) or what the agreed state holds (services and their slots); no label is called `instance` or
`job`, which Prometheus gives itself. Join `roheletd_build_info` for the name of the node.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from roheletd.api import views
from roheletd.api.operations import Operations
from roheletd.cluster.state import slot
from roheletd.model import MILLICORES_PER_CORE
from roheletd.telemetry import GpuUse, Telemetry, ThermalZone

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST

_MIB: Final = 1 << 20
_PREFIX: Final = "roheletd_"

Samples = Iterable[tuple[tuple[str, ...], float | None]]
"""Label values, and the figure; None where it is not known now, which is no sample at all."""


class Figures(Struct, frozen=True, kw_only=True):
    """All that a page is made of."""

    status: views.Status
    node: views.NodeView | None
    telemetry: Telemetry | None
    instances: tuple[views.InstanceView, ...]


async def gather(operations: Operations) -> Figures:
    """What `operations` say of their own node."""
    nothing = views.Nothing()
    status = await operations.status(nothing, "")
    nodes = (await operations.nodes(nothing, "")).nodes
    reports = (await operations.telemetry(nothing, "")).telemetry
    instances = (await operations.instances(nothing, "")).instances
    return Figures(
        status=status,
        node=next((view for view in nodes if view.node.name == status.node), None),
        telemetry=next((report for report in reports if report.node == status.node), None),
        instances=tuple(view for view in instances if view.node == status.node),
    )


def page(figures: Figures) -> bytes:
    return generate_latest(_Families(figures))


class _Families(Collector):
    """What `generate_latest` asks for its families."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Those that have a figure now: a title with nothing under it says nothing."""
        return (family for family in _families(self._figures) if family.samples)


def _families(figures: Figures) -> Iterator[Metric]:
    yield from _daemon(figures.status)
    yield from _links(figures.status)
    if figures.node is not None:
        yield from _free(figures.node)
    if figures.telemetry is not None:
        yield from _hardware(figures.telemetry)
        yield from _gpus(figures.telemetry.gpus)
    yield from _instances(figures.instances)


def _daemon(status: views.Status) -> Iterator[Metric]:
    yield _gauge(
        "build_info",
        "Always 1; what this daemon is.",
        [((status.version, status.node, status.cluster), 1)],
        labels=("version", "node", "cluster"),
    )
    yield _one("uptime_seconds", "Since the daemon's start.", status.uptime_s)
    yield _one("leader", "1 if this node leads the cluster.", status.role == "leader")
    yield _one("leader_known", "1 if this node knows a leader.", bool(status.leader))
    yield _one("term", "Term of the agreed log.", status.term)
    yield _one("applied_index", "Last entry of the log that was applied.", status.applied_index)
    yield _one("nodes", "Nodes in the agreed state.", status.nodes)
    yield _one("services", "Services in the agreed state.", status.services)
    yield _one(
        "instances_wanted", "Replicas of all services, cluster-wide.", status.instances_wanted
    )
    yield _one(
        "instances_running",
        "Instances that their nodes report as running, cluster-wide.",
        status.instances_running,
    )
    yield _one("warnings", "What `roheletd status` asks a person to look at.", len(status.warnings))


def _links(status: views.Status) -> Iterator[Metric]:
    yield _one("broker_connected", "1 if the MQTT link stands.", status.broker.connected)
    yield _count("broker_reconnects", "MQTT links made anew.", [((), status.broker.reconnects)])
    yield _count(
        "broker_dropped_messages",
        "Messages that were given up before they were sent.",
        [((), status.broker.dropped)],
    )
    yield _count(
        "refused_messages",
        "MQTT messages that were received and not acted on.",
        [((reason,), count) for reason, count in status.dropped_messages.items()],
        labels=("reason",),
    )
    yield _one("engine_reachable", "1 if the container engine answers.", status.engine.reachable)


def _free(view: views.NodeView) -> Iterator[Metric]:
    yield _gauge(
        "cpu_free_cores",
        "What can still be promised on a core; below 0 where more is used than was foreseen.",
        _per_core(view.free_cores),
        labels=("core",),
    )
    yield _one(
        "memory_free_bytes", "Memory that can still be promised.", view.free_memory_mib * _MIB
    )


def _hardware(report: Telemetry) -> Iterator[Metric]:
    if report.cpu is not None:
        yield _gauge(
            "cpu_used_cores",
            "Measured use of a core.",
            _per_core(report.cpu.used_millicores),
            labels=("core",),
        )
    if report.memory is not None:
        yield _one("memory_total_bytes", "Installed memory.", report.memory.total_mib * _MIB)
        yield _one(
            "memory_available_bytes",
            "Memory that can be had without swapping.",
            report.memory.available_mib * _MIB,
        )
    yield _gauge(
        "temperature_celsius",
        "Temperature of a thermal zone; the hottest of those that share a name.",
        _hottest(report.thermal),
        labels=("zone",),
    )
    yield _gauge(
        "throttled",
        "1 while the machine is slowed down for this reason.",
        [((reason,), 1) for reason in report.throttled],
        labels=("reason",),
    )
    yield _gauge(
        "sensor_sick",
        "1 while a sensor cannot be read; `roheletd status` says why.",
        [((name,), 1) for name in report.sick],
        labels=("sensor",),
    )


def _gpus(gpus: tuple[GpuUse, ...]) -> Iterator[Metric]:
    figures: tuple[tuple[str, str, Samples], ...] = (
        (
            "gpu_used_ratio",
            "Measured use of a GPU, 0 to 1.",
            [((gpu.id,), _scaled(gpu.used_percent, 0.01)) for gpu in gpus],
        ),
        (
            "gpu_memory_used_bytes",
            "Memory in use on a GPU.",
            [((gpu.id,), _scaled(gpu.memory_used_mib, _MIB)) for gpu in gpus],
        ),
        (
            "gpu_memory_total_bytes",
            "Memory of a GPU; the system's own where it is shared.",
            [((gpu.id,), _scaled(gpu.memory_total_mib, _MIB)) for gpu in gpus],
        ),
        (
            "gpu_temperature_celsius",
            "Temperature of a GPU.",
            [((gpu.id,), gpu.celsius) for gpu in gpus],
        ),
        ("gpu_power_watts", "Power drawn by a GPU.", [((gpu.id,), gpu.power_w) for gpu in gpus]),
    )
    for name, meaning, samples in figures:
        yield _gauge(name, meaning, samples, labels=("gpu",))


def _instances(found: tuple[views.InstanceView, ...]) -> Iterator[Metric]:
    labels = ("service", "slot")
    keyed = [((view.service, str(slot(view.instance))), view) for view in found]
    yield _gauge(
        "instance_running",
        "1 if an instance placed on this node runs.",
        [(key, view.state == "running") for key, view in keyed],
        labels=labels,
    )
    yield _gauge(
        "instance_cpu_used_cores",
        "Measured CPU use of an instance.",
        [(key, _scaled(view.used_cpu_millicores, 1 / MILLICORES_PER_CORE)) for key, view in keyed],
        labels=labels,
    )
    yield _gauge(
        "instance_memory_used_bytes",
        "Measured memory use of an instance.",
        [(key, _scaled(view.used_memory_mib, _MIB)) for key, view in keyed],
        labels=labels,
    )
    yield _gauge(
        "instance_healthy",
        "Whether an instance is healthy (1): by its checks, or as long as it runs if it has none.",
        [(key, int(view.health == "healthy")) for key, view in keyed],
        labels=labels,
    )
    yield _count(
        "instance_restarts",
        "How often an instance was started again.",
        [(key, view.restarts) for key, view in keyed],
        labels=labels,
    )


def _hottest(zones: tuple[ThermalZone, ...]) -> Samples:
    """Machines call several zones `acpitz`, and one series may have one value only."""
    found: dict[str, float] = {}
    for zone in zones:
        if zone.celsius is not None:
            found[zone.name] = max(zone.celsius, found.get(zone.name, zone.celsius))
    return [((name,), celsius) for name, celsius in found.items()]


def _per_core(millicores: Mapping[int, int]) -> Samples:
    return [((str(core),), value / MILLICORES_PER_CORE) for core, value in millicores.items()]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _one(name: str, meaning: str, value: float) -> Metric:
    return _gauge(name, meaning, [((), value)])


def _gauge(name: str, meaning: str, samples: Samples, *, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(GaugeMetricFamily(_PREFIX + name, meaning, labels=labels), samples)


def _count(name: str, meaning: str, samples: Samples, *, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(CounterMetricFamily(_PREFIX + name, meaning, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for key, value in samples:
        if value is not None:
            family.add_metric(key, float(value))
    return family
