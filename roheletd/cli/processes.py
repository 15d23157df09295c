"""Processes of ours, found by arguments that no other has: the path of their configuration.

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
from collections.abc import Sequence
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


def running_with(arguments: Sequence[str]) -> list[int]:
    """Processes that have all of `arguments` on their command line."""
    pids = (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())
    return [pid for pid in pids if _has(pid, arguments)]


def end_all_with(arguments: Sequence[str], *, grace_s: float) -> None:
    """SIGTERM, then SIGKILL after `grace_s`, to whatever runs with `arguments`."""
    handles = [
        handle for pid in running_with(arguments) if (handle := _handle(pid, arguments)) is not None
    ]
    try:
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_S)):
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            handles = _until_ended(handles, wait_s)
    finally:
        for handle in handles:
            os.close(handle)


def _handle(pid: int, arguments: Sequence[str]) -> int | None:
    """A hold on the process, so that its number cannot become another's before the signal."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return None
    if _has(pid, arguments):
        return handle
    os.close(handle)
    return None


def _until_ended(handles: list[int], wait_s: float) -> list[int]:
    """Those that have not ended after `wait_s`; the others are closed."""
    left = list(handles)
    deadline_s = time.monotonic() + wait_s
    while left and (left_s := deadline_s - time.monotonic()) > 0:
        ended, _, _ = select.select(left, [], [], left_s)
        for handle in ended:
            left.remove(handle)
            os.close(handle)
    return left


def _has(pid: int, arguments: Sequence[str]) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - once per process
            found = file.read().split(b"\0")
    except OSError:
        return False
    return all(argument.encode() in found for argument in arguments)


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
