"""Two samples make one report: what a node publishes each second, in units a person reads.

A `Sample` is what the collectors read at one moment: counters as the kernel keeps them. `report`
turns two of them into a `Telemetry`, which is the wire format of
`rohe/<cluster>/node/<name>/telemetry` and of the HTTP API. A sensor that could not be read is
absent from its list and named in `sick`.

Counters start again (a driver reloaded, a core plugged back in) and 32-bit ones wrap. The true
rate over such a moment is unknown; it is reported as 0, never as a negative or an absurd figure.
"""

import math
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from roheletd.instance_use import InstanceUse
from roheletd.model import MILLICORES_PER_CORE, Capacity, Gpu

SMOOTHING_TAU_S = 15.0


class CpuUse(Struct, frozen=True, kw_only=True):
    """Per-core use by core id; `offline` are cores the kernel knows but does not schedule on."""

    used_millicores: dict[int, int]
    frequency_mhz: dict[int, int] = {}
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    offline: tuple[int, ...] = ()


class MemoryUse(Struct, frozen=True, kw_only=True):
    """`available_mib` is the kernel's MemAvailable: what can be had without swapping."""

    total_mib: int
    available_mib: int
    swap_total_mib: int = 0
    swap_used_mib: int = 0


class DiskUse(Struct, frozen=True, kw_only=True):
    """One mounted block device."""

    mount: str
    total_mib: int
    free_mib: int
    read_kib_s: float = 0.0
    written_kib_s: float = 0.0


class NetworkUse(Struct, frozen=True, kw_only=True):
    """One network interface, loopback left out."""

    name: str
    received_kib_s: float = 0.0
    sent_kib_s: float = 0.0


class ThermalZone(Struct, frozen=True, kw_only=True):
    """One thermal zone; null where the zone cannot be read now (a power-gated GPU)."""

    name: str
    celsius: float | None


class PowerUse(Struct, frozen=True, kw_only=True):
    """What feeds the node now; `charge` of its batteries, 0 to 1, null where they do not say."""

    source: Literal["mains", "battery"]
    charge: float | None = None


class GpuUse(Struct, frozen=True, kw_only=True):
    """One GPU; a figure the driver does not give is null, never 0."""

    id: str
    model: str = ""
    used_percent: float | None = None
    memory_total_mib: int | None = None
    memory_used_mib: int | None = None
    shares_memory: bool = False
    celsius: float | None = None
    power_w: float | None = None


class Telemetry(Struct, frozen=True, kw_only=True):
    """What one node says of itself. `at_s` is wall-clock and for people only.

    `images` are by their `short_name`, at most 200; null: as this node said before (see
    `Repetition`).
    """

    node: str
    at_s: float
    interval_s: float
    cpu: CpuUse | None = None
    memory: MemoryUse | None = None
    disks: tuple[DiskUse, ...] = ()
    network: tuple[NetworkUse, ...] = ()
    thermal: tuple[ThermalZone, ...] = ()
    throttled: tuple[str, ...] = ()
    power: PowerUse | None = None
    gpus: tuple[GpuUse, ...] = ()
    taken_ports: tuple[int, ...] = ()
    images: tuple[str, ...] | None = None
    instances: tuple[InstanceUse, ...] = ()
    sick: dict[str, str] = {}


class CoreTicks(Struct, frozen=True):
    """Clock ticks of one core since boot.

    Busy includes what a hypervisor took away (steal): nobody here could have had it. Idle includes
    waiting for I/O. Guest time is part of user time already and is not added again.
    """

    busy: int
    idle: int


class Traffic(Struct, frozen=True):
    """Bytes that came in (received, read) and went out (sent, written), as counted so far."""

    bytes_in: int
    bytes_out: int


class DiskSpace(Struct, frozen=True, kw_only=True):
    """Room on one mounted block device; `device` is its name in the kernel's disk statistics."""

    mount: str
    device: str
    total_mib: int
    free_mib: int


class QueueTime(Struct, frozen=True):
    """How long one GPU queue has run, and the driver's own clock when it said so."""

    busy_ns: int
    clock_ns: int


class GpuProcess(Struct, frozen=True):
    """What one process uses of one GPU; null where the driver does not say."""

    used_percent: float | None
    memory_mib: int | None


class GpuReading(Struct, frozen=True, kw_only=True):
    """One GPU now. Where `queues` is filled, its use is known only from two readings.

    `processes` are by process id, where the driver tells them apart; they are not for the report.
    """

    use: GpuUse
    queues: dict[str, QueueTime] = {}
    processes: dict[int, GpuProcess] = {}


class Sample(Struct, frozen=True, kw_only=True):
    """All that the collectors read at one moment of the monotonic clock, as raw counters.

    Empty means absent on this machine, or unreadable and then named in `sick`.
    """

    monotonic_s: float
    cores: dict[int, CoreTicks] = {}
    offline: tuple[int, ...] = ()
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    frequency_mhz: dict[int, int] = {}
    memory: MemoryUse | None = None
    disk_space: tuple[DiskSpace, ...] = ()
    disk_traffic: dict[str, Traffic] = {}
    network: dict[str, Traffic] = {}
    thermal: tuple[ThermalZone, ...] = ()
    throttled: tuple[str, ...] = ()
    power: PowerUse | None = None
    gpus: tuple[GpuReading, ...] = ()
    taken_ports: tuple[int, ...] = ()
    sick: dict[str, str] = {}


