"""What a cluster costs each of its nodes while nothing happens: five real daemons that all vote.

They share one Docker engine, which is none of what is measured, and run two containers each.
"""

import math
import time

from tests.bench.failover_cluster import VOTERS_MAX, cluster, until_settled
from tests.bench.failover_rows import Row
from tests.bench.process_cost import Cost, Meter
from tests.testbed.engines import BUSYBOX, dockerd
from tests.testbed.hosts import Site

CONTAINERS_EACH = 2
_REST_S = 20.0


def measure(repetitions: int, seconds: float) -> list[Row]:
    """Each span of time gives a value for every node."""
    with (
        dockerd() as engine,
        cluster(VOTERS_MAX, engine={"kind": "docker", "socket": str(engine.socket)}) as site,
    ):
        _run_containers(site)
        time.sleep(_REST_S)
        spans = math.ceil(repetitions / VOTERS_MAX)
        costs = [_span(site, seconds) for _ in range(spans)]
    daemons = [cost for daemon, _ in costs for cost in daemon]
    brokers = [cost for _, broker in costs for cost in broker]
    what = f"idle {VOTERS_MAX}-node cluster, per node"
    return [
        Row(
            event=f"{what}: written",
            unit="bytes",
            reach=0,
            values=tuple(float(cost.written_bytes) for cost in daemons),
            notes=(f"over {seconds:g} s; brokers {_worst(brokers, 'written_bytes'):g}",),
        ),
        Row(
            event=f"{what}: CPU",
            unit="% of a core",
            reach=0.5,
            values=tuple(cost.cpu_percent for cost in daemons),
            notes=(
                f"wakeups {_worst(daemons, 'wakeups_per_s'):g}/s at most",
                f"a broker of theirs {_worst(brokers, 'cpu_percent'):g} % at most",
            ),
        ),
        Row(
            event=f"{what}: RSS",
            unit="MiB",
            reach=50,
            values=tuple(cost.rss_mib for cost in daemons),
            notes=(f"PSS {_worst(daemons, 'pss_mib'):g} at most",),
        ),
    ]


def _run_containers(site: Site) -> None:
    number = CONTAINERS_EACH * len(site.hosts)
    service = {
        "name": "idle",
        "image": BUSYBOX,
        "command": ["/bin/sleep", "100000"],
        "replicas": number,
        "cores": [10],
    }
    first = site.hosts[0].daemon
    first.post("/api/v1/services", {"services": [service]})
    first.running(number)
    until_settled(site)


def _span(site: Site, seconds: float) -> tuple[list[Cost], list[Cost]]:
    daemons = [Meter(host.daemon.pid) for host in site.hosts]
    pids = [host.broker_pid() for host in site.hosts]
    brokers = [Meter(pid) for pid in pids if pid is not None]
    time.sleep(seconds)
    return [meter.cost() for meter in daemons], [meter.cost() for meter in brokers]


def _worst(costs: list[Cost], field: str) -> float:
    return max((float(getattr(cost, field)) for cost in costs), default=0.0)
