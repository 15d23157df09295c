"""A host is gone with all that ran on it: how long until its replicas run elsewhere.

Real containers, observed at the engines of the hosts that are left. Nobody is told: the cable is
pulled before everything on the host is killed.
"""

import time
from collections import Counter
from collections.abc import Iterable

from tests.bench.failover_cluster import cluster, leader, named, until_settled, view
from tests.bench.failover_rows import Row
from tests.testbed.engines import BUSYBOX
from tests.testbed.hosts import Host, Site

HOSTS = 4
REPLICAS = 8
_ELSEWHERE_S = 60.0
_LOOK_S = 0.05

EVENTS = {
    "worker-gone": (
        "worker host gone -> all replicas running elsewhere",
        9.0,
        "Swarm 13.2 s, Kubernetes 340 s",
    ),
    "leader-gone": ("leader host gone with its replicas -> elsewhere", 10.0, "Swarm 43.5 s"),
}


def measure(names: Iterable[str], repetitions: int) -> list[Row]:
    """The rows of these events, all on one cluster with an engine to each host."""
    wanted = list(names)
    if not wanted:
        return []
    with cluster(HOSTS, engines=True) as site:
        return [_row(site, name, repetitions) for name in wanted]


def _row(site: Site, name: str, repetitions: int) -> Row:
    event, reach, beside = EVENTS[name]
    seen = [_once(site, name, number) for number in range(repetitions)]
    moved = Counter(count for _, count in seen)
    return Row(
        event=event,
        unit="s",
        reach=reach,
        values=tuple(round(taken_s, 3) for taken_s, _ in seen),
        beside=beside,
        notes=(
            f"{HOSTS} hosts, {REPLICAS} replicas, of which {sorted(moved)} had to move",
            "5 s of it is reschedule_after",
        ),
    )


def _once(site: Site, event: str, number: int) -> tuple[float, int]:
    """Seconds until all run elsewhere, and how many had to move."""
    until_settled(site)
    service = f"{event}-{number}"
    _run(site, service)
    gone = leader(site) if event == "leader-gone" else _worker(site)
    moving = sum(gone.running().values())
    assert moving, f"nothing of {service} runs on {gone.name}"
    begun_s = time.monotonic()
    gone.lose()
    while not _all_run(site, service):
        assert time.monotonic() < begun_s + _ELSEWHERE_S, _told(site)
        time.sleep(_LOOK_S)
    taken_s = time.monotonic() - begun_s
    gone.come_back()
    until_settled(site)
    site.hosts[0].daemon.delete(f"/api/v1/services/{service}")
    site.until(lambda: not any(host.running() for host in site.hosts))
    return taken_s, moving


def _worker(site: Site) -> Host:
    """The one that does not vote."""
    (name,) = (it["name"] for it in view(leader(site))["members"] if it["role"] != "voter")
    return named(site, name)


def _run(site: Site, service: str) -> None:
    wanted = {
        "name": service,
        "image": BUSYBOX,
        "command": ["/bin/sleep", "100000"],
        "replicas": REPLICAS,
        "cores": [50],
        "stop_grace_s": 0,
    }
    site.hosts[0].daemon.post("/api/v1/services", {"services": [wanted]})
    site.until(lambda: _all_run(site, service))
    # What is measured begins with a cluster at rest.
    until_settled(site)


def _all_run(site: Site, service: str) -> bool:
    running = [name for host in site.hosts for name in host.running()]
    return len({name for name in running if name.startswith(f"{service}.")}) == REPLICAS


def _told(site: Site) -> str:
    return "\n".join(f"{host.name}:\n{host.daemon.log()}" for host in site.hosts)
