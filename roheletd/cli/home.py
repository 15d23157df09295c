"""The directory of a quickstart: one per user, private, locked while its client runs.

The lock is on the directory itself, so that nothing has to stay behind for it. What was started
is written down before it matters: a client that was killed is cleaned up after by the next one.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from roheletd.errors import Refused, Unavailable

_NAME = "roheletd-quickstart"


class Record(Struct, frozen=True, kw_only=True):
    """What a quickstart is about to do, written before it does; enough to undo it.

    `image` is one that it loads, `deployed` says that there may be instances.
    """

    client_pid: int
    cluster: str
    node: str
    engine: Literal["docker", "process"]
    image: str = ""
    deployed: bool = False
    kept: bool = False


class Home:
    """A claimed directory. Whoever holds it alone may start, end and delete what is in it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.data_dir = path / "data"
        self.run_dir = path / "run"
        self.config = path / "config.json"
        self.log = path / "daemon.log"
        self._record = path / "record.json"
        self._lock = lock

    @property
    def daemon(self) -> tuple[str, ...]:
        """What the daemon's command line has, and nobody else's."""
        return "run", "--config", str(self.config)

    @property
    def broker(self) -> tuple[str, ...]:
        """The same for its mosquitto, which outlives a daemon that is killed."""
        return "-c", str(self.data_dir / "mosquitto" / "mosquitto.conf")

    @property
    def cluster(self) -> str:
        """One for each place: whoever shares an engine tells what is theirs by this name."""
        return f"quickstart-{blake2b(bytes(self.path), digest_size=4).hexdigest()}"

    def record(self) -> Record | None:
        """What an earlier quickstart left; None where there was none, or it did not get far."""
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def write(self, record: Record) -> None:
        new = self._record.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(record))
        new.replace(self._record)

    def release(self) -> None:
        """Leave it to whoever comes next."""
        os.close(self._lock)

    def empty(self) -> None:
        """Delete what is in it and keep the claim."""
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def remove(self) -> None:
        """Delete it with all that is in it, and let go."""
        self.empty()
        self.path.rmdir()
        self.release()


def place() -> Path:
    """Where a user's quickstart lives: in memory where the system offers that."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK):
        return Path(runtime) / _NAME
    return Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"


def claim(path: Path) -> Home:
    """The directory, made if need be and locked; `Refused` where another client holds it."""
    while True:
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(f"{path} cannot be used: {error.strerror}; remove it") from None
        home = Home(path, lock)
        try:
            _check(path, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been deleted, and made again, between opening and locking.
            if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
                return home
        except BlockingIOError:
            raise _busy(home) from None
        except Refused:
            home.release()
            raise
        home.release()


def _check(path: Path, lock: int) -> None:
    """In /tmp anybody may have made a directory of this name."""
    found = os.fstat(lock)
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Refused(f"{path} is not a private directory of this user; remove it first")


def _busy(home: Home) -> Refused:
    record = home.record()
    home.release()
    who = f" (process {record.client_pid})" if record else ""
    return Refused(f"a quickstart of this user is running already{who}: end it there with q")
