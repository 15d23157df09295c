"""One node on a real Podman service: the same promises, kept through another engine."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.conftest import containers
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, RealEngine

pytestmark = [pytest.mark.podman, pytest.mark.mosquitto, pytest.mark.root]

WEB: dict[str, Any] = {
    "name": "web",
    "image": BUSYBOX,
    "command": ["/bin/httpd", "-f", "-p", "80", "-h", "/www"],
    "replicas": 2,
    "cores": [200],
    "memory_mib": 32,
    "ports": [{"container_port": 80}],
    "stop_grace_s": 1,
}


@pytest.fixture
def node(podman: RealEngine) -> Iterator[RealDaemon]:
    with daemon(
        broker={"mode": "managed"}, engine={"kind": "docker", "socket": str(podman.socket)}
    ) as made:
        made.start()
        yield made
        if made.get("/api/v1/services")["services"]:
            made.delete("/api/v1/services/web")
        made.until(lambda: not containers(podman, made))


def test_instances_run_pinned_answer_and_survive_kill_9_of_the_daemon(
    node: RealDaemon, podman: RealEngine
) -> None:
    node.until(lambda: node.get("/status")["engine"]["name"] == "Podman")
    node.post("/api/v1/services", {"services": [WEB]})
    for item in node.running(2):
        host = podman.inspect(node.container(item["instance"]))["HostConfig"]
        assert [host["CpusetCpus"]] == list(item["cores"])
        port = item["ports"][0]["host_port"]
        assert podman.fetch(f"http://127.0.0.1:{port}/") == "ok\n"
    before = containers(podman, node)
    node.kill()
    node.start()
    node.running(2)
    assert containers(podman, node) == before


def test_a_changed_definition_replaces_the_containers(node: RealDaemon, podman: RealEngine) -> None:
    node.post("/api/v1/services", {"services": [WEB]})
    node.running(2)
    before = set(containers(podman, node).values())
    node.post("/api/v1/services", {"services": [{**WEB, "env": {"COLOUR": "blue"}}]})
    node.until(lambda: not before & set(containers(podman, node).values()))
    node.running(2)
    assert "COLOUR=blue" in podman.inspect(node.container("web.1"))["Config"]["Env"]


def test_the_service_of_podman_dying_and_returning_leaves_the_containers_alone(
    node: RealDaemon, podman: RealEngine
) -> None:
    node.post("/api/v1/services", {"services": [WEB]})
    node.running(2)
    before = containers(podman, node)
    podman.kill()
    node.until(lambda: not node.get("/status")["engine"]["reachable"])
    podman.start()
    node.until(lambda: node.get("/status")["engine"]["reachable"])
    node.running(2)
    assert containers(podman, node) == before
