"""What a container uses, from its cgroup's own files: three short reads, no engine involved.

Both cgroup versions are understood, also side by side. Descriptors are opened once and kept.
"""

import os
from pathlib import Path

from roheletd.engines import Usage

_READ_BYTES = 8192


class CgroupMeter:
    """Kept descriptors of one cgroup. Raises `OSError` once the cgroup is gone."""

    def __init__(self, cpu: Path, memory: Path, *, version: int) -> None:
        self.version = version
        self.memory = memory
        self._threads = cpu / ("tasks" if version == 1 else "cgroup.threads")
        names = ("cpuacct.usage", "memory.usage_in_bytes")
        if version == 2:  # noqa: PLR2004 - the version of cgroups
            names = ("cpu.stat", "memory.current")
        self._descriptors: list[int] = []
        try:
            for path in (cpu / names[0], memory / names[1], memory / "memory.stat"):
                self._descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    def usage(self) -> Usage:
        cpu, memory, stat = (os.pread(fd, _READ_BYTES, 0) for fd in self._descriptors)
        if self.version == 1:
            cpu_s = int(cpu) / 1e9
            cache = counter(stat, b"total_inactive_file")
        else:
            cpu_s = counter(cpu, b"usage_usec") / 1e6
            cache = counter(stat, b"inactive_file")
        # The kernel gives inactive file cache back on demand: it is not needed, only there.
        return Usage(cpu_s=cpu_s, memory_mib=max(0, int(memory) - cache) >> 20)

    def threads(self) -> list[int]:
        """The threads that are in it now; none once it is gone."""
        try:
            return [int(line) for line in self._threads.read_bytes().split()]
        except OSError:
            return []

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []


def meter(pid: int, container_id: str) -> CgroupMeter | None:
    """The meter of the container that `pid` runs in; None if it has just gone.

    The container's id is part of its cgroup's name with every engine, which is how a process
    that has meanwhile been given the same pid is told apart.
    """
    try:
        paths = _paths(Path(f"/proc/{pid}/cgroup").read_text(), container_id)
        mounts = _mounts(Path("/proc/self/mountinfo").read_text())
        if "memory" in paths and "memory" in mounts:
            cpu, memory = (mounts[key] / paths[key] for key in ("cpuacct", "memory"))
            return CgroupMeter(cpu, memory, version=1)
        if "" in paths and "" in mounts:
            folder = mounts[""] / paths[""]
            return CgroupMeter(folder, folder, version=2)
    except (OSError, KeyError):
        pass
    return None


def runs_in(pid: int, container_id: str) -> bool:
    """Whether a process is that container's. Raises `OSError` once it is gone."""
    return bool(_paths(Path(f"/proc/{pid}/cgroup").read_text(), container_id))


def _paths(text: str, container_id: str) -> dict[str, str]:
    """Controller ("" for version 2) to cgroup path, of those that belong to the container."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if container_id in path:
            found |= {name: path.lstrip("/") for name in controllers.split(",")}
    return found


def _mounts(text: str) -> dict[str, Path]:
    """Controller ("" for version 2) to mount point."""
    found: dict[str, Path] = {}
    for line in text.splitlines():
        place, _, kind = line.partition(" - ")
        point = Path(place.split()[4])
        if kind.startswith("cgroup2 "):
            found[""] = point
        elif kind.startswith("cgroup "):
            found |= dict.fromkeys(kind.split()[-1].split(","), point)
    return found


def counter(text: bytes, name: bytes) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(b" ")
        if key == name:
            return int(value)
    return 0
