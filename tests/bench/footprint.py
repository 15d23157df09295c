"""What an idle node costs: the real daemon with mosquitto, a Docker engine and two containers.

python -m tests.bench.footprint [--seconds 120] [--containers 2] [--output json]
"""

import argparse
import json
import sys
import time
from pathlib import Path

from msgspec.structs import asdict

from tests.bench.process_cost import Cost, Meter
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, dockerd

REACH = {"rss_mib": 45.0, "cpu_percent": 0.25, "wakeups_per_s": 3.0, "written_bytes": 0}
SETTLE_S = 15


def measure(seconds: float, containers: int) -> dict[str, Cost]:
    with (
        dockerd() as engine,
        daemon(
            broker={"mode": "managed"},
            engine={"kind": "docker", "socket": str(engine.socket)},
        ) as node,
    ):
        node.start()
        service = {
            "name": "idle",
            "image": BUSYBOX,
            "command": ["/bin/sleep", "100000"],
            "replicas": containers,
            "cores": [100],
        }
        if containers:
            node.post("/api/v1/services", {"services": [service]})
            node.running(containers)
        time.sleep(SETTLE_S)
        (broker_pid,) = _children(node)
        meters = {"roheletd": Meter(node.pid), "mosquitto": Meter(broker_pid)}
        time.sleep(seconds)
        return {name: meter.cost() for name, meter in meters.items()}


def _children(node: RealDaemon) -> list[int]:
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--containers", type=int, default=2)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    costs = measure(options.seconds, options.containers)
    if options.output == "json":
        found = {name: asdict(cost) for name, cost in costs.items()}
        json.dump({"seconds": options.seconds, "reach": REACH, **found}, sys.stdout, indent=2)
        print()
        return
    print(f"{'':16}{'reach':>10}" + "".join(f"{name:>12}" for name in costs))
    for field in Cost.__struct_fields__:
        values = "".join(f"{getattr(cost, field):>12}" for cost in costs.values())
        print(f"{field:16}{REACH.get(field, ''):>10}{values}")


if __name__ == "__main__":
    main()
