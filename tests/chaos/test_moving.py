"""Two hosts, and a service that does not do well on the one where it was placed first."""

from pathlib import Path

import pytest

from tests.chaos.client import add
from tests.chaos.cluster import cluster_of, service

pytestmark = [pytest.mark.mosquitto, pytest.mark.root, pytest.mark.timeout(120)]


def test_what_fails_again_and_again_on_one_host_moves_to_the_other(tmp_path: Path) -> None:
    check = {
        "exec": {"command": ["/bin/sh", "-c", f"test ! -e {tmp_path}/$ROHE_NODE"]},
        "interval_s": 0.5,
        "timeout_s": 0.5,
        "start_grace_s": 0,
        "unhealthy_after": 1,
    }
    with cluster_of(2) as cluster:
        wanted = service("web", replicas=1, cores=[], move_after=2, health=check)
        status, answer = add(cluster.hosts[0], wanted)
        assert status == 200, answer
        daemon = cluster.hosts[0].daemon
        daemon.until(lambda: [it["health"] for it in daemon.instances()] == ["healthy"])
        (before,) = daemon.instances()
        (tmp_path / before["node"]).touch()

        def moved() -> bool:
            found = daemon.instances()
            return [it["node"] != before["node"] and it["health"] == "healthy" for it in found] == [
                True
            ]

        daemon.until(moved)
        failed = "web failed here 2 times in a row: unhealthy: /bin/sh: ended with"
        for host in cluster.hosts:  # whoever leads
            cluster.site.until(lambda on=host: failed in on.daemon.cli("why", "web.1").stdout)
