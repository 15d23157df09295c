"""Files of /proc and /sys, kept open: a reading is one pread instead of open, read and close."""

import os
from collections.abc import Iterator
from pathlib import Path

# Below malloc's threshold for mapping memory anew, and room for the lines of some 700 cores.
READ_BYTES = 64 * 1024

# The kernel hands out a list of records a page at a time, whole records only. The records read
# here are shorter than 512 bytes: a page with more room than that left was the last one.
LAST_PAGE_BYTES_MAX = 4096 - 512

PAGES_MAX = 64


class KernelFile:
    """One file. A descriptor gone bad (hot-unplug, a driver reloaded) is opened anew, once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def read(self, offset: int = 0) -> bytes:
        if self._descriptor >= 0:
            try:
                return os.pread(self._descriptor, READ_BYTES, offset)
            except OSError:
                self.close()  # the path may lead to a living file by now
        return self._read_anew(offset)

    def pages(self) -> Iterator[bytes]:
        """A list of records, page by page; the caller may stop before the last."""
        offset = 0
        for _ in range(PAGES_MAX):
            page = self.read(offset)
            if page:
                yield page
            if len(page) < LAST_PAGE_BYTES_MAX:
                return
            offset += len(page)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read_anew(self, offset: int) -> bytes:
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(self._descriptor, READ_BYTES, offset)
        except OSError as error:
            self.close()
            # pread knows no name; a person needs one.
            raise OSError(error.errno, error.strerror, str(self.path)) from None


class KernelFiles:
    """The files of a sensor that has several, by path; those no longer wanted are closed."""

    def __init__(self) -> None:
        self._files: dict[Path, KernelFile] = {}

    def __getitem__(self, path: Path) -> KernelFile:
        if path not in self._files:
            self._files[path] = KernelFile(path)
        return self._files[path]

    def keep(self, paths: set[Path]) -> None:
        """Close every file but these."""
        for path in self._files.keys() - paths:
            self._files.pop(path).close()

    def close(self) -> None:
        self.keep(set())
