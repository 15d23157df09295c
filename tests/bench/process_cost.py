"""What one process costs, read from /proc: memory, CPU, wakeups, bytes to disk."""

import time
from pathlib import Path

from msgspec import Struct


class Cost(Struct, frozen=True, kw_only=True):
    """Use over a span of time; `rss_mib` at its end. Wakeups are voluntary context switches."""

    rss_mib: float
    pss_mib: float
    threads: int
    cpu_percent: float
    wakeups_per_s: float
    written_bytes: int


class _Counters(Struct, frozen=True):
    at_s: float
    cpu_s: float
    wakeups: int
    written_bytes: int


class Meter:
    """Starts counting at once; `cost()` is what has come since."""

    def __init__(self, pid: int) -> None:
        self._proc = Path("/proc") / str(pid)
        self._start = self._read()

    def cost(self) -> Cost:
        now = self._read()
        elapsed_s = now.at_s - self._start.at_s
        rollup = _fields((self._proc / "smaps_rollup").read_text().partition("\n")[2])
        return Cost(
            rss_mib=round(rollup["Rss"] / 1024, 1),
            pss_mib=round(rollup["Pss"] / 1024, 1),
            threads=len(list((self._proc / "task").iterdir())),
            cpu_percent=round(100 * (now.cpu_s - self._start.cpu_s) / elapsed_s, 4),
            wakeups_per_s=round((now.wakeups - self._start.wakeups) / elapsed_s, 2),
            written_bytes=now.written_bytes - self._start.written_bytes,
        )

    def _read(self) -> _Counters:
        threads = list((self._proc / "task").iterdir())
        return _Counters(
            at_s=time.monotonic(),
            # schedstat counts nanoseconds; stat counts ticks of 10 ms, too coarse for an idle one.
            cpu_s=sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9,
            wakeups=sum(
                _fields((t / "status").read_text())["voluntary_ctxt_switches"] for t in threads
            ),
            written_bytes=_fields((self._proc / "io").read_text())["write_bytes"],
        )


def _fields(text: str) -> dict[str, int]:
    """The numeric lines of a `name: value [unit]` file."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        value = rest.split()[0] if rest.split() else ""
        if value.isdigit():
            found[name] = int(value)
    return found
