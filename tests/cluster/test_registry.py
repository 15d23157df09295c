"""Who serves what, where: from placements, what nodes say, and what was agreed on ports."""

from roheletd.cluster.commands import AddNodes, AddServices, Place, Proposal
from roheletd.cluster.registry import ServicePort, dns_name, registry, variables
from roheletd.cluster.service_ports import PORT_MIN
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import ClusterState
from roheletd.instance_use import Health, InstanceUse
from roheletd.model import Capacity, Node, Placement, Port, PortBinding, Service

HTTP = Port(container_port=80)


class World:
    """Nodes a, b and c at 10.0.0.1, 2 and 3, seen from a."""

    def __init__(self) -> None:
        self.state = ClusterState()
        self.soft = SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="none"))
        self.lost: set[str] = set()
        capacity = Capacity(cores={0: 1000}, memory_mib=1024)
        self.apply(AddNodes(nodes=tuple(Node(name=it, capacity=capacity) for it in "abc")))
        self.soft.addresses = {name: f"10.0.0.{it}" for it, name in enumerate("abc", 1)}

    def apply(self, command: object) -> None:
        index = self.state.applied_index + 1
        self.state.apply(index, 1, Proposal(id=f"c{index}", command=command))
        self.state.check()

    def service(self, name: str, *ports: Port, application: str = "default") -> None:
        made = Service(name=name, application=application, image="i", replicas=9, ports=ports)
        self.apply(AddServices(services=(made,)))

    def place(self, instance: str, node: str, host_port: int, container_port: int = 80) -> None:
        service = instance.rpartition(".")[0]
        at = Placement(
            instance=instance,
            service=service,
            node=node,
            revision=self.state.services[service].revision,
            ports=(PortBinding(container_port=container_port, host_port=host_port),),
        )
        self.apply(Place(placements=(at,), released=()))

    def say(self, node: str, **conditions: tuple[str, Health]) -> None:
        self.soft.heard_instances(
            node,
            [
                InstanceUse(instance=name.replace("_", "."), state=state, health=health)
                for name, (state, health) in conditions.items()
            ],
        )

    def ports(self) -> tuple[ServicePort, ...]:
        return registry(self.state, self.soft, me="a", is_lost=self.lost.__contains__)

    def instances(self) -> list[str]:
        (found,) = self.ports()
        return [it.instance for it in found.healthy]


WELL: tuple[str, Health] = ("running", "healthy")


def three() -> World:
    world = World()
    world.service("web", HTTP)
    for number, node in enumerate("bac"):
        world.place(f"web.{number}", node, 20_000 + number)
        world.say(node, **{f"web_{number}": WELL})
    return world


def test_endpoints_are_where_their_nodes_are_and_local_ones_come_first() -> None:
    (found,) = three().ports()
    assert (found.service, found.port, found.service_port) == ("web", 80, PORT_MIN)
    assert [(it.instance, it.host, it.port, it.local) for it in found.endpoints] == [
        ("web.1", "127.0.0.1", 20_001, True),
        ("web.0", "10.0.0.2", 20_000, False),
        ("web.2", "10.0.0.3", 20_002, False),
    ]


def test_only_its_own_node_reaches_an_instance_at_its_own_address() -> None:
    world = three()
    before = world.soft.instances_changed
    world.soft.found_addresses({"web.0": "172.17.0.2", "web.1": "172.17.0.3"})
    (found,) = world.ports()
    assert [(it.own_host, it.own_port) for it in found.endpoints] == [
        ("172.17.0.3", 80),
        ("", 0),
        ("", 0),
    ]
    world.soft.found_addresses({"web.0": "172.17.0.2", "web.1": "172.17.0.3"})
    assert world.soft.instances_changed == before + 1


def test_only_what_runs_is_an_endpoint_and_only_what_is_healthy_serves() -> None:
    world = three()
    world.say("a", web_1=("running", "starting"))
    world.say("b", web_0=("waiting", "unhealthy"))
    (found,) = world.ports()
    assert [it.instance for it in found.endpoints] == ["web.1", "web.2"]
    assert world.instances() == ["web.2"]


def test_a_lost_node_serves_nothing() -> None:
    world = three()
    world.lost = {"b", "c"}
    assert world.instances() == ["web.1"]


def test_what_is_not_placed_any_more_serves_nothing_though_it_still_runs() -> None:
    world = three()
    world.apply(Place(placements=(), released=("web.1",)))
    assert world.instances() == ["web.0", "web.2"]


def test_what_another_node_says_of_an_instance_counts_for_nothing() -> None:
    world = three()
    world.say("b", web_0=("running", "unhealthy"), web_2=WELL)
    world.say("c")
    assert world.instances() == ["web.1"]


def test_a_node_whose_address_is_not_known_serves_nothing() -> None:
    world = three()
    del world.soft.addresses["b"]
    assert world.instances() == ["web.1", "web.2"]


def test_instances_of_both_editions_serve_one_stable_port_while_its_container_port_moves() -> None:
    world = World()
    world.service("web", Port(container_port=80, service_port=9000))
    world.place("web.0", "b", 20_000)
    world.say("b", web_0=WELL)
    world.service("web", Port(container_port=8080, service_port=9000))
    world.place("web.1", "c", 20_001, 8080)
    world.say("c", web_1=WELL)
    assert world.instances() == ["web.0", "web.1"]


def test_names_choose_services_and_unknown_ones_are_left_out() -> None:
    world = three()
    found = registry(
        world.state, world.soft, me="a", is_lost=world.lost.__contains__, names=("no", "web")
    )
    assert [it.service for it in found] == ["web"]


def test_soft_state_counts_changes_of_health_and_no_others() -> None:
    world = three()
    before = world.soft.instances_changed
    world.say("b", web_0=WELL)
    assert world.soft.instances_changed == before
    world.say("b", web_0=("running", "unhealthy"))
    world.soft.forget("c")
    assert world.soft.instances_changed == before + 2


def test_an_instance_is_told_the_ports_of_its_own_application_first() -> None:
    world = World()
    for number in range(120):
        world.service(f"x{number:03}", HTTP)
    world.service("my-db", HTTP, Port(container_port=53, protocol="udp"), application="shop")
    found = variables(world.state, "shop")
    assert found["ROHE_SERVICE_MY_DB_PORT"] == found["ROHE_SERVICE_MY_DB_PORT_80"]
    assert found["ROHE_SERVICE_MY_DB_PORT_53_UDP"] == str(PORT_MIN)
    assert len([it for it in found if it.endswith("_PORT")]) == 100
    assert next(iter(found)) == "ROHE_SERVICE_MY_DB_PORT"


def test_a_name_is_in_lower_case() -> None:
    assert dns_name("Web", "Edge") == "web.edge.rohe"
