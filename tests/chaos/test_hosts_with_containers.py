"""Three hosts with a dockerd each: whatever breaks on one, the others go on, and it comes back."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.client import add
from tests.chaos.cluster import Cluster, cluster_of, contained, placed_on
from tests.chaos.storm import APART_S, DEPOSED_S, Storm
from tests.testbed.hosts import Host

pytestmark = [
    pytest.mark.docker,
    pytest.mark.mosquitto,
    pytest.mark.root,
    pytest.mark.timeout(240),
]


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


@pytest.fixture
def storm(cluster: Cluster) -> Iterator[Storm]:
    with Storm(cluster, voters=3) as made:
        made.written()
        yield made


def test_a_killed_leader_is_replaced_and_follows_when_it_is_back(storm: Storm) -> None:
    cluster = storm.cluster
    leader = cluster.led()
    leader.kill()
    assert cluster.led(cluster.others(leader)) is not leader
    storm.written()
    leader.daemon.start()
    storm.over(stops_by_itself=False)


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
    cluster.without_majority(leader, others)
    cluster.site.until(lambda: not placed_on(successor, leader))
    cluster.site.until(lambda: not any(name.startswith("stop.") for name in leader.running()))
    assert any(name.startswith("keep.") for name in leader.running())
    leader.heal()
    storm.over(apart_s=DEPOSED_S if cut == "out" else APART_S)


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
