"""What a test needs from the machine, and what happens where it is missing."""

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "aardvark-dns": "aardvark-dns",
    "busybox": "busybox-static",
    "catatonit": "catatonit",
    "containerd": "containerd",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "ip": "iproute2",
    "iptables": "iptables",
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "nsenter": "util-linux",
    "objdump": "binutils",
    "pgrep": "procps",
    "podman": "podman",
    "runc": "runc",
    "setpriv": "util-linux",
    "shellcheck": "shellcheck",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "tmux": "tmux",
}


def need(*binaries: str, root: bool = False) -> None:
    """Skip the test, or fail it in continuous integration, where something is missing."""
    if root and os.geteuid() != 0:
        absent("needs root")
    for binary in binaries:
        if shutil.which(binary, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            package = PACKAGES.get(binary, binary)
            absent(f"needs {binary}: apt-get install --no-install-recommends {package}")


def absent(reason: str) -> NoReturn:
    if os.environ.get("ROHELETD_TESTS_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (ROHELETD_TESTS_REQUIRE_ALL=1)")
    pytest.skip(reason)
