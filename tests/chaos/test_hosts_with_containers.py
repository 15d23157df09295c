"""Three hosts with a dockerd each: whatever breaks on one, the others go on, and it comes back."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from tests.chaos.client import add
from tests.chaos.cluster import LOST_AFTER_S, Cluster, cluster_of, contained, service, view
from tests.chaos.copies import Copies
from tests.chaos.writer import Writer
from tests.testbed.hosts import Host

pytestmark = [
    pytest.mark.docker,
    pytest.mark.mosquitto,
    pytest.mark.root,
    pytest.mark.timeout(180),
]

RESCHEDULE_S = 2.0
STOPPED_S = LOST_AFTER_S + RESCHEDULE_S
"""After so long in the dark a node stops what is not to run twice."""
APART_S = 1.0
"""How far apart the last words lie that two sides have of each other (isolation.py)."""
GRACE_S = 1.0
BUSY_S = 2.0
"""What a busy machine may take for a stop, and two samples of it."""
RETURN_S = 10.0
"""How long a node that is back may take to hear of it, and to stop what was moved."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with cluster_of(3, engines=True) as made:
        status, answer = add(
            made.hosts[0],
            contained("keep", replicas=3),
            contained("stop", replicas=2, on_isolation="stop"),
        )
        assert status == 200, answer
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    shared.recovered()
    return shared


class Storm:
    """What goes on while a test breaks things: somebody writes, and somebody counts copies."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.writer = Writer(cluster)
        self.copies = Copies(cluster)

    def __enter__(self) -> Self:
        self.copies.__enter__()
        self.writer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.stop()
        self.copies.stop()

    def written(self, more: int = 3, *, through: Host | None = None) -> None:
        """Returns once some more writes were acknowledged, of one node if that is said."""
        if through is not None:
            self.writer.through(through)
        enough = self.writer.acknowledged + more
        self.cluster.site.until(lambda: self.writer.acknowledged >= enough)
        self.writer.through(*self.cluster.hosts)

    def over(self, *, stops_by_itself: bool = True) -> dict[str, Any]:
        """All is healed: wait until it is well, and look at what was written and what ran twice."""
        healed_s = time.monotonic()
        self.written()
        self.writer.stop()
        state = self.cluster.recovered()
        self.copies.stop()
        self.writer.check(state["services"])
        self.writer.check_once(self.cluster.hosts[0])
        assert self.copies.last_s() < healed_s + RETURN_S, self.copies.twice
        if stops_by_itself and self.copies.longest_s("stop") >= APART_S + GRACE_S + BUSY_S:
            raise AssertionError(self.told())
        return state

    def told(self) -> str:
        logs = (f"{host.name}:\n{host.daemon.log()}" for host in self.cluster.hosts)
        return "\n".join((f"ran twice: {self.copies.twice}", *logs))


@pytest.fixture
def storm(cluster: Cluster) -> Iterator[Storm]:
    with Storm(cluster) as made:
        made.written()
        yield made


def test_a_killed_leader_is_replaced_and_follows_when_it_is_back(storm: Storm) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    leader.kill()
    assert cluster.led(cluster.others(leader)) is not leader
    storm.written()
    leader.daemon.start()
    storm.over()
    assert not storm.copies.twice, storm.told()


def test_a_frozen_leader_does_not_act_when_it_wakes_up_and_joins_in(storm: Storm) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    leader.freeze()
    others = cluster.others(leader)
    successor = cluster.led(others)
    storm.written(through=successor)
    cluster.site.until(lambda: not placed_on(successor, leader))
    leader.thaw()
    storm.over(stops_by_itself=False)
    assert cluster.led() is successor


def placed_on(asked: Host, host: Host) -> list[str]:
    instances = asked.daemon.get("/api/v1/instances")["instances"]
    return [it["instance"] for it in instances if it["node"] == host.name]


CUTS: dict[str, Callable[[Host], None]] = {
    "link": Host.cut,
    "in": lambda host: host.cut_one_way("in"),
    "out": lambda host: host.cut_one_way("out"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_leader_that_is_cut_off_leads_nobody_and_comes_back(storm: Storm, cut: str) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    CUTS[cut](leader)
    others = cluster.others(leader)
    successor = cluster.led(others)
    storm.written(through=successor)
    refused_alone(cluster, leader)
    cluster.site.until(lambda: not placed_on(successor, leader))
    cluster.site.until(lambda: not any(name.startswith("stop.") for name in leader.running()))
    assert any(name.startswith("keep.") for name in leader.running())
    leader.heal()
    storm.over()


def refused_alone(cluster: Cluster, host: Host) -> None:
    """It takes no writes and says who is missing; what it knows it tells, and of when it is."""
    cluster.site.until(lambda: (seen := view(host)) and not seen["leader"])
    status, answer = add(host, service("refused", replicas=0))
    assert status == 503, answer
    missing = {other.name for other in cluster.others(host)}
    assert missing & set(answer["reason"].replace(",", " ").replace(";", " ").split()), answer
    assert host.daemon.get("/api/v1/services")["services"]
    assert "what is shown is from then" in host.daemon.cli("cluster", "status").stdout


def test_a_killed_broker_costs_no_election(storm: Storm) -> None:
    broker_trouble(storm, Host.kill_broker, lambda _host: None)


def test_a_frozen_broker_costs_no_election(storm: Storm) -> None:
    broker_trouble(storm, Host.freeze_broker, Host.thaw_broker)


def broker_trouble(
    storm: Storm, fault: Callable[[Host], None], remedy: Callable[[Host], None]
) -> None:
    cluster = storm.cluster
    term, leader = cluster.term(), cluster.led()
    for host in cluster.hosts:
        fault(host)
        storm.written(20)
        remedy(host)
        cluster.whole(voters=3)
    assert (cluster.term(), cluster.led()) == (term, leader)
    assert storm.writer.gap_s_max() < 2.0
    storm.over()
    assert not storm.copies.twice, storm.told()


@pytest.mark.parametrize("who", ["worker", "leader"])
def test_a_host_that_is_gone_is_replaced_and_stops_what_was_moved(storm: Storm, who: str) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    host = leader if who == "leader" else cluster.others(leader)[0]
    host.lose()
    others = cluster.others(host)
    asked = cluster.led(others)
    storm.written(through=asked)
    cluster.site.until(lambda: not placed_on(asked, host) and cluster.runs_as_wanted(others))
    assert sum(cluster.running().values()) == 5
    host.come_back()
    storm.over()


def test_after_a_power_cut_of_all_everything_acknowledged_is_there(storm: Storm) -> None:
    cluster = storm.cluster
    cluster.site.power_cut()
    cluster.site.come_back()
    storm.over()
    assert not storm.copies.twice, storm.told()
