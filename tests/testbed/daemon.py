"""A real `roheletd run` in a folder of its own: started, asked, killed and started again."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from roheletd.engines import procfs
from tests.testbed.engines import scratch
from tests.testbed.network import free_port
from tests.testbed.unix_http import request

_READY_S = 30.0


class RealDaemon:
    """One daemon process and its data directory, which outlives the process.

    `prefix` goes before each command: `nsenter`, for a daemon in a network of its own.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], *, prefix: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.prefix = prefix
        defaults: dict[str, Any] = {
            "node": {"name": "n1"},
            # Of its own, for engines are shared: another suite must not take it for itself.
            "cluster": {"name": f"test-{secrets.token_hex(3)}"},
            "broker": {"port": free_port()},
            "engine": {"kind": "none"},
            "api": {"port": free_port()},
            # What else this machine is doing must not decide a test.
            "allocation": {"foreign_cpu_max": 0.0},
            # One port of this machine for the same service in every daemon on it.
            "discovery": {"forwarder": False, "dns": False},
            "data_dir": str(self.data_dir),
        }
        self.config = merged(defaults, config)
        self.config_path = folder / "roheletd.yaml"
        self.log_path = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def broker_port(self) -> int:
        return int(self.config["broker"]["port"])

    @property
    def api_port(self) -> int:
        return int(self.config["api"]["port"])

    @property
    def cluster(self) -> str:
        return str(self.config["cluster"]["name"])

    def container(self, instance: str) -> str:
        """What a container engine calls an instance of this node."""
        return f"{instance}.{self.config['node']['name']}.{self.cluster}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def _program(self) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "roheletd"]

    def launch(self, *, env: dict[str, str] | None = None) -> None:
        """Start the process and return at once."""
        self.config_path.write_text(yaml.safe_dump(self.config))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._program(), "run", "--config", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "XDG_RUNTIME_DIR": str(self.folder), **(env or {})},
            )

    def start(self) -> None:
        """Start the process and return once it answers."""
        self.launch()
        self.until(self.answers, within_s=_READY_S)

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
        with contextlib.suppress(OSError):
            return bool(self.get("/status"))
        return False

    def kill(self) -> None:
        """Kill -9: nothing is said to anybody."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit code and how many seconds it took."""
        assert self.process is not None
        begun_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        return code, time.monotonic() - begun_s

    def get(self, path: str) -> Any:
        return request(self.data_dir / "roheletd.sock", "GET", path, timeout_s=5)

    def post(self, path: str, body: object) -> Any:
        return request(
            self.data_dir / "roheletd.sock", "POST", path, body=json.dumps(body).encode()
        )

    def delete(self, path: str) -> Any:
        return request(self.data_dir / "roheletd.sock", "DELETE", path)

    def instances(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/instances")["instances"]
        return found

    def running(self, number: int) -> list[dict[str, Any]]:
        """The instances, once there are `number` of them and all run."""

        def all_run() -> bool:
            found = self.instances()
            return len(found) == number and all(item["state"] == "running" for item in found)

        self.until(all_run)
        return self.instances()

    def until(self, condition: Callable[[], object], *, within_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not within {within_s} s; log:\n{self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        if not self.log_path.exists():
            return "(it was not started yet)"
        return self.log_path.read_text(errors="replace")[-4000:]

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of the CLI, asked of this daemon."""
        return subprocess.run(
            [*self._program(), *arguments, "--data-dir", str(self.data_dir)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )


def merged(config: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`config` with the keys of `more`, section by section."""
    result = dict(config)
    for section, keys in more.items():
        result[section] = {**config.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return result


@contextlib.contextmanager
def daemon(**config: Any) -> Iterator[RealDaemon]:
    """A daemon that is not started yet, and that leaves no process and no file behind."""
    with scratch() as folder:
        made = RealDaemon(folder, config)
        try:
            yield made
        finally:
            if made.process is not None and made.process.poll() is None:
                made.kill()
            # Local processes outlive their daemon, as containers do.
            name = made.config["node"]["name"]
            procfs.kill_marked({"ROHE_CLUSTER": made.cluster, "ROHE_NODE": name})
