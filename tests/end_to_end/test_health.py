"""Checks of health on real engines: seen healthy at once, restarted with a reason, moved by none."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.conftest import containers
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, RealEngine

pytestmark = [pytest.mark.mosquitto, pytest.mark.root]

ENGINES = [
    pytest.param("dockerd", marks=pytest.mark.docker),
    pytest.param("podman", marks=pytest.mark.podman),
]
GREETS = "echo ok > /www/healthz; exec httpd -f -p 80 -h /www"
GREETS_FOR_A_WHILE = f"(sleep 1.5; busybox rm /www/healthz) & {GREETS}"
OFTEN = {"interval_s": 0.2, "timeout_s": 0.2, "unhealthy_after": 2}
HTTP = {"http": {"port": 80, "path": "/healthz"}, **OFTEN}


def web(script: str, **more: Any) -> dict[str, Any]:
    base = {
        "name": "web",
        "image": BUSYBOX,
        "command": ["/bin/sh", "-c", script],
        "cores": [100],
        "stop_grace_s": 1,
    }
    return {**base, **more}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> RealEngine:
    found: RealEngine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def node(engine: RealEngine) -> Iterator[RealDaemon]:
    """In the network of its engine, as on a real node."""
    with daemon(
        broker={"mode": "managed"}, engine={"kind": "docker", "socket": str(engine.socket)}
    ) as made:
        made.prefix = engine.prefix
        made.start()
        made.until(lambda: made.get("/status")["engine"]["reachable"])
        yield made
        for known in made.get("/api/v1/services")["services"]:
            made.delete(f"/api/v1/services/{known['service']['name']}")
        made.until(lambda: not containers(engine))


def only(node: RealDaemon) -> dict[str, Any]:
    """The one instance; without a word on its health before it is placed."""
    return next(iter(node.instances()), {"health": None, "state": "", "reason": ""})


def events(node: RealDaemon, *kinds: str) -> list[dict[str, Any]]:
    found = node.get("/api/v1/events")["events"]
    return [event for event in found if event["kind"] in kinds]


def submit(node: RealDaemon, service: dict[str, Any]) -> None:
    node.post("/api/v1/services", {"services": [service]})


def test_a_start_is_seen_at_once_and_what_gets_unhealthy_is_restarted(node: RealDaemon) -> None:
    submit(node, web(GREETS_FOR_A_WHILE, health=HTTP))
    node.until(lambda: only(node)["health"] == "healthy")
    running, healthy = (events(node, kind)[0] for kind in ("running", "healthy"))
    assert healthy["at_s"] - running["at_s"] < 1.0
    node.until(lambda: events(node, "restarting"))
    assert events(node, "restarting")[0]["reason"] == ("unhealthy: GET /healthz on port 80: 404")
    node.until(lambda: only(node)["restarts"] == 1 and only(node)["health"] == "healthy")
    assert only(node)["failures"] == 1
    assert only(node)["last_failure"] == "unhealthy: GET /healthz on port 80: 404"
    kinds = [event["kind"] for event in events(node, "running", "healthy", "unhealthy", "ended")]
    assert kinds[:5] == ["running", "healthy", "unhealthy", "running", "healthy"]
