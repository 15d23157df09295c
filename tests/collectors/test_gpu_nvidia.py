"""NVML's ways to fail, played by a small module in the place of `pynvml`.

No GPU is at hand where these run. The errors are classes with a code, as the true module has them.
"""

# ruff: noqa: N801, N802, N818 - the library's names

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from roheletd.telemetry import GpuProcess
from tests.collectors.conftest import Opener
from tests.collectors.machines import unpack


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class NVMLError_FunctionNotFound(NVMLError):
    pass


class NVMLError_NotFound(NVMLError):
    pass


class NVMLError_GpuIsLost(NVMLError):
    pass


class FakeNvml(ModuleType):
    """Two cards; what is in `failures`, by function or (function, card), is raised."""

    NVML_TEMPERATURE_GPU = 0
    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    NVMLError_FunctionNotFound = NVMLError_FunctionNotFound
    NVMLError_NotFound = NVMLError_NotFound

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.failures: dict[str | tuple[str, int], NVMLError] = {}
        self.cards = 2
        self.starts = 0
        self.running = False

    def answer(self, name: str, value: object) -> Callable[..., object]:
        def query(card: int, *_: int) -> object:
            for key in (name, (name, card)):
                if key in self.failures:
                    raise self.failures[key]
            return value

        return query

    def __getattr__(self, name: str) -> Callable[..., object]:
        values: dict[str, object] = {
            "nvmlDeviceGetName": "NVIDIA T4",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=42, memory=7),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=16 << 30, used=3 << 30),
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetTemperatureV": 62,
            "nvmlDeviceGetPowerUsage": 27_340,
            "nvmlDeviceGetComputeRunningProcesses": [
                SimpleNamespace(pid=10, usedGpuMemory=400 << 20),
                SimpleNamespace(pid=11, usedGpuMemory=None),
            ],
            "nvmlDeviceGetProcessUtilization": [
                SimpleNamespace(pid=10, timeStamp=5, smUtil=31),
                SimpleNamespace(pid=77, timeStamp=4, smUtil=99),
            ],
        }
        return self.answer(name, values[name])

    def nvmlInit(self) -> None:
        self.answer("nvmlInit", None)(-1)
        self.starts += 1
        self.running = True

    def nvmlShutdown(self) -> None:
        self.running = False

    def nvmlDeviceGetCount(self) -> int:
        assert self.running
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self.answer("nvmlDeviceGetHandleByIndex", None)(index)
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        self.answer("nvmlDeviceGetUUID", None)(handle)
        return f"GPU-{handle}"


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A PC with the driver's files."""
    unpack("pc_core_offline", tmp_path)
    for address in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "proc/driver/nvidia/gpus" / address).mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version: 580.1\n")
    return tmp_path


def test_every_figure_of_every_card(driver: Path, nvml: FakeNvml, collectors_of: Opener) -> None:
    sample = collectors_of(driver).sample(0.0)
    assert sample.sick == {}
    assert [reading.use.id for reading in sample.gpus] == ["GPU-0", "GPU-1"]
    use = sample.gpus[0].use
    assert (use.model, use.used_percent, use.celsius, use.power_w) == (
        "NVIDIA T4",
        42.0,
        62.0,
        27.3,
    )
    assert (use.memory_used_mib, use.memory_total_mib) == (3072, 16384)


def test_each_process_is_told_apart(driver: Path, nvml: FakeNvml, collectors_of: Opener) -> None:
    processes = collectors_of(driver).sample(0.0).gpus[0].processes
    assert processes == {10: GpuProcess(31.0, 400), 11: GpuProcess(0.0, None)}


@pytest.mark.parametrize(
    ("query", "error", "expected"),
    [
        ("nvmlDeviceGetProcessUtilization", NVMLError_NotFound, GpuProcess(0.0, 400)),
        ("nvmlDeviceGetProcessUtilization", NVMLError_NotSupported, GpuProcess(None, 400)),
        ("nvmlDeviceGetProcessUtilization", NVMLError, None),
        ("nvmlDeviceGetComputeRunningProcesses", NVMLError, None),
    ],
)
def test_a_driver_that_does_not_tell_processes_apart_is_not_sick(
    query: str,
    error: type[NVMLError],
    expected: GpuProcess | None,
    request: pytest.FixtureRequest,
) -> None:
    request.getfixturevalue("nvml").failures[query] = error("not for you")
    collectors = request.getfixturevalue("collectors_of")(request.getfixturevalue("driver"))
    sample = collectors.sample(0.0)
    assert sample.sick == {}
    assert sample.gpus[0].processes.get(10) == expected


