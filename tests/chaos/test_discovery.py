"""Two hosts with a dockerd each: a service answers on both, wherever its instances are."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.client import add
from tests.chaos.cluster import Cluster, cluster_of
from tests.testbed.engines import BUSYBOX
from tests.testbed.hosts import Host
from tests.testbed.unix_http import request

pytestmark = [
    pytest.mark.docker,
    pytest.mark.mosquitto,
    pytest.mark.root,
    pytest.mark.timeout(120),
]

PORT = 30_000

ASKER = """
import json, sys, time, urllib.request
url, until_s = sys.argv[1], time.monotonic() + float(sys.argv[2])
answers, failed, last_s, gap_s = [], 0, time.monotonic(), 0.0
print("asking", flush=True)
while time.monotonic() < until_s:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            answers.append(answer.read().decode().strip())
        gap_s, last_s = max(gap_s, time.monotonic() - last_s), time.monotonic()
    except OSError:
        failed += 1
    time.sleep(0.01)
print(json.dumps({"answers": answers, "failed": failed, "gap_s": gap_s}))
"""


def web(replicas: int) -> dict[str, Any]:
    page = "echo $ROHE_NODE > /www/who; exec busybox httpd -f -p 80 -h /www"
    return {
        "name": "web",
        "image": BUSYBOX,
        "command": ["/bin/busybox", "sh", "-c", page],
        "replicas": replicas,
        "ports": [{"container_port": 80}],
        "stop_grace_s": 0,
    }


def who(host: Host, address: str = "127.0.0.1") -> str:
    assert host.engine is not None
    return host.engine.fetch(f"http://{address}:{PORT}/who").strip()


def placed(host: Host, number: int) -> dict[str, str]:
    """Node to instance, once so many run."""
    return {it["node"]: it["instance"] for it in host.daemon.running(number)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of(2, engines=True) as made:
        status, answer = add(made.hosts[0], web(1))
        assert status == 200, answer
        yield made


def test_every_node_leads_to_an_instance_on_another_one(cluster: Cluster) -> None:
    first, second = cluster.hosts
    (node,) = placed(first, 1)
    for host in (first, second):
        cluster.site.until(lambda host=host: who(host) == node)
        assert who(host, first.address) == who(host, second.address) == node


def test_a_node_prefers_its_own_instance_and_takes_another_when_that_dies(
    cluster: Cluster,
) -> None:
    first, second = cluster.hosts
    add(first, web(2))
    cluster.site.until(lambda: (who(first), who(second)) == (first.name, second.name))
    argv = [*first.prefix, sys.executable, "-c", ASKER, f"http://127.0.0.1:{PORT}/who", "3"]
    asking = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    assert asking.stdout.readline() == "asking\n"
    time.sleep(0.5)
    assert first.engine is not None
    container = first.daemon.container(placed(first, 2)[first.name])
    request(first.engine.socket, "POST", f"/containers/{container}/kill?signal=KILL")
    told = json.loads(asking.communicate(timeout=20)[0])
    print(told["gap_s"], told["failed"], len(told["answers"]))
    assert told["gap_s"] < 1.0
    assert told["failed"] <= 3
    assert set(told["answers"]) == {first.name, second.name}
    cluster.site.until(lambda: who(first) == first.name)


def test_while_nobody_can_be_reached_connections_wait_for_one_to_come_back(
    cluster: Cluster,
) -> None:
    first, second = cluster.hosts
    cluster.site.until(lambda: (who(first), who(second)) == (first.name, second.name))
    assert first.engine is not None
    lookup = [*first.prefix, "busybox", "nslookup", f"web.{first.daemon.cluster}.rohe"]
    gateway = first.daemon.get("/status")["engine"]["host_address"]
    said = subprocess.run([*lookup, gateway], capture_output=True, text=True, check=True).stdout
    found = {line for line in said.splitlines() if line.startswith("Address: ")}
    assert found == {f"Address: {gateway}", f"Address: {second.address}"}
    container = first.daemon.container(placed(first, 2)[first.name])
    second.cut()
    request(first.engine.socket, "POST", f"/containers/{container}/kill?signal=KILL")
    argv = [*first.prefix, sys.executable, "-c", ASKER, f"http://127.0.0.1:{PORT}/who", "2"]
    told = json.loads(subprocess.check_output(argv, text=True).splitlines()[1])
    second.heal()
    print(told["gap_s"], told["failed"], len(told["answers"]))
    assert set(told["answers"]) == {first.name}, "restarted, and the other one cannot be reached"
    assert told["failed"] == 0, "they waited"
