"""Ports, images and services that a node was seen to do badly with, and what follows from it."""

from msgspec.structs import replace

from roheletd.allocation.avoidance import (
    AVOID_IMAGE_S,
    AVOID_PORT_S,
    avoid,
    refused_images,
    stranded,
)
from roheletd.allocation.foreign import foreign_loads
from roheletd.cluster.commands import AddNodes, AddServices, Place
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, Port, PortBinding
from roheletd.telemetry import Telemetry
from tests.builders import Driver, a_node, a_service, with_services


def report(node: str = "pi", **more: object) -> Telemetry:
    return Telemetry(node=node, at_s=0.0, interval_s=1.0, **more)  # type: ignore[arg-type]


def refused(*, port: Port) -> tuple[Driver, SoftState]:
    """A service whose instance was given port 20000, which its engine could not have."""
    cluster = with_services(a_service(ports=(port,)))
    binding = PortBinding(container_port=80, host_port=20000)
    at = Placement(instance="web.1", service="web", node="pi", revision=2, ports=(binding,))
    cluster.apply(Place(placements=(at,)))
    soft = SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="docker"))
    use = InstanceUse(instance="web.1", state="waiting", revision=2, refused_ports=(20000,))
    soft.heard_telemetry(report(instances=(use,)))
    return cluster, soft


def test_an_instance_whose_chosen_port_is_held_by_another_is_displaced_and_the_port_avoided() -> (
    None
):
    cluster, soft = refused(port=Port(container_port=80))
    assert avoid(soft, cluster.state, 100.0) == {"web.1"}
    assert 20000 in foreign_loads(soft, cluster.state)["pi"].ports


def test_a_port_is_avoided_for_a_while_only() -> None:
    cluster, soft = refused(port=Port(container_port=80))
    avoid(soft, cluster.state, 100.0)
    soft.heard_telemetry(report())
    avoid(soft, cluster.state, 100.0 + AVOID_PORT_S - 1)
    assert 20000 in foreign_loads(soft, cluster.state)["pi"].ports
    avoid(soft, cluster.state, 100.0 + AVOID_PORT_S)
    assert 20000 not in foreign_loads(soft, cluster.state)["pi"].ports


def test_an_instance_that_requires_its_port_stays_and_waits_for_it() -> None:
    cluster, soft = refused(port=Port(container_port=80, host_port=20000))
    assert avoid(soft, cluster.state, 100.0) == frozenset()
    assert 20000 not in foreign_loads(soft, cluster.state)["pi"].ports


def without_image(*others: str) -> tuple[Driver, SoftState]:
    """A service whose instance waits on `pi`, which cannot get its image; `others` are well."""
    nodes = tuple(a_node(name) for name in ("pi", *others))
    cluster = with_services(a_service(image="docker.io/library/web:1"))
    cluster.apply(AddNodes(nodes=nodes))
    cluster.apply(
        Place(placements=(Placement(instance="web.1", service="web", node="pi", revision=2),))
    )
    soft = SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="docker"))
    use = InstanceUse(
        instance="web.1",
        state="waiting",
        revision=2,
        reason="registry unreachable",
        refused_image=True,
    )
    soft.heard_telemetry(report(instances=(use,)))
    for name in others:
        soft.heard_telemetry(report(name))
    return cluster, soft


def test_an_image_that_a_node_could_not_get_is_remembered_with_the_reason_for_a_while() -> None:
    cluster, soft = without_image()
    assert avoid(soft, cluster.state, 100.0) == frozenset()
    assert refused_images(soft, 100.0) == {"pi": {"web:1": "registry unreachable"}}
    assert refused_images(soft, 100.0 + AVOID_IMAGE_S) == {"pi": {}}
    soft.heard_telemetry(report())
    avoid(soft, cluster.state, 100.0 + AVOID_IMAGE_S)
    assert soft.refused_images == {"pi": {}}


def test_as_long_as_the_node_goes_on_to_fail_it_is_avoided() -> None:
    cluster, soft = without_image()
    for now_s in (100.0, 300.0, 500.0):
        avoid(soft, cluster.state, now_s)
    assert refused_images(soft, 600.0)["pi"]


def test_an_instance_without_its_image_is_stranded_while_another_node_may_get_it() -> None:
    cluster, soft = without_image("xavier")
    avoid(soft, cluster.state, 100.0)
    assert stranded(soft, cluster.state, 100.0) == {"web.1"}


def test_where_nobody_else_is_left_to_try_it_is_not_stranded() -> None:
    cluster, soft = without_image()
    avoid(soft, cluster.state, 100.0)
    assert stranded(soft, cluster.state, 100.0) == frozenset()
    cluster, soft = without_image("xavier")
    soft.refused_images["xavier"] = {"web:1": (200.0, "not found")}
    avoid(soft, cluster.state, 100.0)
    assert stranded(soft, cluster.state, 100.0) == frozenset()


def test_a_node_that_has_the_image_will_do_whatever_it_said_before() -> None:
    cluster, soft = without_image("xavier")
    soft.refused_images["xavier"] = {"web:1": (200.0, "not found")}
    soft.heard_telemetry(report("xavier", images=("web:1",)))
    avoid(soft, cluster.state, 100.0)
    assert stranded(soft, cluster.state, 100.0) == {"web.1"}


def test_a_node_without_a_container_engine_is_no_way_out() -> None:
    cluster, soft = without_image("xavier")
    cluster.apply(AddNodes(nodes=(a_node("xavier", engine="process"),)))
    assert stranded(soft, cluster.state, 100.0) == frozenset()


def test_what_a_node_said_of_an_earlier_edition_is_no_word_on_this_one() -> None:
    cluster, soft = without_image("xavier")
    said = soft.instances["pi"]["web.1"]
    soft.heard_instances("pi", (replace(said, revision=said.revision - 1),))
    avoid(soft, cluster.state, 100.0)
    assert refused_images(soft, 100.0) == {}
    assert stranded(soft, cluster.state, 100.0) == frozenset()


def test_what_is_said_of_the_image_before_is_no_word_on_the_one_that_mends_it() -> None:
    cluster, soft = without_image("xavier")
    cluster.apply(AddServices(services=(a_service(image="web:2"),)))
    avoid(soft, cluster.state, 100.0)
    assert refused_images(soft, 100.0) == {"pi": {"web:1": "registry unreachable"}}
    assert stranded(soft, cluster.state, 100.0) == {"web.1"}


def test_which_port_was_chosen_is_told_by_the_edition_that_has_it() -> None:
    cluster, soft = refused(port=Port(container_port=80, host_port=20000))
    cluster.apply(AddServices(services=(a_service(ports=(Port(container_port=80),)),)))
    assert avoid(soft, cluster.state, 100.0) == frozenset()


def test_what_is_heard_of_one_node_is_remembered_of_that_one_alone() -> None:
    cluster, soft = without_image("xavier")
    assert avoid(soft, cluster.state, 100.0, ("xavier",)) == frozenset()
    assert refused_images(soft, 100.0) == {}
    avoid(soft, cluster.state, 100.0, ("pi",))
    assert refused_images(soft, 100.0)["pi"]
    assert stranded(soft, cluster.state, 100.0, ("xavier",)) == frozenset()
    assert stranded(soft, cluster.state, 100.0, ("pi",)) == {"web.1"}
