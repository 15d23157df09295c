"""A sensor that fails is named, the others go on, and it is tried again."""

import math
import os
from pathlib import Path

import pytest

from roheletd.collectors.kernel_file import KernelFile
from roheletd.collectors.sensor import REASON_LENGTH_MAX, Reading, Sensor, SensorError, Watch
from tests.collectors.conftest import Opener
from tests.collectors.machines import captured, unpack


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    return unpack("raspberry_pi_4", tmp_path)


def make_unreadable(path: Path) -> None:
    """A directory opens, and every read of it fails with an errno: a sick device, without mocks."""
    path.unlink()
    path.mkdir()


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_an_unreadable_file_is_named_and_the_rest_is_reported(
    pi: Path, collectors_of: Opener
) -> None:
    make_unreadable(pi / "proc/meminfo")
    sample = collectors_of(pi).sample(0.0)
    assert sample.sick == {"memory": f"{pi}/proc/meminfo: Is a directory"}
    assert sample.memory is None
    assert len(sample.cores) == 4
    assert sample.gpus


@pytest.mark.parametrize(
    ("file", "sensor"),
    [
        ("proc/stat", "cpu"),
        ("proc/loadavg", "load"),
        ("proc/meminfo", "memory"),
        ("proc/diskstats", "disk_traffic"),
        ("proc/net/dev", "network"),
        ("proc/net/tcp", "ports"),
        ("proc/filesystems", "disk_space"),
        ("sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq", "frequency"),
        ("sys/class/thermal/thermal_zone0/temp", "thermal"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "throttled"),
        ("sys/devices/platform/v3dbus/fec00000.v3d/gpu_stats", "gpu_drm"),
    ],
)
def test_garbage_in_a_file_makes_only_its_sensor_sick(
    pi: Path, file: str, sensor: str, collectors_of: Opener
) -> None:
    (pi / file).write_bytes(b"gar\xffbage \x00 gar\nbage more\n gar gar gar gar\n")
    if sensor == "disk_space":
        (pi / file).unlink()  # no garbage is garbage to psutil; absent it is missed
    sample = collectors_of(pi).sample(0.0)
    assert list(sample.sick) == [sensor]
    assert sample.sick[sensor]


def test_a_sick_sensor_is_tried_again_and_recovers(pi: Path, collectors_of: Opener) -> None:
    collectors = collectors_of(pi)
    (pi / "proc/stat").write_text("nonsense\n")
    assert list(collectors.sample(0.0).sick) == ["cpu"]
    (pi / "proc/stat").write_bytes(captured("raspberry_pi_4", "proc/stat"))
    sample = collectors.sample(1.0)
    assert sample.sick == {}
    assert len(sample.cores) == 4


def test_a_slow_sensor_stays_named_until_it_is_looked_at_again(
    pi: Path, collectors_of: Opener
) -> None:
    collectors = collectors_of(pi)
    throttled = pi / "sys/devices/platform/soc/soc:firmware/get_throttled"
    throttled.write_text("what\n")
    assert "throttled" in collectors.sample(0.0).sick
    throttled.write_text("1\n")
    assert "throttled" in collectors.sample(9.9).sick
    sample = collectors.sample(10.0)
    assert sample.throttled == ("under-voltage",)
    assert sample.sick == {}


def test_a_moment_of_sickness_does_not_make_the_machine_smaller(
    pi: Path, collectors_of: Opener
) -> None:
    collectors = collectors_of(pi)
    collectors.open()
    whole = collectors.capacity()
    (pi / "proc/stat").write_text("nonsense\n")
    (pi / "proc/meminfo").write_text("nonsense\n")
    assert set(collectors.sample(1.0).sick) == {"cpu", "memory"}
    assert collectors.capacity() == whole


def test_what_the_machine_lacks_is_absent_and_not_sick(
    tmp_path: Path, collectors_of: Opener
) -> None:
    sample = collectors_of(unpack("hotplug_vm", tmp_path)).sample(0.0)
    assert sample.sick == {}
    assert (sample.gpus, sample.thermal, sample.throttled) == ((), (), ())


def test_a_graphics_card_that_appears_late_is_found_late(pi: Path, collectors_of: Opener) -> None:
    collectors = collectors_of(pi)
    stats = pi / "sys/devices/platform/v3dbus/fec00000.v3d/gpu_stats"
    text = stats.read_text()
    stats.unlink()
    assert collectors.sample(0.0).gpus == ()
    stats.write_text(text)
    assert collectors.sample(1.0).gpus == ()
    assert [reading.use.id for reading in collectors.sample(10.0).gpus] == ["fec00000.v3d"]


def test_a_jetson_gpu_that_appears_late_is_found_late(
    tmp_path: Path, collectors_of: Opener
) -> None:
    unpack("jetson_xavier", tmp_path)
    load = tmp_path / "sys/devices/17000000.gv11b/load"
    load.unlink()
    collectors = collectors_of(tmp_path)
    assert collectors.sample(0.0).gpus == ()
    load.write_text("1000\n")
    assert collectors.sample(10.0).gpus[0].use.used_percent == 100.0


def test_a_jetson_whose_load_cannot_be_read_keeps_its_gpu_and_says_why(
    tmp_path: Path, collectors_of: Opener
) -> None:
    unpack("jetson_xavier", tmp_path)
    make_unreadable(tmp_path / "sys/devices/17000000.gv11b/load")
    sample = collectors_of(tmp_path).sample(0.0)
    assert sample.gpus[0].use.used_percent is None
    assert sample.sick["gpu_jetson"].endswith("load: Is a directory")


