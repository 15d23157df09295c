"""Two samples make one report: what a node publishes each second, in units a person reads.

The structs are the wire format of `rohe/<cluster>/node/<name>/telemetry` and of the HTTP API.
A sensor that could not be read is absent from its list and named in `sick`.
"""

from msgspec import Struct


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


class InstanceUse(Struct, frozen=True, kw_only=True):
    """One running instance of ours, as its node sees it; null where the engine cannot tell."""

    instance: str
    state: str
    cpu_millicores: int | None = None
    memory_mib: int | None = None
    restarts: int = 0
    reason: str = ""


class Telemetry(Struct, frozen=True, kw_only=True):
    """What one node says of itself. `at_s` is wall-clock and for people only."""

    node: str
    at_s: float
    interval_s: float
    cpu: CpuUse | None = None
    memory: MemoryUse | None = None
    disks: tuple[DiskUse, ...] = ()
    network: tuple[NetworkUse, ...] = ()
    thermal: tuple[ThermalZone, ...] = ()
    throttled: tuple[str, ...] = ()
    gpus: tuple[GpuUse, ...] = ()
    taken_ports: tuple[int, ...] = ()
    instances: tuple[InstanceUse, ...] = ()
    sick: dict[str, str] = {}
