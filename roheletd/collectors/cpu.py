"""Per-core CPU time, load average and clock frequency."""

from pathlib import Path

from msgspec import Struct

from roheletd.collectors.kernel_file import KernelFile, KernelFiles
from roheletd.collectors.kernel_text import CORE_ID_MAX, core_ids, count, counts
from roheletd.collectors.sensor import Reading, Sensor
from roheletd.telemetry import CoreTicks

# user nice system idle iowait irq softirq steal; guest and guest_nice follow, counted in user.
STAT_FIELDS = 8
IDLE, IOWAIT = 3, 4

LOAD_MAX = 1e6

Load = tuple[float, float, float]


class Cores(Struct, frozen=True, kw_only=True):
    """Ticks of the cores that are online, and the ids of those that are present but are not."""

    ticks: dict[int, CoreTicks] = {}
    offline: tuple[int, ...] = ()


class CoreSensor(Sensor[Cores]):
    """/proc/stat lists the cores that are online; sysfs lists all that are present."""

    def __init__(self, root: Path) -> None:
        self._stat = KernelFile(root / "proc/stat")
        self._present_file = KernelFile(root / "sys/devices/system/cpu/present")
        self._present: tuple[int, ...] = ()

    def look(self) -> None:
        try:
            self._present = core_ids(self._present_file.read())
        except FileNotFoundError:  # no sysfs in a container: then no core is known to be offline
            self._present = ()

    def read(self) -> Reading[Cores]:
        ticks = parse_stat(self._stat.read())
        offline = tuple(core for core in self._present if core not in ticks)
        return Reading(Cores(ticks=ticks, offline=offline))

    def close(self) -> None:
        self._stat.close()
        self._present_file.close()


class LoadSensor(Sensor[Load]):
    """The load averages over 1, 5 and 15 minutes."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/loadavg")

    def read(self) -> Reading[Load]:
        return Reading(parse_loadavg(self._file.read()))

    def close(self) -> None:
        self._file.close()


class FrequencySensor(Sensor[dict[int, int]]):
    """Clock of each core in MHz, where the kernel governs it.

    To be watched as slow: on x86 each reading interrupts the core asked about, on some boards it
    is a call to the firmware, and it is one file per core.
    """

    def __init__(self, root: Path) -> None:
        self._cpus = root / "sys/devices/system/cpu"
        self._files = KernelFiles()
        self._paths: dict[int, Path] = {}

    def look(self) -> None:
        self._paths = {
            int(path.parts[-3][len("cpu") :]): path
            for path in self._cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        }
        self._files.keep(set(self._paths.values()))

    def read(self) -> Reading[dict[int, int]]:
        known: dict[int, int] = {}
        for core, path in sorted(self._paths.items()):
            try:
                mhz = parse_khz(self._files[path].read())
            except OSError:  # a core that goes offline takes its clock with it
                mhz = None
            if mhz is not None:
                known[core] = mhz
        return Reading(known)

    def close(self) -> None:
        self._files.close()


def frequency_max_ghz(root: Path) -> float:
    """Clock of the fastest core at its best; 0 where the kernel does not say (most VMs)."""
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    try:
        return max(((parse_khz(path.read_bytes()) or 0) / 1000 for path in paths), default=0.0)
    except (OSError, ValueError):  # it describes the node, and stops nothing
        return 0.0


def parse_stat(text: bytes) -> dict[int, CoreTicks]:
    """Ticks by core id of /proc/stat, which begins with the cores; the sum over all is left out."""
    ticks: dict[int, CoreTicks] = {}
    for line in text.partition(b"\nintr")[0].splitlines():
        name, *fields = line.split()[: STAT_FIELDS + 1] or (b"",)
        if not name.startswith(b"cpu"):
            break
        if name != b"cpu":
            ticks[_core_id(name)] = core_ticks(fields)
    if not ticks:
        raise ValueError(f"/proc/stat: expected lines of cores, found {text!r:.80}")
    return ticks


def core_ticks(fields: list[bytes]) -> CoreTicks:
    if len(fields) != STAT_FIELDS:
        raise ValueError(f"/proc/stat: expected {STAT_FIELDS} counters, found {len(fields)}")
    numbers = counts(fields)
    idle = numbers[IDLE] + numbers[IOWAIT]
    return CoreTicks(sum(numbers) - idle, idle)


def parse_loadavg(text: bytes) -> Load:
    fields = text.split()[:3]
    one, five, fifteen = (float(field) for field in fields)  # fewer: ValueError
    if not all(0.0 <= load <= LOAD_MAX for load in (one, five, fifteen)):  # NaN fails as well
        raise ValueError(f"/proc/loadavg: expected load averages, found {text!r:.80}")
    return one, five, fifteen


def parse_khz(text: bytes) -> int | None:
    """Kilohertz as sysfs has them, in MHz; null where the driver cannot tell."""
    return None if text.strip() == b"<unknown>" else round(count(text) / 1000)


def _core_id(name: bytes) -> int:
    core = count(name[len(b"cpu") :])
    if core > CORE_ID_MAX:
        raise ValueError(f"/proc/stat: expected a core id, found {name!r:.80}")
    return core
