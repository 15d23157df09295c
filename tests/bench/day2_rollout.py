"""A rollout of ten replicas over five hosts under steady requests, and Docker Swarm's beside it.

Both update the same image to the same other tag, one replica at a time, each new one behind a check
of its health once a second. Ours is asked through the forwarder of one host; Swarm by the name of
its service from a container (its own way in, a virtual address, needs a kernel that has IPVS).
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

from tests.bench.failover_cluster import cluster
from tests.bench.failover_rows import Row
from tests.testbed.engines import busybox_archive
from tests.testbed.hosts import Host, Site, hosts
from tests.testbed.unix_http import request

HOSTS = 5
REPLICAS = 10
RATE = 50
PORT = 31_000
_DONE_S = 180.0
_IMAGES = ("localhost/web:1", "localhost/web:2")
_HTTPD = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"]


class Requests:
    """`steady_requests` in the network of a host, between `with` and its end."""

    def __init__(self, prefix: tuple[str, ...], host: str, port: int) -> None:
        self._argv = [*prefix, sys.executable, "-m", "tests.bench.steady_requests"]
        self._argv += [host, str(port), str(RATE)]
        self.found: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        time.sleep(1.0)  # some that were sent before anything happened
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1.0)  # and some after it
        out, _ = self._process.communicate("", timeout=30)
        self.found = json.loads(out)


def measure(*, with_swarm: bool = True) -> list[Row]:
    """Ours and Swarm's on the same machine, one after the other."""
    with cluster(HOSTS, engines=True) as site:
        load_images(site)
        seconds, found = ours(site)
    beside = ""
    notes = [f"{HOSTS} hosts, {REPLICAS} replicas, one at a time, {RATE} requests/s"]
    if with_swarm:
        swarm_s, swarms = swarm()
        beside = f"Swarm {swarm_s:.1f} s, {swarms['failed']} of {swarms['sent']} requests failed"
        notes.append(f"ratio to Swarm {seconds / swarm_s:.2f}")
    return [
        Row(
            event="rollout under requests",
            unit="s",
            reach=round(swarm_s, 3) if with_swarm else _DONE_S,
            values=(round(seconds, 3),),
            beside=beside,
            notes=tuple(notes),
        ),
        Row(
            event="failed_requests",
            unit="requests",
            reach=0.0,
            values=(float(found["failed"]),),
            beside=beside,
            notes=(f"of {found['sent']}", *(f"at {at} s: {why}" for at, why in found["faults"])),
        ),
    ]


def load_images(site: Site) -> None:
    for host in site.hosts:
        for image in _IMAGES:
            assert host.engine is not None
            host.engine.load(busybox_archive(image))


def web(image: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "web",
        "image": image,
        "command": _HTTPD,
        "replicas": REPLICAS,
        "cores": [20],
        "ports": [{"container_port": 80, "service_port": PORT}],
        "update": {"order": "start-first"},
        "health": {"http": {"port": 80, "path": "/index.html"}, "interval_s": 1.0},
        "stop_grace_s": 5.0,
        **more,
    }


def ours(site: Site, **more: Any) -> tuple[float, dict[str, Any]]:
    """Seconds of the rollout, and what became of the requests."""
    first = site.hosts[0]
    _define(first, web(_IMAGES[0], **more))
    site.until(lambda: _healthy(first) == REPLICAS, within_s=_DONE_S)
    with Requests(first.prefix, "127.0.0.1", PORT) as requests:
        begun_s = time.monotonic()
        _define(first, web(_IMAGES[1], **more))
        site.until(lambda: _rollout(first)["state"] == "completed", within_s=_DONE_S)
        seconds = time.monotonic() - begun_s
    return seconds, requests.found


def _define(host: Host, service: dict[str, Any]) -> None:
    host.daemon.post("/api/v1/services", {"services": [service]})


def _rollout(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.daemon.get("/api/v1/services/web/rollout")
    assert found["state"] not in ("paused", "rolled back"), found
    return found


def _healthy(host: Host) -> int:
    return int(_rollout(host)["settled"])


# --- Swarm


def swarm() -> tuple[float, dict[str, Any]]:
    with hosts(HOSTS, engines=True, daemons=False) as site:
        load_images(site)
        manager = site.hosts[0]
        _gather(site)
        _docker(manager, "network", "create", "-d", "overlay", "--attachable", "web")
        check = "/bin/busybox wget -q -O /dev/null http://127.0.0.1/index.html"
        _docker(
            manager,
            *("service", "create", "--detach", "--name", "web", "--network", "web", "--init"),
            *("--endpoint-mode", "dnsrr", "--replicas", str(REPLICAS), "--no-resolve-image"),
            *("--health-cmd", check, "--health-interval", "1s", "--stop-grace-period", "5s"),
            *("--update-parallelism", "1", "--update-monitor", "1s", "--update-order"),
            *("start-first", _IMAGES[0], *_HTTPD),
        )
        site.until(lambda: _at(manager, _IMAGES[0]) == REPLICAS, within_s=_DONE_S)
        with _asked_within(manager) as said:
            begun_s = time.monotonic()
            _docker(
                manager,
                *("service", "update", "--detach", "--no-resolve-image"),
                *("--image", _IMAGES[1], "web"),
            )
            site.until(lambda: _updated(manager), within_s=_DONE_S)
            seconds = time.monotonic() - begun_s
        return seconds, said


def _gather(site: Site) -> None:
    """All hosts in one swarm, three of them managers."""
    manager, *others = site.hosts
    _docker(manager, "swarm", "init", "--advertise-addr", manager.address)
    for role, joining in (("manager", others[:2]), ("worker", others[2:])):
        token = _docker(manager, "swarm", "join-token", "-q", role).strip()
        for host in joining:
            _docker(host, "swarm", "join", "--token", token, f"{manager.address}:2377")


@contextlib.contextmanager
def _asked_within(host: Host) -> Iterator[dict[str, Any]]:
    """The same requests by the name of the service, from a container in its network."""
    said: dict[str, Any] = {}
    loop = (
        "n=0; f=0; trap 'echo $n $f; exit' TERM; "
        "while true; do n=$((n+1)); "
        "/bin/busybox wget -q -T 2 -O /dev/null http://web/index.html || f=$((f+1)); "
        "sleep 0.018; done"
    )
    name = "asking"
    _docker(
        host,
        *("run", "-d", "--name", name, "--network", "web", _IMAGES[0], "/bin/sh", "-c", loop),
    )
    time.sleep(1.0)
    try:
        yield said
    finally:
        time.sleep(1.0)
        _docker(host, "stop", "-t", "5", name)
        sent, failed = _docker(host, "logs", name).split()
        said.update(sent=int(sent), failed=int(failed))


def _at(host: Host, image: str) -> int:
    """Replicas of this image that run, which in a swarm means that they are healthy."""
    assert host.engine is not None
    tasks = request(host.engine.socket, "GET", "/tasks")
    return sum(
        it["Status"]["State"] == "running"
        and it["DesiredState"] == "running"
        and it["Spec"]["ContainerSpec"]["Image"] == image
        for it in tasks
    )


def _updated(host: Host) -> bool:
    """All are of the new image, and none of the old one is left running."""
    return _at(host, _IMAGES[1]) == REPLICAS and _at(host, _IMAGES[0]) == 0


def _docker(host: Host, *arguments: str) -> str:
    assert host.engine is not None
    argv = [*host.prefix, "/usr/bin/docker", "-H", f"unix://{host.engine.socket}", *arguments]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done.stdout
