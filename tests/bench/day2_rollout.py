"""A rollout of ten replicas over five hosts under steady requests, and Docker Swarm's beside it.

Both update the same image to the same other tag, one replica at a time, each new one behind a check
of its health once a second. Ours is asked through the forwarder of one host. Swarm's own way in, a
virtual address, needs a kernel that has IPVS: its replicas are asked at the host ports that its
manager says they have at that moment.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Self

from tests.bench.failover_cluster import cluster
from tests.bench.failover_rows import Row
from tests.testbed.engines import busybox_archive
from tests.testbed.hosts import Host, Site, hosts
from tests.testbed.unix_http import request

HOSTS = 5
REPLICAS = 10
RATE = 50
CRASHES = 5
SETTLED_S = 1.0
PORT = 31_000
_DONE_S = 180.0
_IMAGES = ("localhost/web:1", "localhost/web:2")
_HTTPD = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"]


class Requests:
    """`steady_requests` in the network of a host, between `with` and its end."""

    def __init__(self, host: Host, addresses: Callable[[], list[tuple[str, int]]]) -> None:
        self._file = host.folder / "addresses"
        self._addresses = addresses
        self._argv = [*host.prefix, sys.executable, "-m", "tests.bench.steady_requests"]
        self._argv += [str(self._file), str(RATE)]
        self.found: dict[str, Any] = {}

    def look(self) -> None:
        """Where to ask from now on, replaced in one step."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self._addresses()))
        new.rename(self._file)

    def __enter__(self) -> Self:
        self.look()
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        time.sleep(SETTLED_S)  # some that were sent before anything happened
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
        crashes = [crash(site, number) for number in range(CRASHES)]
        bare = [bare_restart_s(site.hosts[-1]) for _ in range(CRASHES)]
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
        Row(
            event="instance killed -> its traffic only to healthy ones",
            unit="s",
            reach=1.0,
            values=tuple(it[0] for it in crashes),
            notes=(f"{sum(it[2] for it in crashes)} requests failed in {CRASHES} crashes",),
        ),
        Row(
            event="instance killed -> it runs again",
            unit="s",
            reach=0.5,
            values=tuple(it[1] for it in crashes),
            beside=f"dockerd alone, told at once to start it again: {median(bare):.2f} s",
            notes=("as its engine shows it; asked each 5 ms",),
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
        "cores": [],  # no quota, as for Swarm: one of 20 m makes each start take 0.8 s more
        "ports": [{"container_port": 80, "service_port": PORT}],
        "update": {"order": "start-first"},
        "health": {
            "http": {"port": 80, "path": "/index.html"},
            "interval_s": 1.0,
            "timeout_s": 1.0,
        },
        "stop_grace_s": 5.0,
        **more,
    }


def ours(site: Site, **more: Any) -> tuple[float, dict[str, Any]]:
    """Seconds of the rollout, and what became of the requests."""
    first = site.hosts[0]
    _define(first, web(_IMAGES[0], **more))
    site.until(lambda: _healthy(first) == REPLICAS, within_s=_DONE_S)
    with Requests(first, lambda: [("127.0.0.1", PORT)]) as requests:
        begun_s = time.monotonic()
        _define(first, web(_IMAGES[1], **more))
        site.until(lambda: _rollout(first)["state"] == "completed", within_s=_DONE_S)
        site.until(lambda: not any(map(_old_ones, site.hosts)), within_s=_DONE_S)
        seconds = time.monotonic() - begun_s
    return seconds, requests.found


def _old_ones(host: Host) -> list[str]:
    """Containers of the old image that run: Swarm's rollout is over without them, too."""
    return [
        it["Id"]
        for it in request(_socket(host), "GET", "/containers/json")
        if it["Image"] == _IMAGES[0]
    ]


def crash(site: Site, number: int) -> tuple[float, float, int]:
    """Seconds until the last request that failed, and until it runs again; how many failed.

    Another instance each time, for one that fails again and again is waited with.
    """
    first = site.hosts[0]
    site.until(lambda: _healthy(first) == REPLICAS, within_s=_DONE_S)
    there = [(host, name) for host in site.hosts[1:] for name in sorted(host.running())]
    host, name = there[number]
    with Requests(first, lambda: [("127.0.0.1", PORT)]) as requests:
        before = _process_of(host, name)
        os.kill(before, signal.SIGKILL)
        killed_s = time.monotonic()
        while (now := _process_of(host, name)) in (0, before):
            assert time.monotonic() < killed_s + _DONE_S, f"{name} does not run again"
            time.sleep(0.005)
        restarted_s = time.monotonic() - killed_s
        assert now
        time.sleep(2.0)
    faults = requests.found["faults"]
    last_s = max((at_s for at_s, _ in faults), default=0.0)
    return max(0.0, round(last_s - SETTLED_S, 3)), round(restarted_s, 3), requests.found["failed"]


