"""Five hosts that vote and a sixth that may: two of them may break, and one may never come back."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.chaos.client import add
from tests.chaos.cluster import Cluster, join_and_start, service, site_of
from tests.chaos.storm import DEPOSED_S, Storm
from tests.testbed.hosts import Host

pytestmark = [pytest.mark.mosquitto, pytest.mark.root, pytest.mark.timeout(240)]

HAND_OVER_S = 1.5
"""A second, and what two processors take for six daemons, a writer and a census meanwhile."""
REPLACE_AFTER_S = 6.0
WALK_BACK_S = 30.0
"""Each side has brokers of its own, and looks for a leader at those of the other, in turn."""


def replaced_soon(_host: Host) -> dict[str, dict[str, float]]:
    return {"cluster": {"replace_after_s": REPLACE_AFTER_S}}


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with site_of(6, config=replaced_soon) as made:
        made.hosts = made.site.hosts[:5]
        made.found()
        made.whole(voters=5)
        status, answer = add(
            made.hosts[0],
            service("keep", replicas=5),
            service("stop", replicas=5, on_isolation="stop"),
        )
        assert status == 200, answer
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    shared.recovered(voters=5)
    return shared


@pytest.fixture
def storm(cluster: Cluster) -> Iterator[Storm]:
    with Storm(cluster, voters=5) as made:
        made.written()
        yield made


def test_a_minority_writes_nothing_and_reads_and_a_majority_goes_on(storm: Storm) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    minority = [leader, cluster.others(leader)[0]]
    majority = cluster.others(*minority)
    cluster.site.partition(minority, majority)
    successor = cluster.led(majority)
    storm.written(through=successor)
    for host in minority:
        cluster.without_majority(host, majority)
    cluster.site.until(lambda: cluster.runs_as_wanted(majority))
    cluster.site.heal()
    storm.over(apart_s=DEPOSED_S, back_s=WALK_BACK_S)


def test_two_of_five_are_killed_and_the_others_go_on(storm: Storm) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    killed = [leader, cluster.others(leader)[-1]]
    for host in killed:
        host.kill()
    cluster.led(cluster.others(*killed))
    storm.written()
    for host in killed:
        host.daemon.start()
    storm.over(stops_by_itself=False)


def test_a_leader_that_is_stopped_hands_over_and_hardly_anybody_notices(storm: Storm) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    term = cluster.term()
    others = cluster.others(leader)
    storm.writer.through(*others)
    os.kill(leader.daemon.pid, signal.SIGTERM)
    stopped_s = time.monotonic()
    assert add(others[0], service("next", replicas=0))[0] == 200
    took_s = time.monotonic() - stopped_s
    assert leader.daemon.process
    assert leader.daemon.process.wait(10) == 0
    assert cluster.term() == term + 1
    leader.daemon.start()
    storm.over()
    assert took_s < HAND_OVER_S


def test_a_voter_that_is_gone_for_good_is_replaced_by_the_spare(storm: Storm) -> None:
    cluster = storm.cluster
    spare = cluster.site.hosts[5]
    join_and_start(spare, cluster.token(cluster.led()))
    gone = cluster.others(cluster.led())[0]
    cluster.hosts = cluster.site.hosts
    cluster.whole(voters=5)
    gone.lose()
    cluster.hosts = tuple(host for host in cluster.site.hosts if host is not gone)
    roles_of(cluster, {host.name: "voter" for host in cluster.hosts})
    done = spare.daemon.cli("cluster", "remove", gone.name)
    assert done.returncode == 0, done.stderr
    storm.over()


def roles_of(cluster: Cluster, wanted: dict[str, str]) -> None:
    """Returns once the leader has them so."""

    def found() -> bool:
        leader = cluster.leader()
        if leader is None:
            return False
        members = leader.daemon.get("/api/v1/cluster")["members"]
        return wanted.items() <= {it["name"]: it["role"] for it in members}.items()

    cluster.site.until(found)


def test_a_witness_votes_and_runs_nothing_and_another_runs_and_never_votes() -> None:
    parts = {"n3": {"role": "witness"}, "n4": {"voter": "never"}}

    def part(host: Host) -> dict[str, dict[str, str]]:
        return {"cluster": parts.get(host.name, {})}

    with site_of(4, config=part) as made:
        made.found()
        made.whole(voters=3)
        roles_of(made, {"n1": "voter", "n2": "voter", "n3": "witness", "n4": "follower"})
        assert add(made.hosts[0], service("keep", replicas=6))[0] == 200
        made.site.until(made.runs_as_wanted)
        first, second, witness, follower = made.hosts
        assert not witness.running()
        assert follower.running()
        leader = made.led()
        lost = leader if leader is not witness else first
        lost.lose()
        left = second if lost is first else first
        made.led([left, witness, follower])
        assert add(follower, service("more", replicas=0))[0] == 200
        assert witness.running() == {}
        assert "never votes" in follower.daemon.cli("cluster", "status").stdout
        shown = " ".join(left.daemon.cli("cluster", "status").stdout.split())
        assert "all that are left are needed" in shown
