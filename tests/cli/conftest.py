"""The command line as a user runs it: a process, and a daemon for it to talk to."""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.fake_daemon import FakeDaemon, on_socket

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with on_socket(tmp_path / "roheletd.sock") as found:
        yield found


@pytest.fixture
def roheletd(tmp_path: Path) -> Run:
    """Runs `roheletd ARGS` with `tmp_path` as the daemon's directory."""

    def run(*args: str, text: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "roheletd", *args],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "ROHELETD_DATA_DIR": str(tmp_path), "TZ": "UTC", **env},
        )

    return run


class Session(NamedTuple):
    """What a person saw, and what a pipe on standard output got."""

    code: int
    seen: str
    piped: str


def on_terminal(*args: str, tmp_path: Path, typed: str) -> Session:
    """`roheletd ARGS` with a terminal to ask on; standard output goes to a file."""
    ours, theirs = pty.openpty()
    piped = tmp_path / "stdout"
    with piped.open("w") as stdout:
        child = subprocess.Popen(
            [sys.executable, "-m", "roheletd", *args, "--data-dir", str(tmp_path)],
            stdin=theirs,
            stdout=stdout,
            stderr=theirs,
            env={**os.environ, "NO_COLOR": "1"},
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = _read_all(ours)
        code = child.wait(timeout=30)
    os.close(ours)
    return Session(code, seen.replace("\r", ""), piped.read_text())


def _read_all(terminal: int) -> str:
    found, deadline_s = b"", time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # the last one on the other side has gone
            break
        if not chunk:
            break
        found += chunk
    return found.decode()
