"""The GPU of a Jetson board, through devfreq: NVML is missing there before JetPack 7.

Each generation calls it otherwise: gp10b (TX2), gv11b (Xavier), ga10b (Orin, JetPack 5), gpu
(Nano; Orin, JetPack 6). Thor names none and has one devfreq device per cluster, `gpu-gpc-N`; its
load comes from NVML, so that there this sensor finds nothing. Other makers' boards have a devfreq
device named gpu too, but without a load file. The memory is the system's.
"""

from pathlib import Path

from roheletd.collectors.kernel_file import KernelFile, KernelFiles
from roheletd.collectors.kernel_text import count, words
from roheletd.collectors.sensor import Reading, Sensor, reason
from roheletd.collectors.thermal import read_celsius, zone_type
from roheletd.telemetry import GpuReading, GpuUse

NAMES = frozenset(("gp10b", "gv11b", "ga10b", "gpu"))
CLUSTER_PREFIX = "gpu-gpc-"

# Where the load is on releases whose devfreq device does not lead to it.
DIRECT_LOADS = ("sys/devices/gpu.0/load", "sys/devices/platform/gpu.0/load")

LOAD_MAX = 1000  # per mille


class JetsonSensor(Sensor[tuple[GpuReading, ...]]):
    """The one GPU of the board. Its devfreq device may appear after we have started."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = KernelFiles()
        self._load: Path | None = None
        self._celsius: float | None = None
        self._id = ""
        self._model = ""

    def look(self) -> None:
        device = devfreq_gpu(self._root)
        self._load = device and load_file(self._root, device)
        if device is None or self._load is None:
            self._files.close()
            return
        self._id = device.name
        self._model = self._model or board_model(self._root)
        zone = gpu_zone(self._root)
        self._files.keep({path for path in (self._load, zone) if path is not None})
        # As seldom as the thermal zones themselves: asking takes a millisecond.
        self._celsius = None if zone is None else read_celsius(self._files[zone])

    def read(self) -> Reading[tuple[GpuReading, ...]]:
        if self._load is None:
            return Reading(())
        percent, trouble = read_percent(self._files[self._load])
        use = GpuUse(
            id=self._id,
            model=self._model,
            used_percent=percent,
            shares_memory=True,
            celsius=self._celsius,
        )
        return Reading((GpuReading(use=use),), trouble)

    def close(self) -> None:
        self._files.close()


def read_percent(file: KernelFile) -> tuple[float | None, str]:
    """Its load, or the trouble with it: the device itself is there either way."""
    try:
        return parse_load(file.read()), ""
    except OSError as error:
        return None, reason(error)


def devfreq_gpu(root: Path) -> Path | None:
    """The first GPU among the devices whose clock the kernel governs."""
    devices = sorted((root / "sys/class/devfreq").glob("*"))
    return next((device for device in devices if is_gpu(device)), None)


def is_gpu(device: Path) -> bool:
    if device.name.startswith(CLUSTER_PREFIX):
        return True
    try:
        return words((device / "device/of_node/name").read_bytes()) in NAMES
    except FileNotFoundError:
        return False


def load_file(root: Path, device: Path) -> Path | None:
    candidates = (device / "device/load", *(root / direct for direct in DIRECT_LOADS))
    return next((path for path in candidates if path.exists()), None)


def gpu_zone(root: Path) -> Path | None:
    """Temperature of the zone that calls itself the GPU's: GPU-therm, gpu-thermal, ..."""
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        if zone_type(zone).lower().startswith("gpu"):
            return zone / "temp"
    return None


def board_model(root: Path) -> str:
    try:
        return words((root / "proc/device-tree/model").read_bytes())
    except FileNotFoundError:
        return ""


def parse_load(text: bytes) -> float:
    """Per mille, as the kernel prints it, in percent."""
    load = count(text)
    if load > LOAD_MAX:
        raise ValueError(f"GPU load: expected per mille, found {text!r:.80}")
    return load / 10
