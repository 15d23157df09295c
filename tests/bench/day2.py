"""What day two costs: rollouts, crashes, the way through a stable port, logs from anywhere.

    python -m tests.bench.day2 [--without-swarm] [--output json]

Docker Swarm is measured beside ours in the same run. All hosts share the processors of one machine,
so say what else it did: the load is printed.
"""

import argparse
import json
import os
import sys
from typing import Any

from msgspec.structs import asdict

from tests.bench import day2_rollout, forwarder, logs
from tests.bench.failover_rows import Row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-swarm", action="store_true")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    before = os.getloadavg()
    rows = [
        *day2_rollout.measure(with_swarm=not options.without_swarm),
        *_of_forwarder(),
        *_of_logs(),
    ]
    machine = {"cores": os.cpu_count(), "load_before": before, "load_after": os.getloadavg()}
    failed = next(int(row.median) for row in rows if row.event == "failed_requests")
    if options.output == "json":
        told = [{**asdict(row), "median": row.median, "worst": row.worst} for row in rows]
        json.dump({**machine, "failed_requests": failed, "rows": told}, sys.stdout, indent=2)
        print()
        return
    print("\n".join(f"{name} {value}" for name, value in machine.items()))
    for row in rows:
        print(f"{row.event}: {row.median} {row.unit}, worst {row.worst} (reach {row.reach})")
        print("\n".join(f"    {note}" for note in (row.beside, *row.notes) if note))


def _of_forwarder() -> list[Row]:
    found: dict[str, Any] = forwarder.measure(5)
    return [
        # A share to be reached from below: what is lost of it is what has to be small.
        Row(
            event="throughput through the forwarder, lost of a direct connection",
            unit="of 1",
            reach=0.4,
            values=(round(1 - found["throughput_ratio"], 3),),
            notes=(f"MB/s: {found['throughput_mb_s']}",),
        ),
        Row(
            event="latency that the forwarder adds, p50 of a round trip",
            unit="ms",
            reach=0.3,
            values=(found["added_p50_ms"],),
            notes=(f"to a new connection {found['connection_added_p50_ms']} ms",),
        ),
    ]


def _of_logs() -> list[Row]:
    found = logs.measure()
    return [
        Row(
            event=f"logs -f of 1 MB/s, {where}: the daemon that has most to do",
            unit="% of a core",
            reach=20.0,
            values=(max(seen["daemons_core_percent"]),),
            notes=(f"{seen['received_kib_s']} KiB/s arrived", f"before: {idle(seen)} %"),
        )
        for where, seen in found.items()
    ]


def idle(seen: dict[str, Any]) -> float:
    return float(max(seen["daemons_core_percent_without"]))


if __name__ == "__main__":
    main()
