"""What names below `.rohe` stand for."""

from random import Random

import pytest

from roheletd.cluster.names import EMPTY, NOTHING, Meaning, Target, Zone, zone
from roheletd.model import Port
from tests.cluster.test_registry import HTTP, WELL, World

WEB = "web.edge.rohe"


@pytest.fixture
def world() -> World:
    made = World()
    made.service("Web", HTTP, Port(container_port=53, protocol="udp"))
    for number, node in enumerate("bac"):
        made.place(f"Web.{number}", node, 20_000 + number)
        made.say(node, **{f"Web_{number}": WELL})
    return made


def edge(world: World) -> Zone:
    return zone(
        world.state,
        world.soft,
        cluster="Edge",
        me="a",
        is_lost=lambda node: node in world.lost,
        rng=Random(3),
    )


def test_a_service_stands_for_the_nodes_of_its_healthy_instances_this_one_first(
    world: World,
) -> None:
    told = edge(world)
    orders = {told.meaning(WEB).addresses for _ in range(20)}
    assert orders == {("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("10.0.0.1", "10.0.0.3", "10.0.0.2")}
    world.say("a", Web_1=("running", "unhealthy"))
    world.lost = {"c"}
    assert edge(world).meaning(WEB).addresses == ("10.0.0.2",)


def test_this_node_is_told_as_its_containers_reach_it(world: World) -> None:
    world.soft.engine = type(world.soft.engine)(kind="docker", host_address="172.17.0.1")
    assert edge(world).meaning(WEB).addresses[0] == "172.17.0.1"


def test_a_service_without_a_healthy_instance_exists_all_the_same(world: World) -> None:
    world.lost = {"a", "b", "c"}
    assert edge(world).meaning(WEB) == EMPTY


def test_srv_tells_host_ports_on_the_names_of_nodes(world: World) -> None:
    found = edge(world).meaning(f"_80._tcp.{WEB}")
    assert found.targets[:2] == (
        Target("a.nodes.edge.rohe", 20_001),
        Target("b.nodes.edge.rohe", 20_000),
    )
    assert edge(world).meaning("b.nodes.edge.rohe").addresses == ("10.0.0.2",)


def test_an_address_that_is_a_name_is_told_by_nobody(world: World) -> None:
    world.soft.addresses["b"] = "b.lan"
    assert edge(world).meaning(WEB).addresses == ("10.0.0.1", "10.0.0.3")


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("rohe", EMPTY),
        ("edge.rohe", EMPTY),
        ("nodes.edge.rohe", EMPTY),
        (f"_53._udp.{WEB}", EMPTY),
        (f"_tcp.{WEB}", EMPTY),
        (f"_sctp.{WEB}", NOTHING),
        ("_80._tcp.nodes.edge.rohe", NOTHING),
        ("nope.edge.rohe", NOTHING),
        ("web.other.rohe", NOTHING),
        (f"_81._tcp.{WEB}", NOTHING),
        (f"_80._udp.{WEB}", NOTHING),
        (f"x.{WEB}", NOTHING),
        ("z.nodes.edge.rohe", NOTHING),
        ("webedge.rohe", NOTHING),
    ],
)
def test_what_has_nothing_exists_or_does_not(world: World, name: str, meaning: Meaning) -> None:
    assert edge(world).meaning(name) == meaning


def test_a_service_of_the_name_of_all_nodes_takes_no_node_its_name(world: World) -> None:
    world.service("nodes", HTTP)
    world.place("nodes.0", "b", 20_005)
    world.say("b", nodes_0=WELL)
    told = edge(world)
    assert told.meaning("nodes.edge.rohe").addresses == ("10.0.0.2",)
    assert told.meaning("_80._tcp.nodes.edge.rohe").targets == (
        Target("b.nodes.edge.rohe", 20_005),
    )
    assert told.meaning("c.nodes.edge.rohe").addresses == ("10.0.0.3",)
