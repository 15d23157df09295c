"""ROHE 0.2.1 in a process and an environment of its own, to be measured beside this project.

It is installed once, by request, into the user's cache; nothing of this project depends on it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from roheletd.model import Node, Service

VERSION = "0.2.1"
_SCRIPT = Path(__file__).with_name("rohe_allocator.py")
_INSTALL_S = 900


class NoRoheError(Exception):
    """ROHE cannot be had here; the text says why."""


class Filled(Struct, frozen=True, kw_only=True):
    """What ROHE's loop did: service and node of each instance; `is_complete`: to the end."""

    elapsed_s: float
    is_complete: bool
    placements: tuple[tuple[str, str], ...]


class Rohe:
    """ROHE's allocator, which answers one task after the other."""

    def __init__(self, venv: Path) -> None:
        environment = {**os.environ, "ROHE_PATH": str(venv), "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [installed(venv), "-I", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        if self._hear() != "ready":
            raise NoRoheError(f"rohe {VERSION} does not start in {venv}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()

    def fill(
        self,
        nodes: Iterable[Node],
        services: Iterable[Service],
        *,
        strategy: int,
        limit_s: float = 60.0,
    ) -> Filled:
        task = {
            "nodes": [rohe_node(node) for node in nodes],
            "services": [rohe_service(service) for service in services],
            "strategy": strategy,
            "limit_s": limit_s,
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answer = self._hear()
        return Filled(
            elapsed_s=answer["elapsed_s"],
            is_complete=answer["is_complete"],
            placements=tuple((service, node) for service, node in answer["placements"]),
        )

    def _hear(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise NoRoheError(f"rohe {VERSION} ended with {self._process.wait()}")
        return json.loads(line)


def default_venv() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "roheletd-bench" / f"rohe-{VERSION}"


def installed(venv: Path) -> str:
    """The interpreter of `venv`, which has ROHE; it is made where it is not there."""
    python = venv / "bin" / "python"
    done = venv / f"has-rohe-{VERSION}"
    if done.exists():
        return str(python)
    wanted = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"rohe=={VERSION}")
    for command in ([sys.executable, "-m", "venv", str(venv)], [str(python), *wanted]):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", None) or error).strip().splitlines()
            raise NoRoheError(f"rohe {VERSION} could not be installed: {said[-1]}") from error
    done.touch()
    return str(python)


def rohe_node(node: Node) -> dict[str, Any]:
    """A node in ROHE's form: percent of a core, the name for the address that it knows nodes by."""
    capacity = node.capacity
    cores = [size / 10 for size in capacity.cores.values()]
    return {
        "node_name": node.name,
        "mac_address": node.name,
        "status": "running",
        "frequency": node.frequency_ghz,
        "accelerator": {
            gpu.id: {
                "mode": "pre-emptive",
                "accelerator_type": gpu.kind,
                "core": 128,
                "capacity": gpu.percent,
                "used": 0,
            }
            for gpu in capacity.gpus
        },
        "cpu": {"capacity": capacity.cpu_millicores, "used": 0},
        "memory": {
            "capacity": {"rss": capacity.memory_mib, "vms": capacity.vms_mib},
            "used": {"rss": 0, "vms": 0},
        },
        "cores": {"capacity": cores, "used": [0.0] * len(cores)},
    }


def rohe_service(service: Service) -> dict[str, Any]:
    """A service in ROHE's form. Without a GPU it asks for 0 %: ROHE places no other ones."""
    return {
        "service_name": service.name,
        "service_id": service.name,
        "node": {},
        "status": "queueing",
        "instance_ids": [],
        "running": 0,
        "image": service.image,
        "ports": [],
        "port_mapping": [],
        "cpu_required": service.cpu_millicores,
        "accelerator_required": service.accelerators or {"gpu": 0},
        "memory_required": {"rss": service.memory_mib, "vms": service.vms_mib},
        "cores_required": [need / 10 for need in service.cores],
        "sensitivity": service.sensitivity,
        "replicas": service.replicas,
    }
