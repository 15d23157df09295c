"""Whole captured machines, read end to end through kept descriptors."""

import shutil
from pathlib import Path

import psutil
import pytest

from roheletd.telemetry import MemoryUse, Telemetry, report
from tests.collectors.conftest import Opener
from tests.collectors.machines import FIXTURES, captured, unpack

MACHINES = sorted(path.stem for path in FIXTURES.glob("*.txt"))
WHOLE_MACHINES = [
    name
    for name in MACHINES
    if name
    not in {
        "raspberry_pi_4_one_second_later",
        "hotplug_vm_four_cores_gone",
    }
]


@pytest.mark.parametrize("name", WHOLE_MACHINES)
def test_no_sensor_is_sick_on_a_healthy_machine(
    name: str, tmp_path: Path, collectors_of: Opener
) -> None:
    sample = collectors_of(unpack(name, tmp_path)).sample(1.0)
    assert sample.sick == {}
    assert sample.cores
    assert sample.memory is not None


def test_raspberry_pi_report_between_two_captures(tmp_path: Path, collectors_of: Opener) -> None:
    collectors = collectors_of(unpack("raspberry_pi_4", tmp_path))
    before = collectors.sample(10.0)
    unpack("raspberry_pi_4_one_second_later", tmp_path)
    after = collectors.sample(11.0)
    told = report(before, after, node="pi", at_s=1.7e9)
    assert told.sick == {}
    assert told.interval_s == 1.0
    assert told.cpu is not None
    assert told.cpu.used_millicores == {0: 600, 1: 0, 2: 250, 3: 1000}
    assert told.cpu.frequency_mhz == dict.fromkeys(range(4), 1500)
    assert told.cpu.load == (0.42, 0.31, 0.22)
    assert told.memory == MemoryUse(
        total_mib=3793, available_mib=3047, swap_total_mib=99, swap_used_mib=0
    )
    assert [disk.mount for disk in told.disks] == ["/", "/boot/firmware"]
    assert told.disks[0].read_kib_s == 104.0  # 208 sectors
    assert told.disks[0].written_kib_s == 8.0
    assert [(use.name, use.received_kib_s, use.sent_kib_s) for use in told.network] == [
        ("eth0", 100.0, 3.0),
        ("wlan0", 0.0, 0.0),
        ("docker0", 0.0, 0.0),
    ]
    assert [(zone.name, zone.celsius) for zone in told.thermal] == [("cpu-thermal", 54.5)]
    assert told.throttled == (
        "under-voltage",
        "throttled",
        "under-voltage has occurred",
        "throttling has occurred",
    )
    (gpu,) = told.gpus
    assert (gpu.id, gpu.used_percent, gpu.shares_memory) == ("fec00000.v3d", 37.5, True)
    assert told.taken_ports == (22, 1883, 9090)


def test_raspberry_pi_capacity_counts_shared_memory_as_the_systems(
    tmp_path: Path, collectors_of: Opener
) -> None:
    collectors = collectors_of(unpack("raspberry_pi_4", tmp_path))
    collectors.open()
    capacity = collectors.capacity()
    assert capacity.cores == dict.fromkeys(range(4), 1000)
    assert capacity.memory_mib == 3793
    assert capacity.vms_mib == 3793 + 99
    (gpu,) = capacity.gpus
    assert (gpu.memory_mib, gpu.shares_memory) == (3793, True)
    assert collectors.frequency_ghz() == 1.8
    assert collectors.mac_address() == "dc:a6:32:01:02:03"


def test_xavier_with_two_cores_offline_reports_six_and_names_the_two(
    tmp_path: Path, collectors_of: Opener
) -> None:
    sample = collectors_of(unpack("jetson_xavier", tmp_path)).sample(1.0)
    assert sorted(sample.cores) == [0, 1, 2, 3, 4, 5]
    assert sample.offline == (6, 7)
    assert sorted(sample.frequency_mhz) == [0, 1, 2, 3, 4, 5]
    (reading,) = sample.gpus
    assert reading.use.id == "17000000.gv11b"
    assert reading.use.model == "Jetson-AGX"
    assert reading.use.used_percent == 34.2
    assert reading.use.celsius == 43.0
    assert reading.use.shares_memory
    assert reading.use.memory_total_mib is None
    assert [zone.name for zone in sample.thermal][:2] == ["CPU-therm", "GPU-therm"]
    assert [space.mount for space in sample.disk_space] == ["/"]  # and no zram


def test_orin_with_its_gpu_asleep_has_null_temperatures_and_a_load(
    tmp_path: Path, collectors_of: Opener
) -> None:
    sample = collectors_of(unpack("jetson_orin", tmp_path)).sample(1.0)
    assert {zone.name: zone.celsius for zone in sample.thermal} == {
        "cpu-thermal": 48.3,
        "gpu-thermal": None,
        "cv0-thermal": None,
        "cv1-thermal": None,
        "soc0-thermal": 47.0,
        "tj-thermal": 48.3,
        "soc1-thermal": None,
    }
    (reading,) = sample.gpus
    assert reading.use.used_percent == 0.0
    assert reading.use.celsius is None


