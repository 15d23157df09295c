"""Processes as /proc shows them: whose they are, since when, and what they use."""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import get_args

from msgspec import Struct

from roheletd.engines import Usage
from roheletd.engines.launch import Person, Place
from roheletd.fields import StopSignal

_PROC = Path("/proc")
_READ_BYTES = 4096
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGES_PER_MIB = 2**20 // os.sysconf("SC_PAGE_SIZE")
_FAMILY_MAX = 64  # processes of one instance that are measured
_THREADS_MAX = 256


class Stat(Struct, frozen=True, kw_only=True):
    """The fields of /proc/<pid>/stat that are used here; ticks include waited-for children."""

    session: int
    threads: int
    cpu_ticks: int
    start_ticks: int
    rss_pages: int


class Marked(Struct, frozen=True, kw_only=True):
    """A process whose environment says that it belongs to an instance of ours."""

    pid: int
    pidfd: int
    session: int
    start_ticks: int
    instance: str
    digest: str
    stop_signal: StopSignal


def parse_stat(text: bytes) -> Stat:
    """The program's name, which may hold spaces and parentheses, ends at the last parenthesis."""
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(
        session=int(fields[3]),
        cpu_ticks=sum(int(field) for field in fields[11:15]),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        rss_pages=int(fields[21]),
    )


def started_s(stat: Stat) -> float:
    """When a process started, in seconds since the epoch."""
    for line in (_PROC / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) + stat.start_ticks / _TICKS_PER_S
    return 0.0


def read_stat(pid: int) -> Stat:
    return parse_stat(_read(f"/proc/{pid}/stat"))


def _read(path: str) -> bytes:
    """The head of a file, for what is read each second: half the time of `Path.read_bytes`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _READ_BYTES)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def marked(markers: dict[str, str]) -> Iterator[list[Marked]]:
    """Every process, ours to read, whose environment holds `markers`; oldest first.

    The pidfd of each is opened before anything is read, so what is signalled through it is the
    process that was looked at, whatever becomes of its pid. They are closed on leaving.
    """
    wanted = {f"{key}={value}".encode() for key, value in markers.items()}
    found: list[Marked] = []
    try:
        pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
        found.extend(filter(None, (_looked_at(pid, wanted) for pid in pids)))
        yield sorted(found, key=lambda process: process.start_ticks)
    finally:
        for process in found:
            os.close(process.pidfd)


def _looked_at(pid: int, wanted: set[bytes]) -> Marked | None:
    """The process if it carries all of `wanted`; None too if it is gone or another user's."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
        if wanted.issubset(variables):
            stat = read_stat(pid)
            values = dict(part.decode(errors="replace").partition("=")[::2] for part in variables)
            return Marked(
                pid=pid,
                pidfd=pidfd,
                session=stat.session,
                start_ticks=stat.start_ticks,
                instance=values.get("ROHE_INSTANCE", ""),
                digest=values.get("ROHE_DIGEST", ""),
                stop_signal=_stop_signal(values.get("ROHE_STOP_SIGNAL", "")),
            )
    os.close(pidfd)
    return None


def _stop_signal(name: str) -> StopSignal:
    return next((known for known in get_args(StopSignal) if known == name), "SIGTERM")


def place_of(pid: int) -> Place:
    """Where a process is, and as whom. Raises `OSError` once it is gone."""
    folder = str(Path(f"/proc/{pid}/cwd").readlink())
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    lines = dict(line.partition(":")[::2] for line in text.splitlines())
    uid, gid = (int(lines[key].split()[1]) for key in ("Uid", "Gid"))
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return Place(folder=folder)
    groups = tuple(map(int, lines["Groups"].split()))
    return Place(folder=folder, person=Person(uid=uid, gid=gid, groups=groups))


def kill_marked(markers: dict[str, str]) -> None:
    """SIGKILL every process with `markers`, and those that they fork meanwhile."""
    killed: set[tuple[int, int]] = set()
    while True:
        with marked(markers) as processes:
            living = [one for one in processes if (one.pid, one.start_ticks) not in killed]
            for process in living:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
        if not living:
            return
        killed |= {(process.pid, process.start_ticks) for process in living}


def usage(stat_descriptor: int) -> Usage:
    """What a process and its descendants use; resident memory that they share counts for each.

    Children that have ended are part of their parent's ticks. Raises `OSError` once it is gone.
    """
    text = os.pread(stat_descriptor, _READ_BYTES, 0)
    family = [stat for _pid, stat in _family(int(text.split(b" ", 1)[0]), parse_stat(text))]
    return Usage(
        cpu_s=sum(stat.cpu_ticks for stat in family) / _TICKS_PER_S,
        memory_mib=sum(stat.rss_pages for stat in family) // _PAGES_PER_MIB,
    )


def threads(pid: int) -> list[int]:
    """Every thread of a process and of its descendants; none once it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for member, stat in _family(pid, read_stat(pid)):
            found += [member] if stat.threads == 1 else _threads(member)
    return found


def thread_cpu_s(ids: Iterable[int]) -> dict[int, float]:
    """Seconds of CPU of each thread, without those that have ended, of so many at most."""
    found = {}
    for thread in islice(ids, _THREADS_MAX):
        with contextlib.suppress(OSError):  # ended since
            text = _read(f"/proc/{thread}/task/{thread}/stat")
            fields = text[text.rindex(b")") + 2 :].split(b" ", 13)
            found[thread] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return found


def _family(pid: int, stat: Stat) -> list[tuple[int, Stat]]:
    """A process and its descendants."""
    found = [(pid, stat)]
    for parent in found:  # it grows while it is walked
        if len(found) > _FAMILY_MAX:
            break
        for child in _children(*parent):
            with contextlib.suppress(OSError):  # ended since
                found.append((child, read_stat(child)))
    return found


def _children(pid: int, stat: Stat) -> list[int]:
    """The kernel lists children by the thread that forked them; most programs have one thread."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # ended since
        for thread in [pid] if stat.threads == 1 else _threads(pid):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found[:_FAMILY_MAX]


def _threads(pid: int) -> list[int]:
    return [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()][:_FAMILY_MAX]
