"""The folders of values that instances see as files: one for each run's specification.

They are in memory where there is such a place, so they are written anew before each run, also that
of a container which outlived a reboot. Everything is below one folder that nobody else may enter:
the modes of what is in it are those that the instance sees.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from msgspec import Struct

from roheletd.engines import EngineError

MOUNTS = Path("/proc/self/mountinfo")
ROOT = 0
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


class ValueFile(Struct, frozen=True, kw_only=True):
    """Content of one file. `secret`: it may never reach a disk; `any_user`: all may read it."""

    content: bytes
    secret: bool
    any_user: bool

    @property
    def is_private(self) -> bool:
        return self.secret and not self.any_user


class ValueFolders:
    """All of one node of one cluster. `root` comes to be with the first of them."""

    def __init__(self, root: Path, *, mounts: Path = MOUNTS) -> None:
        self._root = root
        self._mounts = mounts
        self._known: set[str] | None = None

    def write(
        self, run: str, number: int, files: Mapping[str, ValueFile], *, reader: int = ROOT
    ) -> Path:
        """The folder with exactly these files, of which `run` may have several by number.

        Those that are not for all belong to `reader`, a uid within the instance.
        """
        if any(file.secret for file in files.values()):
            self._refuse_disk()
        owner = _owner(reader) if any(file.is_private for file in files.values()) else None
        folder = self._root / run / str(number)
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.chmod(0o700)
            _remove(folder)
            folder.mkdir(mode=0o700, parents=True)
            for name, file in files.items():
                _write(folder / name, file, owner)
            # Whoever may read nothing in it need not look into it.
            shared = any(not file.is_private for file in files.values())
            folder.chmod(0o555 if shared else 0o500)
            if owner is not None:
                os.chown(folder, owner, -1)
        except OSError as error:
            raise EngineError(f"{folder} cannot be written: {error.strerror}") from None
        self._names().add(run)
        return folder

    def keep(self, runs: Collection[str]) -> None:
        """Delete the folders of all other runs."""
        names = self._names()
        for run in names.difference(runs):
            _remove(self._root / run)
            names.discard(run)

    def _names(self) -> set[str]:
        if self._known is None:
            found = self._root.iterdir() if self._root.is_dir() else ()
            self._known = {path.name for path in found}
        return self._known

    def _refuse_disk(self) -> None:
        kind = file_system(self._mounts.read_text(encoding="utf-8"), self._root)
        if kind not in _IN_MEMORY:
            raise EngineError(
                f"secrets are given as files in memory only, and {self._root} is on {kind}: run "
                "roheletd with systemd, or set RUNTIME_DIRECTORY to a folder on a tmpfs"
            )


def file_system(mountinfo: str, path: Path) -> str:
    """The kind of file system that `path` is, or would be, on (proc(5), mountinfo)."""
    real, found = Path(os.path.realpath(path)), (0, "an unknown file system")
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split(" ")[4].encode().decode("unicode_escape"))
        # Of two mounts in one place the later one is seen.
        if real.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), right.split(" ")[0])
    return found[1]


def _owner(reader: int) -> int | None:
    """Whom to give files to on this machine; None: nobody, for root within an instance has ours."""
    if reader == ROOT:
        return None
    if os.geteuid() != ROOT:
        raise EngineError(
            f"files of secrets cannot be given to user {reader}, for this node's daemon is not "
            "root's: with `any_user: true` every user within the instance reads them"
        )
    return reader


def _write(path: Path, file: ValueFile, owner: int | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(file.content)
        os.fchmod(opened.fileno(), 0o400 if file.is_private else 0o444)
        if owner is not None and file.is_private:
            os.fchown(opened.fileno(), owner, -1)


def _remove(folder: Path) -> None:
    """Folders that can only be read have to be opened for their owner first."""
    for path in (folder, *folder.glob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
