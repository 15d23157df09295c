"""What feeds this machine: the mains, or a battery that it lives from now."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from roheletd.collectors.kernel_file import KernelFiles
from roheletd.collectors.kernel_text import count, words
from roheletd.collectors.sensor import Reading, Sensor
from roheletd.telemetry import PowerUse

SUPPLIES_MAX = 32

_FEEDS = ("Mains", "USB", "Wireless")
"""What a plug's type begins with: older kernels say `USB_PD` and the like."""
_STORES = ("Battery", "UPS")
_STATUSES = {"Charging", "Discharging", "Full", "Not charging", "Unknown"}
_PERCENT = 100


class Supply(NamedTuple):
    """One supply: a plug that is `online` or not, or a store with its `status` and `charge`."""

    kind: Literal["feed", "store"]
    online: bool = False
    status: str = ""
    charge: float | None = None


class PowerSensor(Sensor[PowerUse | None]):
    """Plugs and batteries of the machine itself; null on one that has none, as most boards.

    To be watched as slow: a laptop runs firmware code for a reading, some milliseconds each.
    """

    def __init__(self, root: Path) -> None:
        self._class = root / "sys/class/power_supply"
        self._files = KernelFiles()
        self._supplies: dict[Path, Literal["feed", "store"]] = {}

    def look(self) -> None:
        found = sorted(self._class.glob("*/type"))[:SUPPLIES_MAX]
        kinds = {path.parent: kind_of(path.parent) for path in found}
        self._supplies = {supply: kind for supply, kind in kinds.items() if kind is not None}
        self._files.keep({file for supply in self._supplies for file in _files_of(supply)})

    def read(self) -> Reading[PowerUse | None]:
        supplies = (self._read(supply, kind) for supply, kind in self._supplies.items())
        return Reading(power_use(supplies))

    def close(self) -> None:
        self._files.close()

    def _read(self, supply: Path, kind: Literal["feed", "store"]) -> Supply:
        if kind == "feed":
            return Supply(kind, online=count(self._files[supply / "online"].read()) > 0)
        status = parse_status(self._files[supply / "status"].read())
        return Supply(kind, status=status, charge=self._charge(supply / "capacity"))

    def _charge(self, path: Path) -> float | None:
        """0 to 1; null where the battery's own gauge is still finding out, which is normal."""
        try:
            text = self._files[path].read()
        except OSError:
            return None
        return parse_capacity(text)


def kind_of(supply: Path) -> Literal["feed", "store"] | None:
    """None for what is not this machine's own: a mouse, a slot without its battery."""
    name = words((supply / "type").read_bytes())
    if name.startswith(_FEEDS) and (supply / "online").exists():
        return "feed"
    if name not in _STORES or not (supply / "status").exists() or _says(supply / "present", "0"):
        return None
    return None if _says(supply / "scope", "Device") else "store"


def power_use(supplies: Iterable[Supply]) -> PowerUse | None:
    """The mains where any plug is live, or where no battery is being drained.

    A plug that is not live says nothing by itself: a desktop's USB-C sockets are plugs as well.
    """
    found = list(supplies)
    stores = [supply for supply in found if supply.kind == "store"]
    plugs = [supply.online for supply in found if supply.kind == "feed"]
    if not any(plugs) and not stores:
        return None
    drained = any(supply.status == "Discharging" for supply in stores)
    in_doubt = bool(plugs) and all(supply.status == "Unknown" for supply in stores)
    charges = [supply.charge for supply in stores if supply.charge is not None]
    return PowerUse(
        source="battery" if not any(plugs) and (drained or in_doubt) else "mains",
        charge=round(sum(charges) / len(charges), 2) if charges else None,
    )


def parse_status(text: bytes) -> str:
    status = words(text)
    if status not in _STATUSES:
        raise ValueError(f"expected the status of a battery, found {text!r:.80}")
    return status


def parse_capacity(text: bytes) -> float:
    """Percent as a share; gauges that are not calibrated go some percent beyond."""
    return min(_PERCENT, count(text)) / _PERCENT


def _files_of(supply: Path) -> tuple[Path, ...]:
    return supply / "online", supply / "status", supply / "capacity"


def _says(path: Path, word: str) -> bool:
    return path.exists() and words(path.read_bytes()) == word