def test_pc_with_a_core_offline_keeps_core_ids(tmp_path: Path, collectors_of: Opener) -> None:
    sample = collectors_of(unpack("pc_core_offline", tmp_path)).sample(1.0)
    assert sorted(sample.cores) == [0, 1, 2]
    assert sample.offline == (3,)
    assert sample.frequency_mhz == {0: 800, 1: 1200, 2: 1600}
    assert [zone.celsius for zone in sample.thermal] == [27.8, None, 41.0]
    # Each device once; neither the image file nor the stick behind a FUSE process.
    assert [(space.mount, space.device) for space in sample.disk_space] == [
        ("/", "nvme0n1p2"),
        ("/boot/efi", "nvme0n1p1"),
    ]
    assert sample.taken_ports == (631, 8080)
    assert sample.gpus == ()


def test_amd_card_tells_use_memory_heat_and_power(tmp_path: Path, collectors_of: Opener) -> None:
    sample = collectors_of(unpack("amd_desktop", tmp_path)).sample(1.0)
    (reading,) = sample.gpus
    use = reading.use
    assert (use.id, use.model) == ("0000:2d:00.0", "AMD 0x73bf")
    assert use.used_percent == 37.0
    assert (use.memory_used_mib, use.memory_total_mib) == (1250, 16368)
    assert (use.celsius, use.power_w) == (52.0, 41.0)
    assert not use.shares_memory


def test_cores_unplugged_between_two_samples_vanish_from_the_report(
    tmp_path: Path, collectors_of: Opener
) -> None:
    collectors = collectors_of(unpack("hotplug_vm", tmp_path))
    before = collectors.sample(0.0)
    assert len(before.cores) == 8
    unpack("hotplug_vm_four_cores_gone", tmp_path)
    for core in range(4, 8):
        shutil.rmtree(tmp_path / f"sys/devices/system/cpu/cpu{core}")
    at_once = collectors.sample(1.0)
    told = report(before, at_once, node="vm", at_s=0.0)
    assert told.cpu is not None
    assert told.cpu.used_millicores == dict.fromkeys(range(4), 300)
    assert told.cpu.offline == (4, 5, 6, 7)  # still listed as present when last looked for
    assert collectors.capacity().cores == dict.fromkeys(range(4), 1000)
    later = collectors.sample(11.0)
    assert later.offline == ()
    assert sorted(later.frequency_mhz) == [0, 1, 2, 3]
    assert later.sick == {}


def test_cores_plugged_in_between_two_samples_have_no_rate_at_first(
    tmp_path: Path, collectors_of: Opener
) -> None:
    unpack("hotplug_vm", tmp_path)
    collectors = collectors_of(unpack("hotplug_vm_four_cores_gone", tmp_path))
    before = collectors.sample(0.0)
    (tmp_path / "proc/stat").write_bytes(captured("hotplug_vm", "proc/stat"))
    after = collectors.sample(1.0)
    told = report(before, after, node="vm", at_s=0.0)
    assert told.cpu is not None
    assert sorted(told.cpu.used_millicores) == [0, 1, 2, 3]
    assert sorted(after.cores) == list(range(8))


def test_a_captured_machine_leaves_psutil_on_the_real_one(
    tmp_path: Path, collectors_of: Opener
) -> None:
    collectors_of(unpack("raspberry_pi_4", tmp_path)).sample(0.0)
    assert psutil.PROCFS_PATH == "/proc"


def test_a_machine_that_says_nothing_of_itself_is_described_as_far_as_it_goes(
    tmp_path: Path, collectors_of: Opener
) -> None:
    unpack("raspberry_pi_4", tmp_path)
    (tmp_path / "sys/class/net/eth0/address").unlink()
    cpufreq = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    (cpufreq / "cpuinfo_max_freq").write_text("?\n")
    collectors = collectors_of(tmp_path)
    assert collectors.mac_address() == ""
    assert collectors.frequency_ghz() == 0.0


def test_this_very_machine_is_measured(collectors_of: Opener) -> None:
    collectors = collectors_of(Path("/"))
    collectors.open()
    before = collectors.sample(1.0)
    told: Telemetry = report(before, collectors.sample(2.0), node="here", at_s=0.0)
    capacity = collectors.capacity()
    collectors.close()
    assert told.cpu is not None
    assert set(told.cpu.used_millicores) == set(capacity.cores)
    assert told.memory is not None
    assert 0 < told.memory.available_mib <= told.memory.total_mib == capacity.memory_mib
    assert not {"cpu", "load", "memory", "network", "ports"} & told.sick.keys()
    assert collectors.arch()
