"""The command line as a user runs it: a process, and a daemon for it to talk to."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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
