"""Where nodes are: each leads to what runs on the others, also after a boot without a network."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.client import add
from tests.chaos.cluster import Cluster, cluster_of, view
from tests.testbed.hosts import Host
from tests.testbed.network import run

pytestmark = [pytest.mark.mosquitto, pytest.mark.root, pytest.mark.timeout(120)]

PORT = 31_000

SERVER = """
import os, socket
served = socket.create_server(("0.0.0.0", int(os.environ["ROHE_PORT_80"])), backlog=128)
while True:
    client, _ = served.accept()
    with client:
        client.sendall(os.environ["ROHE_INSTANCE"].encode())
"""
ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) as server:
    print(server.recv(100).decode())
"""


def web(node: str) -> dict[str, Any]:
    return {
        "name": "web",
        "command": [sys.executable, "-c", SERVER],
        "constraints": [f"node.name == {node}"],
        "ports": [{"container_port": 80, "service_port": PORT}],
    }


def ask(host: Host) -> str:
    """Who answers at the service port there; empty for nobody."""
    argv = [*host.prefix, sys.executable, "-I", "-S", "-c", ASK, str(PORT)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return done.stdout.strip()


def configured(host: Host) -> dict[str, Any]:
    return {
        "node": {"address": None},
        "cluster": {"promote_after_s": 1.0, "voter": "never" if host.name == "n3" else "auto"},
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of(3, voters=2, config=configured) as made:
        yield made


def test_one_that_never_votes_leads_to_the_instances_of_others_as_well(cluster: Cluster) -> None:
    status, answer = add(cluster.hosts[0], web("n1"))
    assert status == 200, answer
    for host in cluster.hosts:
        cluster.site.until(lambda host=host: ask(host) == "web.1")
    (known,) = cluster.hosts[2].daemon.get("/api/v1/registry")["ports"]
    assert known["healthy"] == 1


def test_a_network_that_comes_after_the_daemon_is_enough_to_be_found(cluster: Cluster) -> None:
    first, second, _ = cluster.hosts
    status, answer = add(first, web("n2"))
    assert status == 200, answer
    cluster.site.until(lambda: ask(first) == "web.1")
    second.kill()
    run("ip", "-n", second.netns, "address", "flush", "dev", "eth0")
    second.daemon.start()
    run("ip", "-n", second.netns, "address", "add", f"{second.address}/24", "dev", "eth0")
    cluster.whole(voters=2)
    cluster.site.until(lambda: ask(first) == "web.1")
    seen = view(first)
    assert seen is not None
    brokers = {it["name"]: it["broker"] for it in seen["members"]}
    assert brokers["n2"] == f"mqtt://{second.address}:9471"
