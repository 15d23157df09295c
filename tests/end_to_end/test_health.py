"""Checks of health on real engines: seen healthy at once, restarted with a reason."""

import os
import signal
import sys
import time
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


def web(name: str, script: str, **more: Any) -> dict[str, Any]:
    base = {
        "name": name,
        "image": BUSYBOX,
        "command": ["/bin/sh", "-c", script],
        "cores": [100],
        "stop_grace_s": 1,
    }
    return {**base, **more}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> RealEngine:
    found: RealEngine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def shared(engine: RealEngine) -> Iterator[RealDaemon]:
    """In the network of its engine, as on a real node."""
    with daemon(
        broker={"mode": "managed"}, engine={"kind": "docker", "socket": str(engine.socket)}
    ) as made:
        made.prefix = engine.prefix
        made.start()
        made.until(lambda: made.get("/status")["engine"]["reachable"])
        yield made


@pytest.fixture
def node(shared: RealDaemon, engine: RealEngine) -> Iterator[RealDaemon]:
    yield shared
    for known in shared.get("/api/v1/services")["services"]:
        shared.delete(f"/api/v1/services/{known['service']['name']}")
    shared.until(lambda: not containers(engine, shared))


def only(node: RealDaemon) -> dict[str, Any]:
    """The one instance; without a word on its health before it is placed."""
    return next(iter(node.instances()), {"health": None, "restarts": 0})


def events(node: RealDaemon, instance: str, *kinds: str) -> list[dict[str, Any]]:
    found = node.get("/api/v1/events")["events"]
    return [it for it in found if it["subject"] == instance and it["kind"] in kinds]


def submit(node: RealDaemon, service: dict[str, Any]) -> None:
    node.post("/api/v1/services", {"services": [service]})


def test_a_start_is_seen_at_once_and_what_gets_unhealthy_is_restarted(node: RealDaemon) -> None:
    submit(node, web("fading", GREETS_FOR_A_WHILE, health=HTTP))
    node.until(lambda: only(node)["health"] == "healthy")
    running, healthy = (events(node, "fading.1", kind)[0] for kind in ("running", "healthy"))
    assert healthy["at_s"] - running["at_s"] < 1.0
    node.until(lambda: events(node, "fading.1", "restarting"))
    reason = "unhealthy: GET /healthz on port 80: 404"
    assert events(node, "fading.1", "restarting")[0]["reason"] == reason
    node.until(lambda: only(node)["restarts"] == 1 and only(node)["health"] == "healthy")
    assert (only(node)["failures"], only(node)["last_failure"]) == (1, reason)
    told = events(node, "fading.1", "running", "healthy", "unhealthy", "ended")
    kinds = ["running", "healthy", "unhealthy", "running", "healthy"]
    assert [event["kind"] for event in told][:5] == kinds


def test_what_is_killed_runs_again_before_anybody_would_have_asked(
    node: RealDaemon, engine: RealEngine
) -> None:
    submit(node, web("killed", GREETS, health={**HTTP, "interval_s": 60}))
    node.until(lambda: only(node)["health"] == "healthy")
    name = node.container("killed.1")
    pid = engine.inspect(name)["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    killed_s = time.monotonic()
    node.until(lambda: engine.inspect(name)["State"]["Pid"] not in (0, pid))
    again_s = time.monotonic() - killed_s
    node.until(lambda: only(node)["health"] == "healthy" and only(node)["restarts"] == 1)
    healthy_s = time.monotonic() - killed_s
    print(f"running again after {again_s:.3f} s, healthy after {healthy_s:.3f} s")
    assert again_s < 1.5, "half a second on a machine that does nothing else"
    assert only(node)["last_failure"] == "killed (137)"


def test_whoever_runs_out_of_memory_is_told_about_on_every_engine(node: RealDaemon) -> None:
    # `tail` keeps the endless line in memory.
    submit(node, web("eater", "sleep 0.4; tail /dev/zero", memory_mib=16))
    node.until(lambda: only(node)["restarts"] >= 2)
    reasons = {event["reason"] for event in events(node, "eater.1", "ended")}
    assert reasons == {"out of memory (limit 16 MiB)"}
    assert only(node)["last_failure"] == "out of memory (limit 16 MiB)"


def test_commands_are_checks_as_well_and_a_missing_one_is_named(node: RealDaemon) -> None:
    fails = ["/bin/sh", "-c", "echo no model; exit 3"]
    checks = {**OFTEN, "timeout_s": 2, "interval_s": 2, "start_grace_s": 600}
    services = [
        web("well", GREETS, health={"exec": {"command": ["true"]}, **checks}),
        web("ill", GREETS, health={"exec": {"command": fails}, **checks}),
        web("odd", GREETS, health={"exec": {"command": ["/bin/nothing"]}, **checks}),
    ]
    node.post("/api/v1/services", {"services": services})

    def all_known() -> bool:
        found = {item["service"]: item for item in node.instances()}
        return len(found) == 3 and all(
            item["health"] == "healthy" or item["reason"] for item in found.values()
        )

    node.until(all_known)
    found = {item["service"]: (item["health"], item["reason"]) for item in node.instances()}
    assert found["well"] == ("healthy", "")
    assert found["ill"] == (
        "starting",
        "not healthy yet: /bin/sh: ended with exit code 3: no model",
    )
    assert found["odd"][0] == "starting"
    assert "/bin/nothing" in found["odd"][1]
    assert "no such" in found["odd"][1]


LISTENS = """
import os, socket, sys, time
with socket.create_server(("127.0.0.1", int(os.environ["ROHE_PORT_80"]))) as server:
    while True:
        connection, _ = server.accept()
        if "mute" not in sys.argv:
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
            connection.close()
"""


@pytest.fixture
def on_processes() -> Iterator[RealDaemon]:
    with daemon(engine={"kind": "process"}) as node:
        node.start()
        yield node


def test_local_processes_are_checked_at_the_port_they_were_given(on_processes: RealDaemon) -> None:
    node = on_processes
    base = {"ports": [{"container_port": 80}], "health": HTTP}
    command = [sys.executable, "-c", LISTENS]
    exec_check = {"exec": {"command": ["/bin/sh", "-c", "exit $ROHE_PORT_80"]}, **OFTEN}
    services = [
        {"name": "well", "command": command, **base},
        {
            "name": "mute",
            "command": [*command, "mute"],
            **base,
            "health": {**HTTP, "start_grace_s": 0},
        },
        {"name": "ill", "command": command, **base, "health": exec_check},
    ]
    node.post("/api/v1/services", {"services": services})
    node.until(lambda: events(node, "well.1", "healthy"))
    node.until(lambda: events(node, "mute.1", "restarting"))
    mute = events(node, "mute.1", "restarting")[0]
    assert mute["reason"] == ("unhealthy: GET /healthz on port 80: no answer within 0.2 s")
    ill = next(item for item in node.instances() if item["service"] == "ill")
    assert ill["reason"].startswith("not healthy yet: /bin/sh: ended with exit code")
