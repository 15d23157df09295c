"""What the instances of one node use: counters of the engine, and two of them make a use."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.container import Usage
from roheletd.cluster.gpu_share import UNKNOWN, gpu_share
from roheletd.cluster.threads import TICK_S, per_core
from roheletd.telemetry import GpuProcess


class Use(Struct, frozen=True):
    """What one instance uses; null where that is not known."""

    cpu_millicores: int | None = None
    memory_mib: int | None = None
    cores_millicores: tuple[int, ...] | None = None
    gpu: GpuProcess = UNKNOWN


class _Threads(Struct, frozen=True):
    """CPU time by thread, and of all threads together, when they were last looked at."""

    cpu_s: float
    by_thread_s: Mapping[int, float]


Threads = Callable[[str], Mapping[int, float]]
"""CPU time by thread of one container; none where that cannot be told."""


class Measurable(Struct, frozen=True, kw_only=True):
    """An instance that may run: its container, and what it was given."""

    container_id: str
    cores: int
    has_gpus: bool


class Uses:
    """The use of each instance as it was measured last."""

    def __init__(self) -> None:
        self._measured: dict[str, tuple[float, Usage]] = {}
        self._uses: dict[str, Use] = {}
        self._threads: dict[str, _Threads] = {}

    def of(self, name: str) -> Use:
        return self._uses.get(name, Use())

    def measure(
        self,
        runs: Mapping[str, Measurable],
        usage: Mapping[str, Usage],
        now_s: float,
        *,
        threads: Threads,
        gpus: Sequence[Mapping[int, GpuProcess]],
    ) -> None:
        """Take in what the engine counted, by container id.

        `threads` is asked only about what is on several cores and has done something, or was given
        a GPU that is in use: reading each thread of what idles would be most of an idle daemon's
        work. `gpus` are by device and process id.
        """
        threads = cache(threads)  # asked for both CPU and GPU, and read once
        self._uses = {
            name: replace(self._use(name, run, found, now_s, threads), gpu=_gpu(run, threads, gpus))
            for name, run in runs.items()
            if (found := usage.get(run.container_id)) is not None
        }
        self._measured = {name: kept for name, kept in self._measured.items() if name in self._uses}
        self._threads = {name: kept for name, kept in self._threads.items() if name in self._uses}

    def _use(self, name: str, run: Measurable, found: Usage, now_s: float, threads: Threads) -> Use:
        millicores = self._millicores(name, found, now_s)
        if millicores is None:
            self._threads.pop(name, None)
            return Use(None, found.memory_mib)
        spread = self._spread(name, run, found.cpu_s, millicores, threads)
        return Use(millicores, found.memory_mib, spread)

    def _spread(
        self, name: str, run: Measurable, cpu_s: float, millicores: int, threads: Threads
    ) -> tuple[int, ...] | None:
        """The use per core; unknown at the first look at the threads."""
        before = self._threads.get(name)
        if run.cores == 1 or (before is not None and cpu_s - before.cpu_s < TICK_S):
            return (millicores,)
        self._threads[name] = after = _Threads(cpu_s, threads(run.container_id))
        if before is None or not after.by_thread_s:
            return None
        return per_core(
            before.by_thread_s,
            after.by_thread_s,
            cpu_s=cpu_s - before.cpu_s,
            millicores=millicores,
            cores=run.cores,
        )

    def _millicores(self, name: str, now: Usage, now_s: float) -> int | None:
        """Use since the last measurement; unknown at the first one and after a restart."""
        before = self._measured.get(name)
        self._measured[name] = (now_s, now)
        if before is None or now.cpu_s < before[1].cpu_s or now_s <= before[0]:
            return None
        return round(1000 * (now.cpu_s - before[1].cpu_s) / (now_s - before[0]))


def _gpu(run: Measurable, threads: Threads, gpus: Sequence[Mapping[int, GpuProcess]]) -> GpuProcess:
    if not run.has_gpus or not any(gpus):
        return UNKNOWN
    # The number of a process is that of its first thread.
    return gpu_share(threads(run.container_id).keys(), gpus)
