"""What a real container uses, seen from outside and turned into a requirement."""

import time
from typing import Any, NamedTuple

import pytest

from roheletd.documents import load
from tests.testbed.daemon import RealDaemon
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.unix_http import request

pytestmark = [pytest.mark.docker, pytest.mark.mosquitto, pytest.mark.root]

HALF_BUSY = """
now() { read -r up _ < /proc/uptime; at=${up%.*}${up#*.}; }
while true; do
    now; until=$((at + 10))
    while [ "$at" -lt "$until" ]; do now; done
    sleep 0.1
done
"""
"""One thread: busy for 100 ms, then idle for as long, by the clock and not by what it gets done."""


def worker(*cores: int, **more: Any) -> dict[str, Any]:
    command = ["/bin/sh", "-c", HALF_BUSY]
    base = {"name": "worker", "image": BUSYBOX, "command": command, "cores": cores}
    return {**base, "memory_mib": 64, **more}


class Profiled(NamedTuple):
    """What was proposed, and what the engine says that was used meanwhile, on average."""

    service: dict[str, Any]
    mean_millicores: float


def cpu_s(engine: RealEngine, container: str) -> float:
    stats = request(engine.socket, "GET", f"/containers/{container}/stats?stream=0&one-shot=1")
    return int(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


def profiled(node: RealDaemon, engine: RealEngine, service: dict[str, Any]) -> Profiled:
    node.start()
    node.post("/api/v1/services", {"services": [service]})
    node.running(1)
    container = node.container(f"{service['name']}.1")
    before_s, begun_s = cpu_s(engine, container), time.monotonic()
    done = node.cli("profile", service["name"], "--for", "25s", "-o", "yaml")
    assert done.returncode == 0, done.stderr
    used_s, passed_s = cpu_s(engine, container) - before_s, time.monotonic() - begun_s
    found: Any = load(done.stdout.encode(), name="worker.yaml")
    assert node.post("/api/v1/services", found)["changed"] == {service["name"]: "updated"}
    return Profiled(found["services"][0], 1000 * used_s / passed_s)


def test_a_thread_that_is_busy_half_of_the_time_needs_half_a_core(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    """Or less, as much as this machine leaves it; what was used is what is proposed."""
    found = profiled(on_docker, dockerd, worker(1000))
    (core,) = found.service["cores"]
    assert found.mean_millicores - 20 <= core <= 650
    assert 4 <= found.service["memory_mib"] < 64
    assert found.service["image"] == BUSYBOX


def test_a_busy_and_a_calm_thread_on_two_cores_are_told_apart(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    """That each of them is moved between the cores must not level them."""
    calm = HALF_BUSY.replace("at + 10", "at + 1")
    both = ["/bin/sh", "-c", f"({calm}) & {HALF_BUSY}"]
    found = profiled(on_docker, dockerd, worker(1000, 1000, command=both))
    large, small = found.service["cores"]
    assert found.mean_millicores - 20 <= large + small <= 900
    assert large > 1.5 * small


def test_an_image_that_is_nowhere_is_a_refused_image_and_the_others_are_known(
    on_docker: RealDaemon, dockerd: RealEngine
) -> None:
    on_docker.start()
    on_docker.post(
        "/api/v1/services", {"services": [worker(100, name="ghost", image="127.0.0.1:9/ghost:1")]}
    )

    def telemetry() -> dict[str, Any]:
        (report,) = on_docker.get("/api/v1/telemetry")["telemetry"]
        return dict(report)

    on_docker.until(lambda: any(use["refused_image"] for use in telemetry()["instances"]))
    assert "registry unreachable" in telemetry()["instances"][0]["reason"]
    on_docker.until(lambda: BUSYBOX in (telemetry()["images"] or ()))
    request(dockerd.socket, "POST", f"/images/{BUSYBOX}/tag?repo=127.0.0.1:9/ghost&tag=1")
    on_docker.until(lambda: "127.0.0.1:9/ghost:1" in telemetry()["images"], within_s=10)
    on_docker.running(1)
    on_docker.until(lambda: not telemetry()["instances"][0]["refused_image"])
    request(dockerd.socket, "DELETE", "/images/127.0.0.1:9/ghost:1?force=1")
    on_docker.until(lambda: "127.0.0.1:9/ghost:1" not in telemetry()["images"], within_s=10)