def bare_restart_s(host: Host) -> float:
    """The same with nobody but the engine: killed, and started by who waits for nothing else."""
    name = "bare"
    wanted = {
        "Image": _IMAGES[1],
        "Cmd": _HTTPD,
        "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(PORT - 1)}]}},
    }
    engine = _socket(host)
    request(engine, "POST", f"/containers/create?name={name}", body=json.dumps(wanted).encode())
    try:
        request(engine, "POST", f"/containers/{name}/start")
        os.kill(_pid(engine, name), signal.SIGKILL)
        killed_s = time.monotonic()
        while _pid(engine, name):
            time.sleep(0.005)
        request(engine, "POST", f"/containers/{name}/start")
        return time.monotonic() - killed_s
    finally:
        request(engine, "DELETE", f"/containers/{name}?force=true")


def _process_of(host: Host, instance: str) -> int:
    """The first process of its container; 0 while there is none."""
    try:
        return _pid(_socket(host), host.daemon.container(instance))
    except RuntimeError:
        return 0


def _pid(engine: Path, container: str) -> int:
    return int(request(engine, "GET", f"/containers/{container}/json")["State"]["Pid"])


def _socket(host: Host) -> Path:
    assert host.engine is not None
    return host.engine.socket


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
    with hosts(HOSTS, engines=True, daemons=False, swarm=True) as site:
        load_images(site)
        manager = site.hosts[0]
        _gather(site)
        check = "/bin/busybox wget -q -O /dev/null http://127.0.0.1/index.html"
        _docker(
            manager,
            *("service", "create", "--detach", "--name", "web", "--init"),
            *(
                "--publish",
                "mode=host,target=80",
                "--replicas",
                str(REPLICAS),
                "--no-resolve-image",
            ),
            *("--health-cmd", check, "--health-interval", "1s", "--stop-grace-period", "5s"),
            *("--update-parallelism", "1", "--update-monitor", "1s", "--update-order"),
            *("start-first", _IMAGES[0], *_HTTPD),
        )
        site.until(lambda: _at(manager, _IMAGES[0]) == REPLICAS, within_s=_DONE_S)
        with Requests(manager, lambda: _swarms(site)) as requests:
            begun_s = time.monotonic()
            _docker(
                manager,
                *("service", "update", "--detach", "--no-resolve-image"),
                *("--image", _IMAGES[1], "web"),
            )
            site.until(lambda: requests.look() or _updated(manager), within_s=_DONE_S)
            seconds = time.monotonic() - begun_s
        return seconds, requests.found


def _gather(site: Site) -> None:
    """All hosts in one swarm, three of them managers."""
    manager, *others = site.hosts
    _docker(manager, "swarm", "init", "--advertise-addr", manager.address)
    for role, joining in (("manager", others[:2]), ("worker", others[2:])):
        token = _docker(manager, "swarm", "join-token", "-q", role).strip()
        for host in joining:
            _docker(host, "swarm", "join", "--token", token, f"{manager.address}:2377")


def _swarms(site: Site) -> list[tuple[str, int]]:
    """Where its healthy replicas are, as its manager says."""
    manager = site.hosts[0]
    assert manager.engine is not None
    nodes = request(manager.engine.socket, "GET", "/nodes")
    addresses = {it["ID"]: it["Status"]["Addr"] for it in nodes}
    addresses |= {
        it["ID"]: manager.address
        for it in nodes
        if it["Status"]["Addr"] in ("0.0.0.0", "127.0.0.1")
    }
    return [
        (addresses[task["NodeID"]], int(port["PublishedPort"]))
        for task in request(manager.engine.socket, "GET", "/tasks")
        if task["Status"]["State"] == "running" and task["DesiredState"] == "running"
        for port in task["Status"].get("PortStatus", {}).get("Ports", ())
    ]


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
