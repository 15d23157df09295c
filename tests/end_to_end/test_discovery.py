"""How one instance finds another on a real node: by its stable port, by variables, by name."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from roheletd.engines import procfs
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.network import free_port, free_ports

SERVER = """
import os, socket, sys
kind, port = sys.argv[1], int(os.environ["ROHE_PORT_80"])
name = os.environ["ROHE_INSTANCE"].encode()
if kind == "udp":
    served = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    served.bind(("127.0.0.1", port))
    while True:
        data, client = served.recvfrom(2048)
        served.sendto(name + b" " + data, client)
served = socket.create_server(("127.0.0.1", port), backlog=128)
while True:
    client, _ = served.accept()
    with client:
        client.recv(100)
        client.sendall(name)
"""


def server(kind: str = "tcp", **port: Any) -> dict[str, Any]:
    return {
        "name": "web",
        "command": [sys.executable, "-c", SERVER, kind],
        "replicas": 2,
        "ports": [{"container_port": 80, "protocol": kind, **port}],
    }


@pytest.fixture
def node() -> Iterator[RealDaemon]:
    nowhere = f"mqtt://127.0.0.1:{free_port()}"
    own = free_ports(50)  # what else runs here has those of the default
    with daemon(
        broker={"mode": "external", "urls": [nowhere]},
        engine={"kind": "process"},
        discovery={"forwarder": True, "listen": "127.0.0.1"},
        allocation={"port_min": own[0], "port_max": own[-1]},
    ) as made:
        made.start()
        yield made


def submit(node: RealDaemon, *services: dict[str, Any]) -> None:
    node.post("/api/v1/services", {"services": services})


def ask(port: int) -> str:
    """Which instance answered; empty where none did."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"?")
        return client.recv(100).decode()
    return ""


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def both_answer(port: int) -> bool:
    return {ask(port) for _ in range(8)} >= {"web.1", "web.2"}


def stable_port(node: RealDaemon, service: str = "web") -> int:
    (port,) = node.get(f"/api/v1/registry?service={service}")["ports"]
    return int(port["service_port"])


def kill(node: RealDaemon, instance: str) -> None:
    procfs.kill_marked({"ROHE_CLUSTER": node.cluster, "ROHE_INSTANCE": instance})