def report(
    previous: Sample,
    current: Sample,
    *,
    node: str,
    at_s: float,
    instances: tuple[InstanceUse, ...] = (),
    images: tuple[str, ...] | None = None,
) -> Telemetry:
    """What happened between two samples; `at_s` is wall-clock time, used for nothing but show."""
    elapsed_s = max(0.0, current.monotonic_s - previous.monotonic_s)
    return Telemetry(
        node=node,
        at_s=round(at_s, 3),
        interval_s=round(elapsed_s, 3),
        cpu=_cpu_use(previous, current),
        memory=current.memory,
        disks=_disk_uses(previous, current, elapsed_s),
        network=_network_uses(previous, current, elapsed_s),
        thermal=current.thermal,
        throttled=current.throttled,
        power=current.power,
        gpus=_gpu_uses(previous, current),
        taken_ports=current.taken_ports,
        images=images,
        instances=instances,
        sick=current.sick,
    )


def capacity(sample: Sample) -> Capacity:
    """What the sampled machine has: every core that is online, all memory, every GPU it showed."""
    memory = sample.memory or MemoryUse(total_mib=0, available_mib=0)
    return Capacity(
        cores=dict.fromkeys(sorted(sample.cores), MILLICORES_PER_CORE),
        memory_mib=memory.total_mib,
        vms_mib=memory.total_mib + memory.swap_total_mib,
        gpus=tuple(_device(reading.use, memory.total_mib) for reading in sample.gpus),
    )


def smoothed(
    previous: dict[int, float],
    used_millicores: dict[int, int],
    *,
    interval_s: float,
    tau_s: float = SMOOTHING_TAU_S,
) -> dict[int, float]:
    """Per-core load with its spikes taken off: an exponential mean that forgets with `tau_s`.

    A core seen for the first time starts at its present load; one that is gone is forgotten.
    """
    share = 1.0 - math.exp(-max(0.0, interval_s) / tau_s)
    return {
        core: before + share * (used - before)
        for core, used in used_millicores.items()
        for before in (previous.get(core, float(used)),)
    }


def used_millicores(before: CoreTicks, after: CoreTicks) -> int:
    """Busy share of the ticks that passed; 0 where none did or the counters started again.

    The ticks themselves are the clock here, so that a late sample does not look like load.
    """
    busy = after.busy - before.busy
    idle = max(0, after.idle - before.idle)  # the kernel lets iowait run backwards
    if busy <= 0:
        return 0
    return round(MILLICORES_PER_CORE * busy / (busy + idle))


def queue_percent(before: dict[str, QueueTime], after: dict[str, QueueTime]) -> float | None:
    """Use of the busiest queue: they run side by side, so that their sum can exceed the device."""
    shares = [
        100.0 * max(0, now.busy_ns - then.busy_ns) / (now.clock_ns - then.clock_ns)
        for name, now in after.items()
        if (then := before.get(name)) is not None and now.clock_ns > then.clock_ns
    ]
    return round(min(100.0, max(shares)), 1) if shares else None


def _cpu_use(previous: Sample, current: Sample) -> CpuUse | None:
    if not current.cores:
        return None
    return CpuUse(
        used_millicores={
            core: used_millicores(before, after)
            for core, after in current.cores.items()
            # A core that has just come online has no rate yet; it is left out once.
            if (before := previous.cores.get(core)) is not None
        },
        frequency_mhz=current.frequency_mhz,
        load=current.load,
        offline=current.offline,
    )


def _disk_uses(previous: Sample, current: Sample, elapsed_s: float) -> tuple[DiskUse, ...]:
    return tuple(
        DiskUse(
            mount=disk.mount,
            total_mib=disk.total_mib,
            free_mib=disk.free_mib,
            read_kib_s=read_kib_s,
            written_kib_s=written_kib_s,
        )
        for disk in current.disk_space
        for read_kib_s, written_kib_s in (
            _rates(
                previous.disk_traffic.get(disk.device),
                current.disk_traffic.get(disk.device),
                elapsed_s,
            ),
        )
    )


def _network_uses(previous: Sample, current: Sample, elapsed_s: float) -> tuple[NetworkUse, ...]:
    return tuple(
        NetworkUse(name=name, received_kib_s=received_kib_s, sent_kib_s=sent_kib_s)
        for name, traffic in current.network.items()
        for received_kib_s, sent_kib_s in (_rates(previous.network.get(name), traffic, elapsed_s),)
    )


def _rates(before: Traffic | None, after: Traffic | None, elapsed_s: float) -> tuple[float, float]:
    if before is None or after is None:
        return 0.0, 0.0
    return (
        _kib_s(after.bytes_in - before.bytes_in, elapsed_s),
        _kib_s(after.bytes_out - before.bytes_out, elapsed_s),
    )


def _kib_s(moved_bytes: int, elapsed_s: float) -> float:
    if moved_bytes <= 0 or elapsed_s <= 0:
        return 0.0
    return round(moved_bytes / 1024 / elapsed_s, 1)


def _gpu_uses(previous: Sample, current: Sample) -> tuple[GpuUse, ...]:
    before = {reading.use.id: reading.queues for reading in previous.gpus}
    return tuple(
        replace(
            reading.use,
            used_percent=queue_percent(before.get(reading.use.id, {}), reading.queues),
        )
        if reading.queues
        else reading.use
        for reading in current.gpus
    )


def _device(use: GpuUse, system_memory_mib: int) -> Gpu:
    own_memory_mib = use.memory_total_mib or 0
    return Gpu(
        id=use.id,
        model=use.model,
        memory_mib=system_memory_mib if use.shares_memory else own_memory_mib,
        shares_memory=use.shares_memory,
    )
