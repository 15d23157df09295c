"""What befalls engines and containers behind our back: what survives it, and what is told."""

import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import containers
from tests.testbed import engines, network
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, PodmanService, RealEngine, busybox_archive, scratch
from tests.testbed.requirements import need
from tests.testbed.unix_http import request

ON_DOCKER = [pytest.mark.docker, pytest.mark.mosquitto, pytest.mark.root]
ON_PODMAN = [pytest.mark.podman, pytest.mark.mosquitto, pytest.mark.root]


def web(**more: Any) -> dict[str, Any]:
    base = {
        "name": "web",
        "image": BUSYBOX,
        "command": ["/bin/httpd", "-f", "-p", "80", "-h", "/www"],
        "ports": [{"container_port": 80}],
        "stop_grace_s": 1,
    }
    return {**base, **more}


def deploy(node: RealDaemon, **more: Any) -> dict[str, Any]:
    """The one instance of `web`, once it runs."""
    node.post("/api/v1/services", {"services": [web(**more)]})
    (instance,) = node.running(1)
    return instance


def told(node: RealDaemon, kind: str) -> list[str]:
    """The reasons of what happened, by kind."""
    found = node.get("/api/v1/events")["events"]
    return [f"{event['subject']}: {event['reason']}" for event in found if event["kind"] == kind]


def warned(node: RealDaemon, words: str) -> bool:
    return any(words in warning for warning in node.get("/status")["warnings"])


@contextmanager
def node_on(engine: RealEngine, **more: Any) -> Iterator[RealDaemon]:
    """A started daemon, whose service is gone from the engine in the end."""
    settings = {"kind": "docker", "socket": str(engine.socket)}
    with daemon(broker={"mode": "managed"}, engine=settings, **more) as node:
        node.start()
        node.until(lambda: node.get("/status")["engine"]["reachable"])
        yield node


@pytest.fixture
def node(dockerd: RealEngine) -> Iterator[RealDaemon]:
    with node_on(dockerd) as made:
        yield made
        if made.get("/api/v1/services")["services"]:
            made.delete("/api/v1/services/web")
        made.until(lambda: not containers(dockerd, made))


class TestDocker:
    pytestmark = ON_DOCKER

    def test_a_container_that_somebody_removes_comes_back_and_it_is_told(
        self, node: RealDaemon, dockerd: RealEngine
    ) -> None:
        deploy(node)
        (before,) = containers(dockerd, node).values()
        request(dockerd.socket, "DELETE", f"/containers/{before}?force=1")
        node.until(lambda: before not in (found := containers(dockerd, node)).values() and found)
        node.running(1)
        assert told(node, "ended") == ["web.1: its container was removed by somebody"]

    def test_a_container_that_somebody_stops_runs_again_and_one_that_is_paused_is_left_so(
        self, node: RealDaemon, dockerd: RealEngine
    ) -> None:
        deploy(node)
        (container,) = containers(dockerd, node).values()
        dockerd.stop_container(container)
        node.until(lambda: told(node, "ended"))
        node.running(1)
        request(dockerd.socket, "POST", f"/containers/{container}/pause")
        node.until(lambda: told(node, "paused"))
        (instance,) = node.instances()
        assert (instance["state"], instance["reason"]) == ("running", "paused by somebody")
        request(dockerd.socket, "POST", f"/containers/{container}/unpause")
        node.until(lambda: told(node, "unpaused"))
        assert node.instances()[0]["reason"] == ""
        assert list(containers(dockerd, node).values()) == [container]

    def test_a_container_with_our_labels_that_we_did_not_make_is_reported_and_left_alone(
        self, node: RealDaemon, dockerd: RealEngine
    ) -> None:
        deploy(node)
        name = node.container("web.1")
        labels = dockerd.inspect(name)["Config"]["Labels"]
        body = {"Image": BUSYBOX, "Cmd": ["/bin/sleep", "1000"], "HostConfig": {"Init": True}}
        strangers = {
            "copied": labels,
            "handmade": {"rohe.cluster": node.cluster, "rohe.node": "n1"},
        }
        for stranger, its_labels in strangers.items():
            dockerd.create(stranger, {**body, "Labels": its_labels})
            request(dockerd.socket, "POST", f"/containers/{stranger}/start")
        try:
            node.until(lambda: len(told(node, "unknown container")) == 2)
            assert warned(node, "docker rm -f copied")
            assert warned(node, "docker rm -f handmade")
            node.kill()
            dockerd.stop_container("copied")
            node.start()
            node.until(lambda: warned(node, "docker rm -f copied"))
            node.running(1)
            node.delete("/api/v1/services/web")
            node.until(lambda: name not in containers(dockerd, node))
            assert {"copied", "handmade"} == set(containers(dockerd, node))
            assert dockerd.inspect("handmade")["State"]["Running"]
        finally:
            for stranger in strangers:
                request(dockerd.socket, "DELETE", f"/containers/{stranger}?force=1")
        node.until(lambda: not warned(node, "docker rm -f"))


@pytest.mark.docker
@pytest.mark.mosquitto
@pytest.mark.root
def test_a_docker_that_restarts_with_live_restore_disturbs_nothing() -> None:
    with engines.dockerd() as engine, node_on(engine) as node:
        port = deploy(node)["ports"][0]["host_port"]
        before = containers(engine, node)
        engine.restart()
        node.until(lambda: told(node, "engine lost") and node.get("/status")["engine"]["reachable"])
        assert engine.fetch(f"http://127.0.0.1:{port}/") == "ok\n"
        assert containers(engine, node) == before
        assert node.running(1)[0]["restarts"] == 0
        assert told(node, "ended") == []
        assert not warned(node, "live-restore")