class Asker:
    """Asks without a pause, and remembers when nobody answered."""

    def __init__(self, port: int) -> None:
        self.answers: list[tuple[float, str]] = []
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            answer = ask(self._port)
            self.answers.append((time.monotonic(), answer))

    @contextmanager
    def asking(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()

    def failed(self) -> list[float]:
        return [at_s for at_s, answer in self.answers if not answer]

    def gap_s_max(self) -> float:
        good = [at_s for at_s, answer in self.answers if answer]
        return max(later - earlier for earlier, later in pairwise(good))


def test_an_instance_that_is_killed_is_missed_by_nobody_for_a_second(node: RealDaemon) -> None:
    port = free_port()
    submit(node, server(service_port=port))
    node.running(2)
    node.until(lambda: both_answer(port))
    asker = Asker(port)
    with asker.asking():
        for instance in ("web.1", "web.2"):
            seen = len(asker.answers)
            node.until(lambda seen=seen: len(asker.answers) > seen + 20)
            kill(node, instance)
            node.until(lambda: both_answer(port))
    print(f"gap {asker.gap_s_max():.3f} s, {len(asker.failed())} failed of {len(asker.answers)}")
    assert asker.gap_s_max() < 1.0
    assert len(asker.failed()) <= 2, "those that were under way at a kill"


def test_the_port_of_a_removed_service_is_closed(node: RealDaemon) -> None:
    port = free_port()
    submit(node, server(service_port=port))
    node.until(lambda: ask(port))
    node.delete("/api/v1/services/web")
    node.until(lambda: is_refused(port), within_s=10)


def test_a_port_that_another_program_has_is_told_and_served_once_it_is_free(
    node: RealDaemon,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        submit(node, server(service_port=port))
        told = (
            f"forwarder: port {port} (tcp) of service web is not served here: another program has "
            "it; tried again until it is free"
        )
        node.until(lambda: told in node.get("/status")["warnings"])
    node.until(lambda: ask(port))
    assert not [it for it in node.get("/status")["warnings"] if it.startswith("forwarder")]


def test_udp_comes_back_through_a_stable_port(node: RealDaemon) -> None:
    port = free_port()
    submit(node, server("udp", service_port=port))
    node.running(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect(("127.0.0.1", port))

        def echoed() -> bool:
            with suppress(OSError):
                client.send(b"hello")
                return client.recv(100).endswith(b" hello")
            return False

        node.until(echoed)


def test_instances_are_told_where_others_are_and_a_new_service_replaces_nobody(
    node: RealDaemon,
) -> None:
    submit(node, server())
    port = stable_port(node)
    node.running(2)
    with procfs.marked({"ROHE_CLUSTER": node.cluster}) as found:
        before = {it.pid for it in found}
    submit(node, {"name": "nap", "command": ["sleep", "600"]})
    node.running(3)
    with procfs.marked({"ROHE_CLUSTER": node.cluster}) as found:
        assert before < {it.pid for it in found}
        (nap,) = [it.pid for it in found if it.instance.startswith("nap.")]
    text = Path(f"/proc/{nap}/environ").read_text()
    told = dict(item.split("=", 1) for item in text.split("\0") if item)
    assert told["ROHE_HOST"] == "127.0.0.1"
    assert told["ROHE_SERVICE_WEB_PORT"] == str(port)


def test_who_serves_what_is_shown_for_people_too(node: RealDaemon) -> None:
    submit(node, server())
    node.running(2)
    node.until(lambda: "healthy" in node.cli("registry", "web").stdout)
    lines = node.cli("registry").stdout.splitlines()
    assert lines[0].split() == [
        "SERVICE",
        "PORT",
        "EVERY",
        "NODE",
        "INSTANCE",
        "NODE",
        "ADDRESS",
        "HEALTH",
    ]
    assert lines[1].split()[:5] == ["web", "80/tcp", str(stable_port(node)), "web.1", "n1"]
    assert "there is no service nope" in node.cli("registry", "nope").stderr


ASKING = """
exec 2>&1 > /www/said
until busybox wget -q -O - http://$ROHE_HOST:$ROHE_SERVICE_WEB_PORT/; do busybox sleep 0.1; done
busybox nslookup web
busybox nslookup web.$ROHE_CLUSTER.rohe
busybox nslookup nope
exec busybox httpd -f -p 80 -h /www
"""


@pytest.mark.mosquitto
@pytest.mark.root
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("dockerd", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
    ],
)
def test_a_container_reaches_another_by_variables_and_by_name(
    kind: str, request: pytest.FixtureRequest
) -> None:
    engine: RealEngine = request.getfixturevalue(kind)
    web = {
        "name": "web",
        "image": BUSYBOX,
        "command": ["/bin/httpd", "-f", "-p", "80", "-h", "/www"],
        "ports": [{"container_port": 80}],
        "stop_grace_s": 0,
    }
    asking = {**web, "name": "ask", "command": ["/bin/busybox", "sh", "-c", ASKING]}
    with daemon(
        engine={"kind": "docker", "socket": str(engine.socket)},
        discovery={"forwarder": True, "dns": True},
        broker={"mode": "managed"},
    ) as node:
        node.prefix = engine.prefix
        node.start()
        submit(node, web)
        node.running(1)
        submit(node, asking)
        (port,) = [it["ports"][0]["host_port"] for it in node.running(2) if it["service"] == "ask"]
        url, address = (
            f"http://127.0.0.1:{port}/said",
            node.get("/status")["engine"]["host_address"],
        )
        node.until(lambda: "NXDOMAIN" in engine.fetch(url))
        said = engine.fetch(url)
        assert said.startswith("ok\n")
        name = f"web.{node.cluster}.rohe"
        assert said.count(f"Name:\t{name}\nAddress: {address}\n") == 2
        assert f"can't find nope.{node.cluster}.rohe: NXDOMAIN" in said
        for service in ("ask", "web"):
            node.delete(f"/api/v1/services/{service}")
        node.until(lambda: not node.instances())
