"""What `logs -f` of a container that writes 1 MB/s costs the daemons: `python -m tests.bench.logs`.

Once on the node of the container, once from another node over MQTT, where the ceiling on a follower
lets a part of the lines through and the rest is counted.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import psutil

from tests.streams.conftest import add, joined
from tests.testbed import engines
from tests.testbed.daemon import RealDaemon
from tests.testbed.engines import BUSYBOX

SECONDS = 8.0
LINE = "x" * 99
# A hundred kilobytes, ten times a second; the pauses leave it a little below a megabyte.
WRITER = f'while true; do yes "{LINE}" | head -n 1000; sleep 0.09; done'


def _cpu_s(process: psutil.Process) -> float:
    """Without its children: the broker is counted by itself."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _broker_cpu_s(daemon: RealDaemon) -> float:
    found = psutil.Process(daemon.pid).children()
    return sum(_cpu_s(child) for child in found if child.name() == "mosquitto")


class _Reader:
    """`logs -f` in a process, whose output is counted and thrown away."""

    def __init__(self, daemon: RealDaemon) -> None:
        program = [sys.executable, "-m", "roheletd", "--data-dir", str(daemon.data_dir)]
        self._out, inner = os.pipe()
        self.process = subprocess.Popen(
            [*program, "logs", "-f", "flood"], stdout=inner, stderr=subprocess.DEVNULL
        )
        os.close(inner)

    def read_for(self, seconds: float) -> int:
        end_s, count = time.monotonic() + seconds, 0
        while time.monotonic() < end_s:
            count += len(os.read(self._out, 1 << 16))
        return count

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._out)


def _measured(asked: RealDaemon, *daemons: RealDaemon) -> dict[str, Any]:
    processes = [psutil.Process(daemon.pid) for daemon in daemons]
    before_idle = [_cpu_s(process) for process in processes]
    time.sleep(SECONDS / 2)
    idle = [
        (_cpu_s(process) - before) / (SECONDS / 2)
        for process, before in zip(processes, before_idle, strict=True)
    ]
    reader = _Reader(asked)
    try:
        reader.read_for(2.0)
        before, brokers = [_cpu_s(process) for process in processes], _brokers_s(daemons)
        begun_s = time.monotonic()
        count = reader.read_for(SECONDS)
        took_s = time.monotonic() - begun_s
        spent = [_cpu_s(process) for process in processes]
        return {
            "received_kib_s": round(count / took_s / 1024),
            "daemons_core_percent": [
                round(100 * (after - first) / took_s, 1)
                for after, first in zip(spent, before, strict=True)
            ],
            "daemons_core_percent_without": [round(100 * share, 1) for share in idle],
            "brokers_core_percent": round(100 * (_brokers_s(daemons) - brokers) / took_s, 1),
            "daemons_rss_mib": [process.memory_info().rss >> 20 for process in processes],
        }
    finally:
        reader.end()


def _brokers_s(daemons: tuple[RealDaemon, ...]) -> float:
    return sum(map(_broker_cpu_s, daemons))


def measure() -> dict[str, Any]:
    """`local`: on the container's node; `remote`: over MQTT, the asked node first."""
    with engines.dockerd() as docker, ExitStack() as stack:
        docker_config = {"engine": {"kind": "docker", "socket": str(docker.socket)}}
        asked = joined(stack, "n1", None)
        far = joined(stack, "n2", asked, **docker_config)
        flood = {
            "name": "flood",
            "image": BUSYBOX,
            "command": ["/bin/sh", "-c", WRITER],
            "cores": [900],
            "memory_mib": 64,
            "constraints": ["node.name == n2"],
        }
        add(asked, flood)
        return {"local": _measured(far, far), "remote": _measured(asked, asked, far)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", choices=("text", "json"), default="text")
    args = parser.parse_args()
    found = measure()
    if args.output == "json":
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        for name, values in found.items():
            sys.stdout.write(f"{name}\n")
            sys.stdout.writelines(f"  {key:<30} {value}\n" for key, value in values.items())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
