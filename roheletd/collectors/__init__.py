"""What this machine does now, read from the kernel and its drivers: one small file per sensor.

Reading and parsing are two things: a sensor reads, a free function of bytes parses. Descriptors
stay open, so that a sample is one pread per file. What changes slowly or costs much is read only
every `look_interval_s`, and that is also how often we look for devices that appeared.
"""

import math
import os
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from roheletd.collectors import (
    cpu,
    disk,
    gpu_drm,
    gpu_jetson,
    gpu_nvidia,
    memory,
    network,
    ports,
    power,
    thermal,
)
from roheletd.collectors.sensor import Watch
from roheletd.model import Capacity
from roheletd.telemetry import GpuReading, Sample, capacity

__all__ = ["Collectors"]

T = TypeVar("T")


class Collectors:
    """All sensors of one machine. `root` is "/", or a captured tree of /proc and /sys.

    A sensor that fails is named with its reason in `Sample.sick` and tried again; one for which
    this machine has no hardware is simply absent.
    """

    def __init__(self, root: str = "/", *, look_interval_s: float = 10.0) -> None:
        self._root = base = Path(root)
        self._look_interval_s = look_interval_s
        nothing: tuple[()] = ()
        self._cores = Watch("cpu", cpu.CoreSensor(base), nothing=cpu.Cores())
        self._load = Watch("load", cpu.LoadSensor(base), nothing=(0.0, 0.0, 0.0))
        self._frequency = Watch("frequency", cpu.FrequencySensor(base), nothing={}, slow=True)
        self._memory = Watch("memory", memory.MemorySensor(base), nothing=None)
        self._space = Watch("disk_space", disk.DiskSpaceSensor(base), nothing=nothing, slow=True)
        self._traffic = Watch("disk_traffic", disk.DiskTrafficSensor(base), nothing={})
        self._network = Watch("network", network.InterfaceSensor(base), nothing={})
        self._ports = Watch("ports", ports.PortSensor(base), nothing=nothing, slow=True)
        self._thermal = Watch("thermal", thermal.ThermalSensor(base), nothing=nothing, slow=True)
        self._throttled = Watch(
            "throttled", thermal.ThrottledSensor(base), nothing=nothing, slow=True
        )
        self._power = Watch("power", power.PowerSensor(base), nothing=None, slow=True)
        self._jetson = Watch("gpu_jetson", gpu_jetson.JetsonSensor(base), nothing=nothing)
        self._nvidia = Watch("gpu_nvidia", gpu_nvidia.NvidiaSensor(base), nothing=nothing)
        self._drm = Watch("gpu_drm", gpu_drm.DrmSensor(base), nothing=nothing)
        self._watches = (
            self._cores,
            self._load,
            self._frequency,
            self._memory,
            self._space,
            self._traffic,
            self._network,
            self._ports,
            self._thermal,
            self._throttled,
            self._power,
            self._jetson,
            self._nvidia,
            self._drm,
        )
        self._latest = Sample(monotonic_s=-math.inf)

    def open(self) -> None:
        """Look at everything once, so that the drivers' libraries are not loaded in a sample."""
        self.sample(-math.inf)

    def close(self) -> None:
        for watch in self._watches:
            watch.close()

    def sample(self, now_s: float) -> Sample:
        """All sensors now; `now_s` is the monotonic clock. Takes well under a millisecond."""
        sick: dict[str, str] = {}
        cores = self._ask(self._cores, now_s, sick)
        self._latest = Sample(
            monotonic_s=now_s,
            cores=cores.ticks,
            offline=cores.offline,
            load=self._ask(self._load, now_s, sick),
            frequency_mhz=self._ask(self._frequency, now_s, sick),
            memory=self._ask(self._memory, now_s, sick),
            disk_space=self._ask(self._space, now_s, sick),
            disk_traffic=self._ask(self._traffic, now_s, sick),
            network=self._ask(self._network, now_s, sick),
            thermal=self._ask(self._thermal, now_s, sick),
            throttled=self._ask(self._throttled, now_s, sick),
            power=self._ask(self._power, now_s, sick),
            gpus=self._gpus(now_s, sick),
            taken_ports=self._ask(self._ports, now_s, sick),
            sick=sick,
        )
        return self._latest

    def capacity(self) -> Capacity:
        """What this machine has, from the latest sample; `open` takes the first.

        A processor or memory sensor that fails for a moment does not make the machine smaller. A
        GPU that cannot be read does: nothing should be placed on it.
        """
        cores, memory_use = self._cores.known.ticks, self._memory.known
        return capacity(replace(self._latest, cores=cores, memory=memory_use))

    def frequency_ghz(self) -> float:
        """Clock of the fastest core at its best; 0 where the kernel does not say."""
        return cpu.frequency_max_ghz(self._root)

    def mac_address(self) -> str:
        """Address of the first real network interface; "" where there is none."""
        return network.mac_address(self._root)

    @staticmethod
    def arch() -> str:
        """The machine as the kernel names it: x86_64, aarch64."""
        return os.uname().machine

    def _ask(self, watch: Watch[T], now_s: float, sick: dict[str, str]) -> T:
        return watch.value(now_s, self._look_interval_s, sick)

    def _gpus(self, now_s: float, sick: dict[str, str]) -> tuple[GpuReading, ...]:
        # From JetPack 7 a Jetson shows its one GPU through NVML as well: it is counted once.
        jetson = self._ask(self._jetson, now_s, sick)
        nvidia = () if jetson else self._ask(self._nvidia, now_s, sick)
        return jetson + nvidia + self._ask(self._drm, now_s, sick)