@pytest.mark.docker
@pytest.mark.mosquitto
@pytest.mark.root
def test_a_docker_that_restarts_without_live_restore_is_warned_of_and_its_end_of_all_is_told() -> (
    None
):
    with engines.dockerd(live_restore=False) as engine, node_on(engine) as node:
        deploy(node)
        assert warned(node, '"live-restore": true in /etc/docker/daemon.json')
        engine.restart()
        node.until(lambda: told(node, "containers ended"))
        (instance,) = node.running(1)
        assert instance["restarts"] >= 1
        (reason,) = told(node, "containers ended")
        assert reason.startswith("web.1: a restart of this engine ends every container")


@pytest.mark.docker
@pytest.mark.mosquitto
@pytest.mark.root
def test_a_containerd_that_crashes_leaves_what_runs_and_its_absence_is_the_reason_told() -> None:
    with engines.dockerd() as engine, node_on(engine) as node:
        port = deploy(node)["ports"][0]["host_port"]
        before = containers(engine, node)
        engine.kill_containerd()
        node.post("/api/v1/services", {"services": [web(name="next", ports=[])]})
        node.until(lambda: told(node, "engine refused"))
        assert "containerd does not answer" in told(node, "engine refused")[0]
        assert "systemctl restart containerd" in told(node, "engine refused")[0]
        assert engine.fetch(f"http://127.0.0.1:{port}/") == "ok\n"
        engine.start_containerd()
        node.running(2)
        assert before.items() <= containers(engine, node).items()


@pytest.mark.docker
@pytest.mark.mosquitto
@pytest.mark.root
def test_a_socket_that_may_no_longer_be_used_is_told_with_the_remedy(dockerd: RealEngine) -> None:
    need("setpriv", root=True)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    settings = {"kind": "docker", "socket": str(dockerd.socket)}
    dockerd.folder.chmod(0o755)
    dockerd.socket.chmod(0o666)
    try:
        with daemon(broker={"mode": "managed"}, engine=settings) as node:
            node.prefix = nobody
            os.chown(node.folder, 65534, 65534)
            node.start()
            deploy(node)
            dockerd.restart()  # makes a new socket, for its own group alone
            node.until(lambda: warned(node, "permission denied"))
            assert warned(node, "sudo usermod -aG docker")
            dockerd.socket.chmod(0o666)
            node.until(lambda: node.get("/status")["engine"]["reachable"])
            node.running(1)
            node.delete("/api/v1/services/web")
            node.until(lambda: not containers(dockerd, node))
    finally:
        dockerd.socket.chmod(0o660)


class Activated(PodmanService):
    """Podman as systemd starts it: by the first connection, and ended when nobody has any."""

    def __init__(self, folder: Path, prefix: tuple[str, ...]) -> None:
        super().__init__(folder, prefix)
        self.services: list[int] = []
        """The process of each, in the order of their starts."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self._listener.listen()
        self._stop = threading.Event()
        self._systemd = threading.Thread(target=self._activate)
        self._systemd.start()

    def _argv(self) -> list[str]:
        *podman, _, _ = super()._argv()
        # As systemd passes its socket on: descriptor 3, and whose it is.
        take = 'exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        return ["sh", "-c", take, "sh", *podman, "--time=1"]

    def _activate(self) -> None:
        self._listener.settimeout(0.05)
        while not self._stop.is_set():
            if not self._is_asked():
                continue
            with (self.folder / "log").open("ab") as log:
                service = subprocess.Popen(
                    [*self.prefix, *self._argv()],
                    env=self._environment(),
                    stdin=self._listener.fileno(),
                    stdout=log,
                    stderr=log,
                )
            self.services.append(service.pid)
            while service.poll() is None and not self._stop.is_set():
                time.sleep(0.02)
            service.kill()
            service.wait()

    def _is_asked(self) -> bool:
        return bool(select.select([self._listener], [], [], 0.05)[0])

    def stop(self) -> None:
        self._stop.set()
        self._systemd.join()
        self._listener.close()


@pytest.mark.podman
@pytest.mark.mosquitto
@pytest.mark.root
def test_a_podman_that_systemd_starts_on_demand_stays_while_it_is_listened_to() -> None:
    need("podman", "runc", "catatonit", "iptables", "ip", "nsenter", "busybox", root=True)
    with scratch() as folder, network.namespace() as name:
        engine = Activated(folder, ("nsenter", f"--net=/run/netns/{name}"))
        try:
            engine.load(busybox_archive())
            with node_on(engine) as node:
                deploy(node)
                before, served = containers(engine, node), len(engine.services)
                time.sleep(1.6)  # its own patience is 1 s
                assert len(engine.services) == served
                os.kill(engine.services[-1], 15)  # an update of Podman does this
                node.until(lambda: told(node, "engine lost"))
                node.until(lambda: node.get("/status")["engine"]["reachable"])
                node.running(1)
                assert containers(engine, node) == before
                assert len(told(node, "engine lost")) == 1
                node.delete("/api/v1/services/web")
                node.until(lambda: not containers(engine, node))
        finally:
            engine.stop()
