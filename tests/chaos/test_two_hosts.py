"""Two hosts: all is on both, and neither goes on alone; and what one does that hears nobody."""

import time
from collections.abc import Iterator

import pytest

from tests.chaos.client import add, ask
from tests.chaos.cluster import Cluster, at_once, cluster_of, placed_on, service, view
from tests.chaos.copies import Copies
from tests.chaos.storm import APART_S, BUSY_S, STOPPED_S
from tests.testbed.hosts import Host

pytestmark = [pytest.mark.mosquitto, pytest.mark.root, pytest.mark.timeout(120)]

OFFLINE_START_S = 10.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with cluster_of(2) as made:
        status, answer = add(
            made.hosts[0],
            service("keep", replicas=4, cores=[]),
            service("stop", replicas=4, cores=[], on_isolation="stop"),
        )
        assert status == 200, answer
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    shared.recovered(voters=2)
    return shared


def names(host: Host, prefix: str) -> list[str]:
    return [name for name in host.running() if name.startswith(prefix)]


def test_one_of_two_runs_on_and_changes_nothing_and_says_what_would_help(cluster: Cluster) -> None:
    leader = cluster.led()
    (left,) = cluster.others(leader)
    before = names(left, "keep.")
    assert "add a third machine, or a witness" in left.daemon.cli("cluster", "status").stdout
    leader.lose()
    cluster.without_majority(left, [leader])
    assert names(left, "keep.") == before
    seen = left.daemon.cli("cluster", "status").stdout
    assert f"missing: {leader.name}" in seen
    assert "roheletd cluster recover --force" in seen
    leader.come_back()
    cluster.recovered(voters=2)


def test_a_node_that_is_cut_off_stops_what_is_not_to_run_twice(cluster: Cluster) -> None:
    """The other side cannot place it elsewhere here, so that this is all of it."""
    first, second = cluster.hosts
    kept = names(second, "keep.")
    assert names(second, "stop.")
    cut_s = time.monotonic()
    second.cut()
    cluster.site.until(lambda: not names(second, "stop."))
    assert STOPPED_S - APART_S < time.monotonic() - cut_s < STOPPED_S + APART_S + BUSY_S
    assert names(second, "keep.") == kept
    second.heal()
    cluster.recovered(voters=2)
    assert first.running()


def test_a_node_that_boots_alone_starts_what_it_ran(cluster: Cluster) -> None:
    """No cable, no leader, and no broker but its own."""
    first, second = cluster.hosts
    wanted = set(placed_on(first, second))
    cluster.site.power_cut()
    second.start_engine()
    second.lost = False  # it has power again, and no cable
    second.daemon.start()
    booted_s = time.monotonic()
    cluster.site.until(lambda: set(second.running()) == wanted)
    assert time.monotonic() - booted_s < OFFLINE_START_S
    first.come_back()
    second.heal()
    cluster.recovered(voters=2)


def test_a_leader_that_is_stopped_hands_over_first(cluster: Cluster) -> None:
    """And one that begins another life tells nobody goodbye for good."""
    leader = cluster.led()
    (other,) = cluster.others(leader)
    with Copies(cluster) as copies:
        leader.daemon.terminate()
        assert (seen := view(other))
        assert seen["role"] == "leader"
        leader.daemon.start()
        cluster.recovered(voters=2)
    assert not copies.twice


def test_a_node_that_leaves_gives_back_what_it_ran_and_is_one_of_its_own(cluster: Cluster) -> None:
    leader = cluster.led()
    (other,) = cluster.others(leader)
    left = other.daemon.cli("cluster", "leave")
    assert left.returncode == 0, left.stderr
    cluster.site.until(lambda: len(leader.running()) == 8)
    cluster.site.until(lambda: not other.running())
    status, _ = ask(leader, "DELETE", "/api/v1/services/keep")
    assert status == 200
    cluster.site.until(lambda: (seen := view(other)) and seen["role"] == "leader")
    assert other.daemon.get("/api/v1/services")["services"] == []
    token = cluster.token(leader)
    joined = other.daemon.cli("cluster", "join", token)
    assert joined.returncode == 0, joined.stderr
    cluster.recovered(voters=2)
    at_once(lambda host: host.daemon.terminate(), cluster.hosts)
