"""Processes of ours, found by an argument that no other has: the path of their configuration.

Nothing about them has to be written down, so nothing can be missing or out of date: whoever comes
after a client that was killed finds the same processes.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_KILL_S = 5.0


def program() -> list[str]:
    """How to start this very program again, frozen or not."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, "-m", "roheletd"]


def spawn(argv: list[str], *, log: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """A child in a session of its own: a Ctrl-C in the terminal is for us to deal with."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,
        )


def running_with(argument: str) -> list[int]:
    """Processes of this user that have `argument` on their command line."""
    wanted = argument.encode()
    return [
        int(entry.name)
        for entry in os.scandir("/proc")
        if entry.name.isdigit() and wanted in _arguments(entry.name)
    ]


def end_all_with(argument: str, *, grace_s: float) -> None:
    """SIGTERM, then SIGKILL after `grace_s`, to whatever runs with `argument`."""
    handles = [handle for pid in running_with(argument) if (handle := _handle(pid, argument))]
    try:
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            handles = _until_ended(handles, wait_s)
    finally:
        for handle in handles:
            os.close(handle)


def _handle(pid: int, argument: str) -> int | None:
    """A hold on the process, so that its number cannot become another's before the signal."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    if argument.encode() in _arguments(str(pid)):
        return handle
    os.close(handle)
    return None


def _until_ended(handles: list[int], wait_s: float) -> list[int]:
    """Those that have not ended after `wait_s`; the others are closed."""
    deadline_s = time.monotonic() + wait_s
    while handles and (left_s := deadline_s - time.monotonic()) > 0:
        ended, _, _ = select.select(handles, [], [], left_s)
        for handle in ended:
            handles.remove(handle)
            os.close(handle)
    return handles


def _arguments(pid: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - once per process
            return file.read().split(b"\0")
    except OSError:
        return []


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
