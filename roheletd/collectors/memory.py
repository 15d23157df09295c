"""Memory and swap, from /proc/meminfo."""

from pathlib import Path

from roheletd.collectors.kernel_file import KernelFile
from roheletd.collectors.kernel_text import count
from roheletd.collectors.sensor import Reading, Sensor
from roheletd.telemetry import MemoryUse

WANTED = frozenset((b"MemTotal", b"MemAvailable", b"SwapTotal", b"SwapFree"))


class MemorySensor(Sensor[MemoryUse | None]):
    """The kernel's own account."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/meminfo")

    def read(self) -> Reading[MemoryUse | None]:
        return Reading(parse_meminfo(self._file.read()))

    def close(self) -> None:
        self._file.close()


def parse_meminfo(text: bytes) -> MemoryUse:
    """Totals are rounded down to whole MiB, as everywhere; a kernel without swap says nothing."""
    kib = {name: _kib(rest) for name, _, rest in _members(text) if name in WANTED}
    if b"MemTotal" not in kib or b"MemAvailable" not in kib:
        raise ValueError(f"/proc/meminfo: no MemTotal or MemAvailable in {text!r:.80}")
    swap_total = kib.get(b"SwapTotal", 0)
    return MemoryUse(
        total_mib=kib[b"MemTotal"] // 1024,
        available_mib=kib[b"MemAvailable"] // 1024,
        swap_total_mib=swap_total // 1024,
        swap_used_mib=max(0, swap_total - kib.get(b"SwapFree", 0)) // 1024,
    )


def _members(text: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [line.partition(b":") for line in text.splitlines()]


def _kib(rest: bytes) -> int:
    fields = rest.split()
    if len(fields) != 2 or fields[1] != b"kB":  # noqa: PLR2004 - a number and its unit
        raise ValueError(f"/proc/meminfo: expected kB, found {rest!r:.80}")
    return count(fields[0])
