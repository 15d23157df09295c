"""Cgroup files of both versions, as captured; the live ones are read in test_docker."""

import os
from pathlib import Path

import pytest

from roheletd.engines import Usage, cgroup

V2 = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
    "memory.current": "73400320\n",
    "memory.stat": "anon 40000000\nfile 30000000\ninactive_anon 1\ninactive_file 20971520\n",
}
V1 = {
    "cpuacct.usage": "2500000000\n",
    "memory.usage_in_bytes": "73400320\n",
    "memory.stat": "inactive_file 4096\ntotal_cache 30000000\ntotal_inactive_file 20971520\n",
}


@pytest.mark.parametrize(("version", "files"), [(1, V1), (2, V2)])
def test_memory_is_without_what_the_kernel_can_take_back(version, files, tmp_path: Path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    meter = cgroup.CgroupMeter(tmp_path, tmp_path, version=version)
    assert meter.usage() == Usage(cpu_s=2.5, memory_mib=50)
    meter.close()


def test_a_process_of_this_machine_is_no_container_s() -> None:
    assert not cgroup.runs_in(os.getpid(), "0123456789abcdef")
    with pytest.raises(OSError, match="No such file"):
        cgroup.runs_in(2**22 + 1, "0123456789abcdef")


@pytest.mark.parametrize(
    ("version", "files", "list_"), [(1, V1, "tasks"), (2, V2, "cgroup.threads")]
)
def test_threads_are_those_that_the_kernel_lists(version, files, list_, tmp_path: Path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    meter = cgroup.CgroupMeter(tmp_path, tmp_path, version=version)
    (tmp_path / list_).write_text("17\n4711\n")
    assert meter.threads() == [17, 4711]
    (tmp_path / list_).unlink()
    assert meter.threads() == []
    meter.close()


def test_meter_of_a_cgroup_that_is_gone_leaves_no_descriptor(tmp_path: Path):
    (tmp_path / "cpu.stat").write_text(V2["cpu.stat"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        cgroup.CgroupMeter(tmp_path, tmp_path, version=2)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_only_the_containers_own_cgroup_counts():
    text = "9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/system.slice\n"
    assert cgroup._paths(text, "abc") == {
        "cpu": "docker/abc",
        "cpuacct": "docker/abc",
        "memory": "docker/abc",
    }


def test_version_two_path_is_found_below_its_mount():
    text = "0::/machine.slice/libpod-abc.scope/container\n"
    assert cgroup._paths(text, "abc") == {"": "machine.slice/libpod-abc.scope/container"}
    mounts = cgroup._mounts(
        "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
        "36 24 0:31 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    )
    assert mounts[""] == Path("/sys/fs/cgroup")
    assert mounts["cpuacct"] == Path("/sys/fs/cgroup/cpu")


def test_process_that_is_not_in_the_container_has_no_meter():
    assert cgroup.meter(1, "no-such-container") is None
