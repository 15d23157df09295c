"""From submitting a service to its running container, beside a bare create and start.

Both in turn on the same engine in the same run, so that the ratio holds on a noisy machine. The
bare one sends the engine the same container through the same socket with no daemon between.

    python -m tests.bench.submit [--repetitions 20] [--output json]
"""

import argparse
import json
import statistics
import sys
import time
from typing import Any

from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, RealEngine, dockerd
from tests.testbed.unix_http import request

REACH_RATIO = 1.3


def bare(engine: RealEngine, number: int) -> float:
    """Seconds for create and start of the container that roheletd would make."""
    body = {
        "Image": BUSYBOX,
        "Cmd": ["/bin/sleep", "1000"],
        "HostConfig": {
            "CpusetCpus": "0",
            "CpuPeriod": 100_000,
            "CpuQuota": 10_000,
            "Init": True,
            "Memory": 64 << 20,
            "MemorySwap": 64 << 20,
        },
    }
    begun_s = time.perf_counter()
    engine.create(f"bare{number}", body)
    request(engine.socket, "POST", f"/containers/bare{number}/start")
    elapsed_s = time.perf_counter() - begun_s
    request(engine.socket, "DELETE", f"/containers/bare{number}?force=1")
    return elapsed_s


def submitted(engine: RealEngine, node: RealDaemon, number: int) -> float:
    """Seconds from the submission until the engine itself says that the container runs."""
    service = {
        "name": f"s{number}",
        "image": BUSYBOX,
        "command": ["/bin/sleep", "1000"],
        "cores": [100],
        "memory_mib": 64,
    }
    begun_s = time.perf_counter()
    node.post("/api/v1/services", {"services": [service]})
    name = node.container(f"s{number}.1")
    while not _runs(engine, name):
        pass
    elapsed_s = time.perf_counter() - begun_s
    node.delete(f"/api/v1/services/s{number}")
    node.until(lambda: not _exists(engine, name))
    return elapsed_s


def _runs(engine: RealEngine, name: str) -> bool:
    try:
        return bool(engine.inspect(name)["State"]["Running"])
    except RuntimeError:
        return False


def _exists(engine: RealEngine, name: str) -> bool:
    try:
        engine.inspect(name)
    except RuntimeError:
        return False
    return True


def measure(repetitions: int) -> dict[str, Any]:
    with (
        dockerd() as engine,
        daemon(
            broker={"mode": "managed"},
            engine={"kind": "docker", "socket": str(engine.socket)},
        ) as node,
    ):
        node.start()
        bare(engine, 10_000)
        submitted(engine, node, 10_000)
        pairs = [(bare(engine, n), submitted(engine, node, n)) for n in range(repetitions)]
    bare_s = statistics.median(first for first, _ in pairs)
    submit_s = statistics.median(second for _, second in pairs)
    return {
        "repetitions": repetitions,
        "bare_s": round(bare_s, 4),
        "submit_s": round(submit_s, 4),
        "ratio": round(submit_s / bare_s, 3),
        "reach_ratio": REACH_RATIO,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    found = measure(options.repetitions)
    if options.output == "json":
        json.dump(found, sys.stdout, indent=2)
        print()
    else:
        for name, value in found.items():
            print(f"{name:14}{value:>10}")


if __name__ == "__main__":
    main()