def test_capacity_lists_the_cards_with_their_own_memory(
    driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    collectors = collectors_of(driver)
    collectors.open()
    assert [(gpu.id, gpu.memory_mib, gpu.shares_memory) for gpu in collectors.capacity().gpus] == [
        ("GPU-0", 16384, False),
        ("GPU-1", 16384, False),
    ]


def test_without_a_driver_pynvml_is_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collectors_of: Opener
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it is an ImportError
    sample = collectors_of(unpack("pc_core_offline", tmp_path)).sample(0.0)
    assert sample.gpus == ()
    assert sample.sick == {}


def test_a_board_with_its_own_gpu_does_not_ask_nvml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collectors_of: Opener
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sample = collectors_of(unpack("jetson_orin", tmp_path)).sample(0.0)
    assert (tmp_path / "proc/driver/nvidia/version").exists()
    assert len(sample.gpus) == 1


def test_a_figure_that_is_not_supported_is_null_and_the_others_are_told(
    driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    for name in ("UtilizationRates", "MemoryInfo", "PowerUsage", "Name"):
        nvml.failures[f"nvmlDeviceGet{name}"] = NVMLError_NotSupported()
    nvml.failures["nvmlDeviceGetTemperatureV"] = NVMLError_FunctionNotFound()
    sample = collectors_of(driver).sample(0.0)
    use = sample.gpus[0].use
    assert (use.used_percent, use.memory_total_mib, use.memory_used_mib) == (None, None, None)
    assert (use.power_w, use.model) == (None, "")
    assert use.shares_memory  # NVML is silent on memory where it is the system's
    assert use.celsius == 61.0  # an old driver knows the old question
    assert sample.sick == {}


def test_a_card_without_a_uuid_goes_by_its_number(
    driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    nvml.failures["nvmlDeviceGetUUID"] = NVMLError_NotSupported()
    sample = collectors_of(driver).sample(0.0)
    assert [reading.use.id for reading in sample.gpus] == ["nvidia-0", "nvidia-1"]


def test_a_lost_card_is_named_the_other_goes_on_and_nvml_is_started_anew(
    driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    collectors = collectors_of(driver)
    collectors.sample(0.0)
    nvml.failures["nvmlDeviceGetUtilizationRates", 1] = NVMLError_GpuIsLost("GPU is lost")
    sample = collectors.sample(1.0)
    assert [reading.use.id for reading in sample.gpus] == ["GPU-0"]
    assert sample.sick == {"gpu_nvidia": "GPU 1: GPU is lost"}
    assert [gpu.id for gpu in collectors.capacity().gpus] == ["GPU-0"]
    nvml.failures.clear()
    assert collectors.sample(10.0).sick == {}
    assert nvml.starts == 2
    assert len(collectors.sample(11.0).gpus) == 2
    collectors.close()
    assert not nvml.running


def test_a_card_lost_before_the_start_leaves_the_other(
    driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    nvml.failures["nvmlDeviceGetHandleByIndex", 0] = NVMLError_GpuIsLost("GPU is lost")
    sample = collectors_of(driver).sample(0.0)
    assert [reading.use.id for reading in sample.gpus] == ["GPU-1"]
    assert sample.sick == {"gpu_nvidia": "GPU 0: GPU is lost"}


def test_a_driver_without_its_library_is_named_and_found_when_complete(
    driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    nvml.failures["nvmlInit"] = NVMLError("NVML Shared Library Not Found")
    collectors = collectors_of(driver)
    for now_s in (0.0, 1.0):
        sample = collectors.sample(now_s)
        assert sample.gpus == ()
        assert sample.sick["gpu_nvidia"].endswith("NVML Shared Library Not Found")
    nvml.failures.clear()
    assert len(collectors.sample(10.0).gpus) == 2


def test_a_driver_loaded_late_is_found_late(
    tmp_path: Path, driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    version = driver / "proc/driver/nvidia/version"
    version.rename(driver / "proc/driver/nvidia/not-yet")
    collectors = collectors_of(driver)
    assert collectors.sample(0.0).gpus == ()
    (driver / "proc/driver/nvidia/not-yet").rename(version)
    assert len(collectors.sample(10.0).gpus) == 2
    version.unlink()
    assert collectors.sample(20.0).gpus == ()
    assert not nvml.running


def test_a_card_added_late_is_found_by_starting_nvml_anew(
    driver: Path, nvml: FakeNvml, collectors_of: Opener
) -> None:
    collectors = collectors_of(driver)
    assert len(collectors.sample(0.0).gpus) == 2
    collectors.sample(10.0)
    assert nvml.starts == 1  # nothing changed, nothing is started
    (driver / "proc/driver/nvidia/gpus/0000:03:00.0").mkdir()
    nvml.cards = 3
    assert len(collectors.sample(20.0).gpus) == 3
    assert nvml.starts == 2


def test_the_names_used_are_those_of_the_true_library() -> None:
    import pynvml  # noqa: PLC0415 - the true one, which the other tests stand in for

    for name in (
        "nvmlInit",
        "nvmlShutdown",
        "nvmlDeviceGetCount",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetTemperatureV",
    ):
        assert callable(getattr(pynvml, name))
    for name in ("NVMLError_NotSupported", "NVMLError_FunctionNotFound"):
        assert issubclass(getattr(pynvml, name), pynvml.NVMLError)
    assert isinstance(pynvml.NVML_TEMPERATURE_GPU, int)


def test_the_true_library_without_a_driver_names_what_is_missing(
    driver: Path, collectors_of: Opener
) -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA driver")
    sample = collectors_of(driver).sample(0.0)
    assert sample.sick == {
        "gpu_nvidia": "cannot start NVML, is the driver complete? NVML Shared Library Not Found"
    }
