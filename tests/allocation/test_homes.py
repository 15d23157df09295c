"""Instances with data stay where it is: nothing moves them, and nobody pretends that it could."""

from random import Random

from roheletd.allocation.allocate import explain
from roheletd.allocation.rebalance import rebalance
from roheletd.allocation.snapshot import Condition, ForeignLoad, Profile
from roheletd.allocation.view import snapshot
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    Drain,
    ForgetHome,
    RemoveNode,
    RemoveService,
    Scale,
)
from roheletd.cluster.state import decode, encode
from roheletd.model import Node, Port, Service
from roheletd.upkeep import UpdatePolicy, Volume
from tests.allocation.passes import PROFILE, homes, run_pass, view_of
from tests.builders import Driver, a_node, a_service, with_services

DATA = Volume(path="/data", name="data")
A, B, C = a_node("a"), a_node("b"), a_node("c")


def db(**more: object) -> Service:
    return a_service("db", **{"cores": (100,), "volumes": (DATA,), **more})


def placed(*services: Service, nodes: tuple[Node, ...] = (A, B)) -> Driver:
    cluster = with_services(*services, nodes=nodes)
    run_pass(cluster)
    return cluster


def other(node: str) -> str:
    return "b" if node == "a" else "a"


def test_it_waits_for_its_lost_node_and_the_reason_names_it() -> None:
    cluster = placed(db(replicas=2), a_service("web", constraints=("node.name == a",)))
    before = homes(cluster)
    found = run_pass(cluster, lost_for_s={before["db.1"]: 60.0})
    assert homes(cluster)["db.1"] == before["db.1"]
    home = before["db.1"]
    assert found.unplaceable["db"].reason == f"the volume data of db.1 is on {home}: is lost"
    assert run_pass(cluster).is_empty, "its node is back"


def test_others_of_its_service_are_not_held_up_by_it() -> None:
    cluster = placed(db(replicas=2))
    lost = homes(cluster)["db.1"]
    cluster.apply(Scale(name="db", replicas=4))
    run_pass(cluster, lost_for_s={lost: 60.0})
    after = homes(cluster)
    assert after["db.1"] == lost
    assert {after["db.3"], after["db.4"]} == {other(lost)}


def test_one_that_may_leave_its_data_moves() -> None:
    cluster = placed(db(volumes=(Volume(path="/data", name="data", movable=True),)))
    home = homes(cluster)["db.1"]
    run_pass(cluster, lost_for_s={home: 60.0})
    assert homes(cluster)["db.1"] == other(home)


def test_host_paths_and_memory_bind_nobody() -> None:
    volumes = (Volume(path="/host", host_path="/srv/x"), Volume(path="/tmp", tmpfs_mib=8))
    nodes = (a_node("a", host_paths=("/srv",)), a_node("b", host_paths=("/srv/",)))
    cluster = placed(db(volumes=volumes), nodes=nodes)
    home = homes(cluster)["db.1"]
    run_pass(cluster, lost_for_s={home: 60.0})
    assert homes(cluster)["db.1"] == other(home)


def test_a_change_replaces_it_where_it_is() -> None:
    for order in ("stop-first", "start-first"):
        cluster = placed(db(replicas=2, update=UpdatePolicy(order=order, parallel=2)))
        before = homes(cluster)
        cluster.apply(
            AddServices(services=(db(replicas=2, image="db:2", update=UpdatePolicy(order=order)),))
        )
        for _ in range(3):
            run_pass(cluster)
        assert homes(cluster) == before
        revisions = {at.revision for at in cluster.state.placements.values()}
        assert revisions == {cluster.state.services["db"].revision}


def test_a_drain_leaves_it_and_says_why() -> None:
    cluster = placed(db())
    home = homes(cluster)["db.1"]
    cluster.apply(Drain(name=home, draining=True))
    found = run_pass(cluster, conditions={home: Condition(cordoned=True)})
    assert homes(cluster)["db.1"] == home
    assert f"the volume data of db.1 is on {home}: is cordoned" in found.unplaceable["db"].reason


def test_a_slot_that_is_filled_again_finds_its_data() -> None:
    cluster = placed(db(replicas=4), nodes=(A, B, C))
    before = homes(cluster)
    cluster.apply(Scale(name="db", replicas=0))
    run_pass(cluster)
    cluster.apply(AddNodes(nodes=(a_node("d"), a_node("e"))))
    cluster.apply(Scale(name="db", replicas=4))
    run_pass(cluster, seed=9)
    assert homes(cluster) == before


def test_a_host_port_that_is_taken_does_not_drive_it_from_its_data() -> None:
    cluster = placed(db(ports=(Port(container_port=80),)))
    home = homes(cluster)["db.1"]
    foreign = Condition(foreign=ForeignLoad(ports=frozenset(range(20_000, 20_005))))
    cluster.apply(Scale(name="db", replicas=0))
    run_pass(cluster)
    cluster.apply(Scale(name="db", replicas=1))
    run_pass(cluster, conditions={home: foreign})
    assert homes(cluster) == {"db.1": home}


