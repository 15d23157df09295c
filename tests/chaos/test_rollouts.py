"""Rollouts and drains on three hosts with containers, whoever dies in the middle."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.client import add
from tests.chaos.cluster import Cluster, agreed_by, cluster_of, contained
from tests.testbed.hosts import Host

pytestmark = [
    pytest.mark.docker,
    pytest.mark.mosquitto,
    pytest.mark.root,
    pytest.mark.timeout(240),
]

HTTPD = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_of(3, engines=True) as made:
        yield made


def web(path: str = "/index.html", number: int = 1, **more: Any) -> dict[str, Any]:
    """Healthy where it is asked for a page that it has."""
    return contained(
        "web",
        command=HTTPD,
        replicas=3,
        env={"NUMBER": str(number)},
        ports=[{"container_port": 80}],
        health={
            "http": {"port": 80, "path": path},
            "interval_s": 0.5,
            "timeout_s": 0.5,
            "start_grace_s": 1.0,
            "unhealthy_after": 1,
        },
        **more,
    )


def define(host: Host, service: dict[str, Any]) -> None:
    status, answer = add(host, service)
    assert status == 200, answer


def rollout(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.daemon.get("/api/v1/services/web/rollout")
    return found


def all_healthy(cluster: Cluster, host: Host) -> None:
    cluster.site.until(lambda: (seen := rollout(host))["settled"] == 3 and not seen["old"])


def test_a_rollout_goes_on_when_the_leader_is_killed_in_the_middle(cluster: Cluster) -> None:
    leader = cluster.led()
    (watcher, *_) = cluster.others(leader)
    define(watcher, web())
    all_healthy(cluster, watcher)
    define(watcher, web(number=2))
    cluster.site.until(lambda: rollout(watcher)["new"] >= 1)
    leader.kill()
    cluster.site.until(lambda: rollout(watcher)["new"] >= 2)
    leader.daemon.start()
    cluster.site.until(lambda: rollout(watcher)["state"] == "completed")
    cluster.recovered()


def test_a_rollout_that_fails_is_rolled_back_also_by_the_leader_that_comes_next(
    cluster: Cluster,
) -> None:
    leader = cluster.led()
    (watcher, *_) = cluster.others(leader)
    before = agreed_by(watcher)["placements"]
    define(watcher, web(path="/missing", number=3))
    cluster.site.until(lambda: rollout(watcher)["new"] == 1)
    leader.kill()
    cluster.site.until(lambda: rollout(watcher)["state"] in ("rolling back", "rolled back"))
    leader.daemon.start()
    cluster.site.until(lambda: rollout(watcher)["state"] == "rolled back")
    assert "GET /missing" in rollout(watcher)["reason"]
    cluster.recovered()
    after = agreed_by(watcher)["placements"]
    assert sum(after.get(name) == node for name, node in before.items()) >= 2


def test_a_host_is_drained_under_the_eyes_of_a_person(cluster: Cluster) -> None:
    leader = cluster.led()
    drained, other = cluster.others(leader)
    done = other.daemon.cli("drain", drained.name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{drained.name} is empty, and takes nothing new"
    cluster.site.until(lambda: not drained.running())
    all_healthy(cluster, other)
    assert other.daemon.cli("undrain", drained.name).returncode == 0
    nodes = json.loads(other.daemon.cli("nodes", "-o", "json").stdout)["nodes"]
    assert not any(it["draining"] or it["cordoned"] for it in nodes)
