"""GPUs of the kernel's graphics drivers: a Raspberry Pi's V3D, AMD's.

Intel's drivers have no file for their use; it would take a scan of every process's descriptors.
"""

from pathlib import Path
from typing import Protocol

from roheletd.collectors.kernel_file import KernelFiles
from roheletd.collectors.kernel_text import count, counts, words
from roheletd.collectors.sensor import Reading, Sensor, reason
from roheletd.collectors.thermal import parse_millidegrees
from roheletd.telemetry import GpuReading, GpuUse, QueueTime

MIB = 1024 * 1024
PERCENT_MAX = 100

# The queues that do a user's work; tfu and cache_clean serve them.
V3D_QUEUES = frozenset((b"bin", b"render", b"csd"))
V3D_COLUMNS = 4  # queue, timestamp, jobs, runtime


class Card(Protocol):
    """One GPU, with the files its driver has for it."""

    def read(self, files: KernelFiles) -> tuple[GpuReading, str]: ...

    def paths(self) -> set[Path]: ...


class DrmSensor(Sensor[tuple[GpuReading, ...]]):
    """Every card whose driver tells its use; a card may be plugged in late."""

    def __init__(self, root: Path) -> None:
        self._class = root / "sys/class/drm"
        self._files = KernelFiles()
        self._cards: list[Card] = []

    def look(self) -> None:
        # card0-HDMI-A-1 and the like are the sockets of card0; they have no such device.
        devices = {path.resolve() for path in self._class.glob("card[0-9]*/device")}
        cards = (card(device) for device in sorted(devices))
        self._cards = [found for found in cards if found is not None]
        self._files.keep({path for found in self._cards for path in found.paths()})

    def read(self) -> Reading[tuple[GpuReading, ...]]:
        readings = [found.read(self._files) for found in self._cards]
        troubles = "; ".join(trouble for _, trouble in readings if trouble)
        return Reading(tuple(reading for reading, _ in readings), troubles)

    def close(self) -> None:
        self._files.close()


class V3dCard:
    """Raspberry Pi 4 and 5. Memory is the system's; use is a counter of each queue's time."""

    def __init__(self, device: Path) -> None:
        self._device = device
        self._stats = device / "gpu_stats"

    def paths(self) -> set[Path]:
        return {self._stats}

    def read(self, files: KernelFiles) -> tuple[GpuReading, str]:
        use = GpuUse(id=self._device.name, model="VideoCore V3D", shares_memory=True)
        try:
            queues = parse_gpu_stats(files[self._stats].read())
        except OSError as error:
            return GpuReading(use=use), reason(error)
        return GpuReading(use=use, queues=queues), ""


class AmdCard:
    """Any GPU of amdgpu. One that sleeps refuses to be read: its figures are null."""

    def __init__(self, device: Path) -> None:
        self._id = device.name  # the PCI address, which stays when card numbers change
        self._model = amd_model(device)
        self._busy = device / "gpu_busy_percent"
        self._total = device / "mem_info_vram_total"
        self._used = device / "mem_info_vram_used"
        self._temperature = first(device, "hwmon/hwmon*/temp1_input")
        self._power = first(device, "hwmon/hwmon*/power1_average", "hwmon/hwmon*/power1_input")

    def paths(self) -> set[Path]:
        files = (self._busy, self._total, self._used, self._temperature, self._power)
        return {path for path in files if path is not None}

    def read(self, files: KernelFiles) -> tuple[GpuReading, str]:
        total, used = figure(files, self._total), figure(files, self._used)
        power = figure(files, self._power)
        use = GpuUse(
            id=self._id,
            model=self._model,
            used_percent=parse_percent(figure(files, self._busy)),
            memory_total_mib=None if total is None else count(total) // MIB,
            memory_used_mib=None if used is None else count(used) // MIB,
            celsius=self._celsius(files),
            power_w=None if power is None else round(count(power) / 1e6, 1),
        )
        return GpuReading(use=use), ""

    def _celsius(self, files: KernelFiles) -> float | None:
        text = figure(files, self._temperature)
        return None if text is None else parse_millidegrees(text)


def card(device: Path) -> Card | None:
    if (device / "gpu_stats").exists():
        return V3dCard(device)
    if (device / "gpu_busy_percent").exists():
        return AmdCard(device)
    return None


def amd_model(device: Path) -> str:
    """The name some cards carry, else the PCI id: the kernel has no table of names."""
    for name, prefix in (("product_name", ""), ("device", "AMD ")):
        try:
            text = words((device / name).read_bytes())
        except OSError:  # the file is there on few cards, and unreadable on some
            text = ""
        if text:
            return prefix + text
    return "AMD"


def first(device: Path, *patterns: str) -> Path | None:
    return next((path for pattern in patterns for path in device.glob(pattern)), None)


def figure(files: KernelFiles, path: Path | None) -> bytes | None:
    """A figure that a driver may lack, or refuse while the device sleeps."""
    try:
        return None if path is None else files[path].read()
    except OSError:
        return None


def parse_percent(text: bytes | None) -> float | None:
    if text is None:
        return None
    percent = count(text)
    if percent > PERCENT_MAX:
        raise ValueError(f"gpu_busy_percent: expected a percentage, found {text!r:.80}")
    return float(percent)


def parse_gpu_stats(text: bytes) -> dict[str, QueueTime]:
    """The table of V3D: a header, then queue, timestamp (ns), jobs, runtime (ns)."""
    queues: dict[str, QueueTime] = {}
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) != V3D_COLUMNS:
            raise ValueError(f"gpu_stats: expected {V3D_COLUMNS} columns, found {line!r:.80}")
        queue, clock, _, busy = columns
        if queue in V3D_QUEUES:
            clock_ns, busy_ns = counts((clock, busy))
            queues[queue.decode()] = QueueTime(busy_ns, clock_ns)
    return queues
