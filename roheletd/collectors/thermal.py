"""Temperatures of the thermal zones, and a Raspberry Pi's complaints about power and heat."""

from pathlib import Path

from roheletd.collectors.kernel_file import KernelFile, KernelFiles
from roheletd.collectors.kernel_text import count, words
from roheletd.collectors.sensor import Reading, Sensor
from roheletd.telemetry import ThermalZone

ZONES_MAX = 32

# Kernels print -274 for a zone that is not running, a power-gated Jetson GPU -256.
CELSIUS_MIN, CELSIUS_MAX = -100.0, 1000.0

THROTTLED_WORDS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}
VOLTAGE_ALARM = "in0_lcrit_alarm"


class ThermalSensor(Sensor[tuple[ThermalZone, ...]]):
    """Every thermal zone; one that cannot be read now is null, for that is its normal state.

    To be watched as slow: a laptop runs firmware code for a reading and a Jetson asks another
    processor, a millisecond each, for a figure that takes seconds to move.
    """

    def __init__(self, root: Path) -> None:
        self._class = root / "sys/class/thermal"
        self._files = KernelFiles()
        self._zones: dict[Path, str] = {}

    def look(self) -> None:
        found = sorted(self._class.glob("thermal_zone*"), key=_zone_order)[:ZONES_MAX]
        self._zones = {
            zone / "temp": self._zones.get(zone / "temp") or zone_type(zone) for zone in found
        }
        self._files.keep(set(self._zones))

    def read(self) -> Reading[tuple[ThermalZone, ...]]:
        return Reading(
            tuple(
                ThermalZone(name=name, celsius=read_celsius(self._files[path]))
                for path, name in self._zones.items()
            )
        )

    def close(self) -> None:
        self._files.close()


class ThrottledSensor(Sensor[tuple[str, ...]]):
    """What a Raspberry Pi's firmware holds against its power supply and its cooling, in words.

    The vendor's kernel gives all bits in one file; the upstream kernel has the alarm for
    under-voltage only. To be watched as slow: it can be a call to the firmware.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file: KernelFile | None = None

    def look(self) -> None:
        path = throttled_file(self._root)
        if self._file is not None and self._file.path == path:
            return
        self.close()
        self._file = None if path is None else KernelFile(path)

    def read(self) -> Reading[tuple[str, ...]]:
        if self._file is None:
            return Reading(())
        text = self._file.read()
        alarm = self._file.path.name == VOLTAGE_ALARM
        return Reading(parse_voltage_alarm(text) if alarm else parse_throttled(text))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def throttled_file(root: Path) -> Path | None:
    firmware = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    if firmware.exists():
        return firmware
    for name in (root / "sys/class/hwmon").glob("hwmon*/name"):
        if name.read_bytes().strip() == b"rpi_volt":
            return name.with_name(VOLTAGE_ALARM)
    return None


def zone_type(zone: Path) -> str:
    try:
        return words((zone / "type").read_bytes())
    except OSError:  # a zone being taken away while we look; its number names it well enough
        return zone.name


def read_celsius(file: KernelFile) -> float | None:
    """A temperature, or null where the hardware does not give one now."""
    try:
        return parse_millidegrees(file.read())
    except OSError:
        return None


def parse_millidegrees(text: bytes) -> float | None:
    celsius = round(int(text.strip()[:20]) / 1000, 1)
    return celsius if CELSIUS_MIN < celsius < CELSIUS_MAX else None


def parse_throttled(text: bytes) -> tuple[str, ...]:
    """The firmware's bits, printed in hexadecimal, as words."""
    bits = int(text, 16)
    if not 0 <= bits < 2**32:
        raise ValueError(f"get_throttled: expected 32 bits, found {text!r:.80}")
    return tuple(word for bit, word in THROTTLED_WORDS.items() if bits >> bit & 1)


def parse_voltage_alarm(text: bytes) -> tuple[str, ...]:
    return (THROTTLED_WORDS[0],) if count(text) else ()


def _zone_order(zone: Path) -> tuple[int, str]:
    return len(zone.name), zone.name
