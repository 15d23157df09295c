"""What instances leave on nodes, from any node's command line: one runs Docker, one Podman."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.streams.conftest import ask, joined
from tests.testbed.daemon import RealDaemon
from tests.testbed.engines import BUSYBOX, RealEngine

pytestmark = [
    pytest.mark.docker,
    pytest.mark.podman,
    pytest.mark.mosquitto,
    pytest.mark.root,
    pytest.mark.timeout(180),
]

DB: dict[str, Any] = {
    "name": "db",
    "image": BUSYBOX,
    "command": ["/bin/sh", "-c", "echo x >>/data/f; sleep 1000"],
    "memory_mib": 16,
    "stop_grace_s": 0,
    "volumes": [{"path": "/data", "name": "data"}],
    "reschedule_after_s": 600,
}


@pytest.fixture
def nodes(dockerd: RealEngine, podman: RealEngine) -> Iterator[tuple[RealDaemon, RealDaemon]]:
    """`n1` runs Docker and has `db.1`, `n2` runs Podman."""
    with ExitStack() as stack:
        first = joined(stack, "n1", None, engine=on(dockerd))
        second = joined(stack, "n2", first, engine=on(podman))
        ask(first, "cordon", "n2")
        first.post("/api/v1/services", {"services": [DB]})
        first.until(lambda: places(first) == {"db.1": ("n1", "running")})
        ask(first, "uncordon", "n2")
        yield first, second
        first.delete("/api/v1/services/db")
        first.until(lambda: all(listed(node)["unanswered"] == {} for node in (first, second)))
        for it in listed(first)["volumes"]:
            first.until(lambda it=it: remove(first, it["volume"], it["node"]).returncode == 0)
        assert listed(second)["volumes"] == []


def on(engine: RealEngine) -> dict[str, str]:
    return {"kind": "docker", "socket": str(engine.socket)}


def places(node: RealDaemon) -> dict[str, tuple[str, str]]:
    return {it["instance"]: (it["node"], it["state"]) for it in node.instances()}


def listed(node: RealDaemon, *arguments: str) -> Any:
    done = ask(node, "volume", "list", "-o", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def claims(node: RealDaemon) -> dict[str, str]:
    """Node to what `db.1` has there."""
    return {it["node"]: it["claim"] for it in listed(node)["volumes"] if it["instance"] == "db.1"}


def remove(node: RealDaemon, name: str, where: str) -> Any:
    return ask(node, "volume", "remove", name, "--node", where, "--yes")


def test_data_is_given_up_on_one_node_and_its_instance_begins_anew_on_another(
    nodes: tuple[RealDaemon, RealDaemon],
) -> None:
    first, second = nodes
    name = f"{first.cluster}.db.1.data"
    assert [claims(node) for node in nodes] == [{"n1": "in use"}] * 2
    refused = remove(second, name, "n1")
    assert refused.returncode == 1
    assert f"{name} is in use on n1: db.1 is placed there" in refused.stderr

    ask(second, "cordon", "n1")
    ask(second, "scale", "db", "0")
    second.until(lambda: not places(second))
    ask(second, "scale", "db", "1")
    why = "the volume data of db.1 is on n1"
    second.until(lambda: why in second.get("/api/v1/why/db")["waiting"])
    assert claims(second) == {"n1": "kept"}

    second.until(lambda: remove(second, name, "n1").returncode == 0)
    second.until(lambda: places(second) == {"db.1": ("n2", "running")})
    assert claims(first) == {"n2": "in use"}
    told = first.get("/api/v1/events")["events"]
    assert [it["subject"] for it in told if it["kind"] == "volume removed"] == [name]

    first.kill()
    second.until(lambda: "n1" in listed(second)["unanswered"])
    assert claims(second) == {"n2": "in use"}
    alone = ask(second, "volume", "list", "--node", "n1")
    assert alone.returncode == 1
    assert "n1" in alone.stderr
    first.start()
    first.until(lambda: claims(first) == {"n2": "in use"})
