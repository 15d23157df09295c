"""Room and traffic of mounted block devices.

The list of mounts comes from psutil, which undoes the escapes of mount tables and knows what
`/dev/root` stands for. It takes 0.2 ms and more, so that it is asked seldom; its disk counters
would take as long each second, where reading /proc/diskstats takes a tenth of that.
"""

import os
from pathlib import Path

from roheletd.collectors.kernel_file import KernelFile
from roheletd.collectors.kernel_text import counts
from roheletd.collectors.sensor import Reading, Sensor, reason
from roheletd.telemetry import DiskSpace, Traffic

SECTOR_BYTES = 512  # of /proc/diskstats, whatever the device's own sector is
MIB = 1024 * 1024
DISKS_MAX = 16

# Not disks of the machine: image files, memory, optical drives.
SKIPPED_DEVICES = (b"loop", b"ram", b"zram", b"sr", b"fd")

# major minor name reads merged sectors-read ms writes merged sectors-written
NAME, SECTORS_READ, SECTORS_WRITTEN = 2, 5, 9


class DiskSpaceSensor(Sensor[tuple[DiskSpace, ...]]):
    """Size and free room of each block device that is mounted, once however often it is mounted.

    To be watched as slow: see the head of this file; and a statvfs for each device.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mounts: dict[str, str] = {}

    def look(self) -> None:
        self._mounts = {}
        # Of the mounts of one device the one nearest the root, whatever was bound elsewhere first.
        for device, mount, kind in sorted(mounted(self._root), key=lambda found: len(found[1])):
            # A FUSE file system answers from a process that may hang, and would hang us.
            if device.startswith("/dev/") and not kind.startswith("fuse"):
                self._add(device.removeprefix("/dev/"), mount)

    def read(self) -> Reading[tuple[DiskSpace, ...]]:
        spaces: list[DiskSpace] = []
        troubles: list[str] = []
        for device, mount in self._mounts.items():
            try:
                status = os.statvfs(self._root / mount.lstrip("/"))
            except OSError as error:
                troubles.append(reason(error))
            else:
                spaces.append(disk_space(mount, device, status))
        return Reading(tuple(spaces), "; ".join(troubles))

    def _add(self, device: str, mount: str) -> None:
        skipped = os.fsencode(device).startswith(SKIPPED_DEVICES)
        if not skipped and len(self._mounts) < DISKS_MAX:
            self._mounts.setdefault(device, mount)


class DiskTrafficSensor(Sensor[dict[str, Traffic]]):
    """Bytes read and written by device since boot."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/diskstats")

    def read(self) -> Reading[dict[str, Traffic]]:
        return Reading(parse_diskstats(b"".join(self._file.pages())))

    def close(self) -> None:
        self._file.close()


def mounted(root: Path) -> list[tuple[str, str, str]]:
    """Device, mount point and type of every file system on a block device."""
    import psutil  # noqa: PLC0415 - half a megabyte, and not before the first look

    before, psutil.PROCFS_PATH = psutil.PROCFS_PATH, str(root / "proc")
    try:
        return [
            # /dev/mapper/x is a link to /dev/dm-0, the name in the kernel's statistics.
            (os.path.realpath(partition.device), partition.mountpoint, partition.fstype)
            for partition in psutil.disk_partitions(all=False)
        ]
    finally:
        psutil.PROCFS_PATH = before


def disk_space(mount: str, device: str, status: os.statvfs_result) -> DiskSpace:
    """Free is what one who is not root may still write."""
    return DiskSpace(
        mount=mount,
        device=device,
        total_mib=status.f_blocks * status.f_frsize // MIB,
        free_mib=status.f_bavail * status.f_frsize // MIB,
    )


def parse_diskstats(text: bytes) -> dict[str, Traffic]:
    traffic: dict[str, Traffic] = {}
    for line in text.splitlines():
        fields = line.split(maxsplit=SECTORS_WRITTEN + 1)
        if len(fields) <= SECTORS_WRITTEN:
            raise ValueError(f"/proc/diskstats: expected counters, found {line!r:.80}")
        name = fields[NAME]
        if not name.startswith(SKIPPED_DEVICES):
            read, written = counts((fields[SECTORS_READ], fields[SECTORS_WRITTEN]))
            traffic[name.decode(errors="replace")] = Traffic(
                read * SECTOR_BYTES, written * SECTOR_BYTES
            )
    return traffic
