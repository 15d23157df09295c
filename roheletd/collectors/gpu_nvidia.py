"""NVIDIA GPUs through NVML, the driver's own library.

`pynvml` costs some 5 MB, so that it is imported only where a driver is loaded. A driver that is
loaded late, a GPU added later and a driver that was reloaded are all met by starting NVML anew at
the next look.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from roheletd.collectors.sensor import Reading, Sensor, SensorError
from roheletd.telemetry import GpuProcess, GpuReading, GpuUse

MIB = 1024 * 1024
DRIVER_FILES = ("proc/driver/nvidia/version", "dev/nvidiactl")
GPUS_MAX = 64

T = TypeVar("T")


class NvidiaSensor(Sensor[tuple[GpuReading, ...]]):
    """Every GPU that NVML shows; a figure that one does not support is null."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._library: Library | None = None
        self._listed: frozenset[str] = frozenset()

    def look(self) -> None:
        """Start NVML where a driver is; again where it failed or the list of GPUs changed."""
        if not any((self._root / name).exists() for name in DRIVER_FILES):
            self.close()
            return
        listed = listed_gpus(self._root)
        if self._library is not None and self._library.sound and listed == self._listed:
            return
        self.close()
        self._library = Library()
        self._listed = listed

    def read(self) -> Reading[tuple[GpuReading, ...]]:
        return Reading(()) if self._library is None else self._library.read()

    def close(self) -> None:
        library, self._library = self._library, None
        if library is not None:
            library.close()


class Library:
    """NVML, started, with its GPUs. `sound` until more than a figure of a GPU fails."""

    def __init__(self) -> None:
        import pynvml  # noqa: PLC0415 - see the head of this file

        self._nvml: ModuleType = pynvml
        self.sound = True
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise SensorError(f"cannot start NVML, is the driver complete? {error}") from None
        self._gpus: dict[int, Gpu] = {}

    def read(self) -> Reading[tuple[GpuReading, ...]]:
        readings: list[GpuReading] = []
        troubles: list[str] = []
        for index in range(min(self._count(), GPUS_MAX)):
            try:
                gpu = self._gpu(index)
                readings.append(GpuReading(use=gpu.read(), processes=gpu.processes()))
            except self._nvml.NVMLError as error:
                self.sound = False
                troubles.append(f"GPU {index}: {error}")
        return Reading(tuple(readings), "; ".join(troubles))

    def _count(self) -> int:
        try:
            count: int = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            self.sound = False
            raise SensorError(f"NVML does not count its GPUs: {error}") from None
        return count

    def _gpu(self, index: int) -> "Gpu":
        if index not in self._gpus:
            self._gpus[index] = Gpu(self._nvml, index)
        return self._gpus[index]

    def close(self) -> None:
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            self.sound = False  # the driver has gone already and took its side down with it


class Gpu:
    """One GPU by its handle."""

    def __init__(self, nvml: ModuleType, index: int) -> None:
        self._nvml = nvml
        self._unsupported = (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound)
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self._id: str = self._figure(nvml.nvmlDeviceGetUUID) or f"nvidia-{index}"
        self._model: str = self._figure(nvml.nvmlDeviceGetName) or ""
        self._told_at_us = 0

    def read(self) -> GpuUse:
        nvml = self._nvml
        rates = self._figure(nvml.nvmlDeviceGetUtilizationRates)
        memory = self._figure(nvml.nvmlDeviceGetMemoryInfo)
        power_mw = self._figure(nvml.nvmlDeviceGetPowerUsage)
        return GpuUse(
            id=self._id,
            model=self._model,
            used_percent=None if rates is None else float(rates.gpu),
            memory_total_mib=None if memory is None else memory.total // MIB,
            memory_used_mib=None if memory is None else memory.used // MIB,
            # NVML has no memory to tell of where the GPU uses the system's (Thor, GB10).
            shares_memory=memory is None,
            celsius=self._celsius(),
            power_w=None if power_mw is None else round(power_mw / 1000, 1),
        )

    def processes(self) -> dict[int, GpuProcess]:
        """What each process uses. Where nobody may know, nobody does: it makes no GPU sick."""
        nvml = self._nvml
        try:
            running = nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
            if not running:
                return {}
            busy = self._busy()
        except nvml.NVMLError:
            return {}
        return {
            process.pid: GpuProcess(
                None if busy is None else busy.get(process.pid, 0.0),
                None if process.usedGpuMemory is None else process.usedGpuMemory // MIB,
            )
            for process in running
        }

    def _busy(self) -> dict[int, float] | None:
        """Percent by process since the last time, without those that did nothing."""
        nvml = self._nvml
        try:
            told = nvml.nvmlDeviceGetProcessUtilization(self._handle, self._told_at_us)
        except nvml.NVMLError_NotFound:
            return {}
        except self._unsupported:
            return None
        self._told_at_us = max((each.timeStamp for each in told), default=self._told_at_us)
        return {each.pid: float(each.smUtil) for each in told}

    def _celsius(self) -> float | None:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        for query in (
            self._nvml.nvmlDeviceGetTemperatureV,
            self._nvml.nvmlDeviceGetTemperature,  # drivers that do not know the former
        ):
            celsius = self._figure(query, sensor)
            if celsius is not None:
                return float(celsius)
        return None

    def _figure(self, query: Callable[..., T], *arguments: int) -> T | None:
        try:
            return query(self._handle, *arguments)
        except self._unsupported:
            return None


def listed_gpus(root: Path) -> frozenset[str]:
    """PCI addresses of the GPUs the driver serves; empty where it keeps no such list."""
    return frozenset(path.name for path in (root / "proc/driver/nvidia/gpus").glob("*"))