def test_other_boards_with_a_devfreq_gpu_are_no_jetsons(
    tmp_path: Path, collectors_of: Opener
) -> None:
    unpack("jetson_orin", tmp_path)
    (tmp_path / "sys/devices/platform/gpu.0/load").unlink()
    (tmp_path / "proc/driver/nvidia/version").unlink()
    sample = collectors_of(tmp_path).sample(0.0)
    assert sample.gpus == ()
    assert sample.sick == {}


def test_an_amd_card_that_sleeps_has_null_figures(tmp_path: Path, collectors_of: Opener) -> None:
    unpack("amd_desktop", tmp_path)
    device = tmp_path / "sys/devices/pci0000:00/0000:00:03.1/0000:2d:00.0"
    make_unreadable(device / "gpu_busy_percent")
    make_unreadable(device / "hwmon/hwmon3/temp1_input")
    sample = collectors_of(tmp_path).sample(0.0)
    (reading,) = sample.gpus
    assert (reading.use.used_percent, reading.use.celsius) == (None, None)
    assert reading.use.memory_total_mib == 16368
    assert sample.sick == {}


def test_upstream_kernels_tell_of_under_voltage_by_an_alarm(
    pi: Path, collectors_of: Opener
) -> None:
    (pi / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    hwmon = pi / "sys/class/hwmon/hwmon1"
    hwmon.mkdir(parents=True)
    (hwmon / "name").write_text("rpi_volt\n")
    (hwmon / "in0_lcrit_alarm").write_text("1\n")
    assert collectors_of(pi).sample(0.0).throttled == ("under-voltage",)
    (hwmon / "in0_lcrit_alarm").write_text("0\n")
    assert collectors_of(pi).sample(0.0).throttled == ()


def test_a_mount_that_has_gone_leaves_the_other_disks(pi: Path, collectors_of: Opener) -> None:
    (pi / "boot/firmware").rmdir()
    sample = collectors_of(pi).sample(0.0)
    assert [space.mount for space in sample.disk_space] == ["/"]
    assert sample.sick["disk_space"] == f"{pi}/boot/firmware: No such file or directory"


def test_disk_rates_go_on_while_a_mount_is_named(pi: Path, collectors_of: Opener) -> None:
    (pi / "boot/firmware").rmdir()
    sample = collectors_of(pi).sample(0.0)
    assert "mmcblk0p2" in sample.disk_traffic


def test_a_descriptor_gone_bad_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("first")
    file = KernelFile(path)
    assert file.read() == b"first"
    # What a vanished sysfs file does to its kept descriptor: every read is an error.
    os.dup2(os.open(tmp_path, os.O_RDONLY), file._descriptor)
    path.write_text("second")
    assert file.read() == b"second"
    file.close()


def test_a_file_that_cannot_be_read_leaves_no_descriptor_open(tmp_path: Path) -> None:
    open_before = descriptors()
    file = KernelFile(tmp_path)
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            file.read()
    assert descriptors() == open_before


def test_closing_returns_every_descriptor_and_sampling_may_go_on(
    pi: Path, collectors_of: Opener
) -> None:
    collectors_of(pi).sample(0.0)  # imports what is imported late
    before = len(descriptors())
    collectors = collectors_of(pi)
    collectors.open()
    collectors.sample(0.0)
    assert len(descriptors()) > before
    collectors.close()
    assert len(descriptors()) == before
    assert collectors.sample(1.0).sick == {}


class Flaky(Sensor[int]):
    """Fails in `look` or in `read` as told, and counts."""

    def __init__(self) -> None:
        self.look_error: Exception | None = None
        self.read_error: Exception | None = None
        self.reads = 0

    def look(self) -> None:
        if self.look_error:
            raise self.look_error

    def read(self) -> Reading[int]:
        self.reads += 1
        if self.read_error:
            raise self.read_error
        return Reading(self.reads)


def test_a_failed_look_keeps_its_reason_until_the_next_look() -> None:
    sensor = Flaky()
    watch = Watch("flaky", sensor, nothing=-1)
    sensor.look_error = SensorError("no driver")
    for now_s in (0.0, 1.0, 9.0):
        sick: dict[str, str] = {}
        assert watch.value(now_s, 10.0, sick) == -1
        assert sick == {"flaky": "no driver"}
    assert sensor.reads == 0
    sensor.look_error = None
    sick = {}
    assert watch.value(10.0, 10.0, sick) == 1
    assert sick == {}


def test_a_reason_is_short_however_much_a_driver_says() -> None:
    sensor = Flaky()
    sensor.read_error = ValueError("x" * 10_000)
    sick: dict[str, str] = {}
    Watch("flaky", sensor, nothing=0).value(0.0, 10.0, sick)
    assert len(sick["flaky"]) == REASON_LENGTH_MAX


def test_a_mistake_of_ours_is_not_taken_for_a_sick_sensor() -> None:
    sensor = Flaky()
    sensor.read_error = TypeError("ours")
    with pytest.raises(TypeError):
        Watch("flaky", sensor, nothing=0).value(0.0, 10.0, {})


def test_a_sample_taken_before_all_time_does_not_delay_the_first_look() -> None:
    sensor = Flaky()
    watch = Watch("flaky", sensor, nothing=0, slow=True)
    watch.value(-math.inf, 10.0, {})
    assert watch.value(0.0, 10.0, {}) == 2
    assert watch.value(5.0, 10.0, {}) == 2
