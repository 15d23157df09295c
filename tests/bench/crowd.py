"""What a leader pays for many nodes: one real daemon, and a process that speaks for all others.

The others are members and registered through the log, each has a link of its own to the leader's
broker, hears the log, and reports sealed telemetry each second. No containers. Measured is the CPU
time of the leader's own process, so whoever speaks for the others takes nothing from the figure.

    python -m tests.bench.crowd [--nodes 500] [--repetitions 10] [--seconds 30] [--output json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from tests.bench.failover_rows import Row
from tests.bench.process_cost import Cost, Meter
from tests.testbed.daemon import RealDaemon, daemon

REACH_PERCENT = 30.0
SPAN_S = 30.0
_SETTLE_S = 5.0


class Crowd(Struct, frozen=True, kw_only=True):
    """What the leader and its broker cost in each span of time, and who was alive at the ends."""

    nodes: int
    alive: tuple[int, ...]
    leader: tuple[Cost, ...]
    broker: tuple[Cost, ...]

    @property
    def row(self) -> Row:
        broker = statistics.median(cost.cpu_percent for cost in self.broker)
        rss_mib = max(cost.rss_mib for cost in self.leader)
        return Row(
            event=f"{self.nodes} simulated nodes on one broker: CPU of the leader",
            unit="% of a core",
            reach=REACH_PERCENT,
            values=tuple(cost.cpu_percent for cost in self.leader),
            notes=(
                f"alive all the time: {min(self.alive)}",
                f"its broker {broker:.1f} %",
                f"its RSS {rss_mib:g} MiB",
                f"written {max(cost.written_bytes for cost in self.leader)} bytes",
            ),
        )


def measure(nodes: int, repetitions: int, seconds: float = SPAN_S) -> Crowd:
    with daemon(broker={"mode": "managed"}, node={"address": "127.0.0.1"}) as leader:
        leader.start()
        token = leader.cli("cluster", "token").stdout.split()[0]
        leader.until(lambda: _leads(leader))
        with _speaker(leader, token, nodes) as speaker:
            _hear(speaker, "ready")
            time.sleep(_SETTLE_S)
            broker_pid = _broker_pid(leader)
            alive, costs = [_alive(leader)], []
            for _ in range(repetitions):
                meters = Meter(leader.pid), Meter(broker_pid)
                time.sleep(seconds)
                costs.append([meter.cost() for meter in meters])
                alive.append(_alive(leader))
            speaker.kill()
    own, brokers = zip(*costs, strict=True)
    return Crowd(nodes=nodes, alive=tuple(alive), leader=own, broker=brokers)


def _leads(node: RealDaemon) -> bool:
    try:
        seen = node.get("/api/v1/cluster")
        registered = node.get("/api/v1/nodes")["nodes"]
        reported = node.get("/api/v1/telemetry")["telemetry"]
    except OSError:  # between two lives
        return False
    return bool(seen["shared"] and seen["leader"] and registered and reported)


def _speaker(leader: RealDaemon, token: str, nodes: int) -> "subprocess.Popen[str]":
    (template,) = leader.get("/api/v1/telemetry")["telemetry"]
    (registered,) = leader.get("/api/v1/nodes")["nodes"]
    told = {"token": token, "nodes": nodes, "telemetry": template, "node": registered["node"]}
    speaker = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.crowd_nodes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert speaker.stdin
    speaker.stdin.write(json.dumps(told) + "\n")
    speaker.stdin.flush()
    return speaker


def _hear(speaker: "subprocess.Popen[str]", word: str) -> None:
    assert speaker.stdout
    said = speaker.stdout.readline().strip()
    assert said == word, f"the speaker ended with {speaker.wait()} and said {said!r}"


def _broker_pid(node: RealDaemon) -> int:
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text()
    (pid,) = children.split()
    return int(pid)


def _alive(node: RealDaemon) -> int:
    members: list[dict[str, str]] = node.get("/api/v1/cluster")["members"]
    return sum(it["liveness"] == "alive" for it in members) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=SPAN_S)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    found = measure(options.nodes, options.repetitions, options.seconds)
    if options.output == "json":
        json.dump(asdict(found), sys.stdout, indent=2, default=asdict)
        print()
        return
    row = found.row
    print(f"{row.event}: median {row.median:g}, worst {row.worst:g}, reach {row.reach:g}")
    print("\n".join(row.notes))


if __name__ == "__main__":
    main()
