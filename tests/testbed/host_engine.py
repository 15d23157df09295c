"""The dockerd of one host among several, which can lose power and boot again."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tests.testbed.engines import Dockerd, unmount_below

_CGROUPS = Path("/sys/fs/cgroup")
_EMPTY_S = 10.0


class HostEngine(Dockerd):
    """`cgroup` holds all its containers, and is of no other engine, so that it can be removed."""

    def __init__(
        self, folder: Path, prefix: tuple[str, ...], *, cgroup: str, swarm: bool = False
    ) -> None:
        options = ("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{cgroup}")
        # Docker's own clusters do without live-restore.
        super().__init__(folder, prefix, options=options, live_restore=not swarm)
        self._cgroup = cgroup

    def forget_boot(self) -> None:
        """All its processes were killed: remove what a real machine does not keep over a boot."""
        for process in (self._process, self._containerd):
            if process is not None:
                process.wait()
        self._process = self._containerd = None
        for socket in self._shim_sockets():
            socket.unlink(missing_ok=True)
        unmount_below(self.folder)
        for volatile in ("exec", "containerd/state"):
            shutil.rmtree(self.folder / volatile, ignore_errors=True)
        for top in (*_CGROUPS.glob(self._cgroup), *_CGROUPS.glob(f"*/{self._cgroup}")):
            _remove_cgroup(top)

    def _shim_sockets(self) -> Iterator[Path]:
        """They are in a folder of the whole machine, and a killed shim leaves its own there."""
        for noted in self.folder.glob("containerd/state/*/*/*/address"):
            yield Path(noted.read_text().removeprefix("unix://"))


def _remove_cgroup(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        deadline_s = time.monotonic() + _EMPTY_S
        while not _removed(folder):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{folder} still holds a process after {_EMPTY_S} s")
            time.sleep(0.005)


def _removed(folder: str) -> bool:
    """False while a killed process has not left it yet."""
    try:
        os.rmdir(folder)  # noqa: PTH106 - as os.walk names it
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        if error.errno != errno.ENOENT:
            raise
    return True
