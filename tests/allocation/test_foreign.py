"""What is measured and is not ours."""

from roheletd.allocation.foreign import (
    AVOID_IMAGE_S,
    AVOID_PORT_S,
    avoid,
    displaced,
    foreign_load,
    foreign_loads,
    refused_images,
    stranded,
)
from roheletd.cluster.commands import AddNodes, Place
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.instance_use import InstanceUse
from roheletd.model import Placement, Port, PortBinding
from roheletd.telemetry import MemoryUse, Telemetry
from tests.builders import Driver, a_node, a_service, with_services


def report(**more: object) -> Telemetry:
    base = {"node": "pi", "at_s": 0.0, "interval_s": 1.0}
    return Telemetry(**{**base, **more})  # type: ignore[arg-type]


OURS = Placement(
    instance="web.1",
    service="web",
    node="pi",
    revision=1,
    cores={0: 300, 1: 100},
    ports=(PortBinding(container_port=80, host_port=20000),),
)


def test_our_own_use_is_taken_off_the_cores_it_is_pinned_to() -> None:
    use = InstanceUse(instance="web.1", state="running", cpu_millicores=400, memory_mib=100)
    load = foreign_load(
        report(
            instances=(use,),
            memory=MemoryUse(total_mib=1000, available_mib=600),
            taken_ports=(22, 20000),
        ),
        {0: 500.4, 1: 90.0, 2: 700.0},
        [OURS],
    )
    assert load.cores_millicores == {0: 200, 1: 0, 2: 700}
    assert load.memory_mib == 300
    assert load.ports == {22}


def test_an_instance_whose_use_is_unknown_takes_nothing_off() -> None:
    load = foreign_load(
        report(memory=MemoryUse(total_mib=1000, available_mib=600)), {0: 500.0}, [OURS]
    )
    assert load.cores_millicores == {0: 500}
    assert load.memory_mib == 400


def refused(*, port: Port) -> tuple[Driver, SoftState]:
    """A service whose instance was given port 20000, which its engine could not have."""
    cluster = with_services(a_service(ports=(port,)))
    binding = PortBinding(container_port=80, host_port=20000)
    at = Placement(instance="web.1", service="web", node="pi", revision=2, ports=(binding,))
    cluster.apply(Place(placements=(at,)))
    soft = SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="docker"))
    use = InstanceUse(instance="web.1", state="waiting", refused_ports=(20000,))
    soft.telemetry["pi"] = report(instances=(use,))
    return cluster, soft


def test_an_instance_whose_chosen_port_is_held_by_another_is_displaced_and_the_port_avoided() -> (
    None
):
    cluster, soft = refused(port=Port(container_port=80))
    assert displaced(soft, cluster.state) == {"web.1": (20000,)}
    assert avoid(soft, cluster.state, 100.0) == {"web.1"}
    assert 20000 in foreign_loads(soft, cluster.state)["pi"].ports


def test_a_port_is_avoided_for_a_while_only() -> None:
    cluster, soft = refused(port=Port(container_port=80))
    avoid(soft, cluster.state, 100.0)
    soft.telemetry["pi"] = report()
    avoid(soft, cluster.state, 100.0 + AVOID_PORT_S - 1)
    assert 20000 in foreign_loads(soft, cluster.state)["pi"].ports
    avoid(soft, cluster.state, 100.0 + AVOID_PORT_S)
    assert 20000 not in foreign_loads(soft, cluster.state)["pi"].ports


def test_an_instance_that_requires_its_port_stays_and_waits_for_it() -> None:
    cluster, soft = refused(port=Port(container_port=80, host_port=20000))
    assert displaced(soft, cluster.state) == {}


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
        instance="web.1", state="waiting", reason="registry unreachable", refused_image=True
    )
    soft.telemetry["pi"] = report(instances=(use,))
    for name in others:
        soft.telemetry[name] = report(node=name)
    return cluster, soft


def test_an_image_that_a_node_could_not_get_is_remembered_with_the_reason_for_a_while() -> None:
    cluster, soft = without_image()
    assert avoid(soft, cluster.state, 100.0) == frozenset()
    assert refused_images(soft, 100.0) == {"pi": {"web:1": "registry unreachable"}}
    assert refused_images(soft, 100.0 + AVOID_IMAGE_S) == {"pi": {}}
    soft.telemetry["pi"] = report()
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
    soft.telemetry["xavier"] = report(node="xavier", images=("web:1",))
    avoid(soft, cluster.state, 100.0)
    assert stranded(soft, cluster.state, 100.0) == {"web.1"}


def test_a_node_without_a_container_engine_is_no_way_out() -> None:
    cluster, soft = without_image("xavier")
    cluster.apply(AddNodes(nodes=(a_node("xavier", engine="process"),)))
    assert stranded(soft, cluster.state, 100.0) == frozenset()