def test_a_removed_node_takes_the_data_with_it_and_a_new_beginning_is_made() -> None:
    cluster = placed(db())
    home = homes(cluster)["db.1"]
    cluster.apply(RemoveNode(name=home))
    run_pass(cluster)
    assert homes(cluster) == {"db.1": other(home)}
    assert cluster.state.homes() == homes(cluster)


def test_with_its_service_a_home_is_forgotten() -> None:
    cluster = placed(db())
    home = homes(cluster)["db.1"]
    cluster.apply(RemoveService(name="db"))
    assert cluster.state.homes() == {}
    cluster.apply(AddServices(services=(db(),)))
    run_pass(cluster, conditions={home: Condition(cordoned=True)})
    assert homes(cluster) == {"db.1": other(home)}


def test_whose_data_was_deleted_begins_anew_where_there_is_room() -> None:
    cluster = placed(db())
    home = homes(cluster)["db.1"]
    cordoned = {home: Condition(cordoned=True)}
    cluster.apply(Scale(name="db", replicas=0))
    run_pass(cluster)
    cluster.apply(Scale(name="db", replicas=1))
    run_pass(cluster, conditions=cordoned)
    assert homes(cluster) == {}, "it waits for its node"
    cluster.apply(ForgetHome(name=home, instance="db.1"))
    run_pass(cluster, conditions=cordoned)
    assert homes(cluster) == {"db.1": other(home)}
    assert cluster.state.homes() == homes(cluster)


def test_homes_are_in_the_snapshot_of_the_log() -> None:
    cluster = placed(db(replicas=2))
    assert decode(encode(cluster.state.saved())).homes == homes(cluster)


def test_what_is_movable_at_last_is_unbound_and_bound_again_to_where_it_went() -> None:
    free = Volume(path="/data", name="data", movable=True)
    cluster = placed(db())
    home = homes(cluster)["db.1"]
    cluster.apply(AddServices(services=(db(volumes=(free,)),)))
    run_pass(cluster, lost_for_s={home: 60.0})
    assert homes(cluster) == {"db.1": other(home)}
    assert cluster.state.homes() == {}
    cluster.apply(AddServices(services=(db(),)))
    assert cluster.state.homes() == {"db.1": other(home)}


def test_rebalancing_never_moves_it() -> None:
    for volumes, moves in (((), True), ((DATA,), False)):
        cluster = placed(db(cores=(1000,), replicas=3, volumes=volumes), nodes=(A,))
        cluster.apply(AddNodes(nodes=(B,)))
        found = rebalance(cluster.state, view_of(cluster), PROFILE, Random(5), moves=9)
        assert bool(found) == moves


def test_nobody_pushes_it_out() -> None:
    on = Profile(preemption=True)
    cluster = with_services(db(cores=(1000,) * 4), nodes=(A,))
    run_pass(cluster, profile=on)
    cluster.apply(AddServices(services=(a_service("high", cores=(500,), priority=9),)))
    found = run_pass(cluster, profile=on)
    assert homes(cluster) == {"db.1": "a"}
    assert list(found.unplaceable) == ["high"]


def test_it_pushes_out_only_at_home() -> None:
    on = Profile(preemption=True)
    cluster = with_services(db(priority=5, cores=(500,) * 4), nodes=(A, B))
    run_pass(cluster, profile=on)
    home = homes(cluster)["db.1"]
    cluster.apply(Scale(name="db", replicas=0))
    run_pass(cluster, profile=on)
    low = a_service("low", replicas=2, cores=(900,) * 4, anti_affinity=())
    cluster.apply(AddServices(services=(low,)))
    run_pass(cluster, profile=on)
    cluster.apply(Scale(name="db", replicas=1))
    found = run_pass(cluster, profile=on)
    assert homes(cluster)["db.1"] == home
    assert len(found.preempted) == 1


def test_why_of_an_instance_says_of_every_other_node_where_the_data_is() -> None:
    cluster = placed(db())
    home = homes(cluster)["db.1"]
    seen = snapshot(cluster.state, view_of(cluster), PROFILE)
    said = {it.node: it.refusals for it in explain(seen, db(), PROFILE, instance="db.1")}
    assert said == {home: {}, other(home): {"home": f"its volume data is on {home}"}}
    (*_, new) = explain(seen, db(), PROFILE, instance="db.2")
    assert new.refusals == {}


def test_a_node_says_which_host_path_it_does_not_allow() -> None:
    nodes = (a_node("a", host_paths=("/srv/data",)), a_node("b", engine="process"))
    for path, reason in (
        ("/srv", "does not allow host path /srv (`node.host_paths` in its configuration)"),
        ("/srv/database", "does not allow host path /srv/database"),
    ):
        cluster = placed(db(volumes=(Volume(path="/x", host_path=path),)), nodes=nodes)
        said = explain(
            snapshot(cluster.state, view_of(cluster), PROFILE),
            cluster.state.services["db"].service,
            PROFILE,
        )
        assert reason in said[0].refusals["volumes"]
        assert said[1].refusals["volumes"].startswith("has no container engine")
    for path in ("/srv/data", "/srv/data/", "//srv/./data/deep/er"):
        cluster = placed(db(volumes=(Volume(path="/x", host_path=path),)), nodes=nodes)
        assert homes(cluster) == {"db.1": "a"}
