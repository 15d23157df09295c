"""The stable ports of services: agreed, kept, and nobody's twice."""

import pytest
from msgspec.structs import replace

from roheletd.cluster.commands import AddServices, Applied, Proposal, Rejected, RemoveService
from roheletd.cluster.service_ports import NO_PORT, PORT_MAX, PORT_MIN, ServicePorts
from roheletd.cluster.state import ClusterState, decode, encode
from roheletd.model import Port, Service, contradiction


def service(name: str, *ports: Port | int) -> Service:
    made = (it if isinstance(it, Port) else Port(container_port=it) for it in ports)
    return Service(name=name, image="i", ports=tuple(made))


def asking(number: int, container_port: int = 80, protocol: str = "tcp") -> Port:
    return Port(container_port=container_port, service_port=number, protocol=protocol)


def applied(state: ClusterState, *commands: object) -> object:
    outcome = None
    for command in commands:
        index = state.applied_index + 1
        outcome = state.apply(index, 1, Proposal(id=f"c{index}", command=command))
        state.check()
    return outcome


def defining(*services: Service) -> AddServices:
    return AddServices(services=services)


def test_each_port_has_the_smallest_free_number_of_its_protocol() -> None:
    state = ClusterState()
    udp = Port(container_port=53, protocol="udp")
    applied(state, defining(service("a", 80, udp)), defining(service("b", 80, 81)))
    assert state.service_ports.by_service == {
        "a": {"80/tcp": PORT_MIN, "53/udp": PORT_MIN},
        "b": {"80/tcp": PORT_MIN + 1, "81/tcp": PORT_MIN + 2},
    }


def test_a_port_keeps_its_number_whatever_else_changes() -> None:
    state = ClusterState()
    applied(state, defining(service("a", 80), service("b", 80)), RemoveService(name="a"))
    applied(state, defining(service("b", 79, 80)))
    assert state.service_ports.of("b") == {"79/tcp": PORT_MIN, "80/tcp": PORT_MIN + 1}


def test_a_number_that_is_asked_for_is_given_and_drawn_by_no_other() -> None:
    state = ClusterState()
    applied(state, defining(service("a", 79, asking(PORT_MIN)), service("b", 80)))
    assert state.service_ports.of("a") == {"79/tcp": PORT_MIN + 1, "80/tcp": PORT_MIN}
    assert state.service_ports.of("b") == {"80/tcp": PORT_MIN + 2}


def test_a_number_of_another_service_is_refused_with_its_owner() -> None:
    state = ClusterState()
    outcome = applied(state, defining(service("a", 80)), defining(service("b", asking(PORT_MIN))))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == (
        "ports[0].service_port of service b: expected a number that no other service has, and "
        "30000 over tcp is that of service a"
    )
    assert "b" not in state.services


def test_two_new_services_cannot_ask_for_one_number() -> None:
    outcome = applied(
        ClusterState(), defining(service("a", asking(8080)), service("b", asking(8080)))
    )
    assert isinstance(outcome, Rejected)
    assert "that of service a" in outcome.reason


@pytest.mark.parametrize("order", [1, -1])
def test_a_number_may_change_hands_in_one_command(order: int) -> None:
    state = ClusterState()
    applied(state, defining(service("a", asking(8080))))
    swap = [service("a", asking(8081)), service("b", asking(8080))][::order]
    assert isinstance(applied(state, defining(*swap)), Applied)
    assert state.service_ports.by_service == {"a": {"80/tcp": 8081}, "b": {"80/tcp": 8080}}


def test_a_number_that_was_drawn_stays_with_whoever_drew_it() -> None:
    state = ClusterState()
    applied(state, defining(service("a", 80)))
    both = defining(service("b", asking(PORT_MIN)), service("a", 80))
    assert isinstance(applied(state, both), Rejected)


def test_the_number_of_a_removed_service_is_free_again() -> None:
    state = ClusterState()
    applied(state, defining(service("a", asking(8080))), RemoveService(name="a"))
    assert isinstance(applied(state, defining(service("b", asking(8080)))), Applied)


def test_a_snapshot_holds_the_numbers() -> None:
    state = ClusterState()
    applied(state, defining(service("a", 80), service("b", 80)), RemoveService(name="a"))
    again = ClusterState(decode(encode(state.saved())))
    again.check()
    assert again.service_ports.by_service == {"b": {"80/tcp": PORT_MIN + 1}}
    assert again.saved() == state.saved()


def test_services_of_a_snapshot_without_numbers_get_them_in_the_order_they_came() -> None:
    state = ClusterState()
    applied(state, defining(service("b", 80)), defining(service("a", 80)))
    again = ClusterState(replace(state.saved(), service_ports={}))
    again.check()
    assert again.service_ports.by_service == state.service_ports.by_service


def test_once_all_numbers_are_given_a_port_has_none() -> None:
    everything = {"big": {f"{it}/tcp": it for it in range(PORT_MIN, PORT_MAX + 1)}}
    ports = ServicePorts(everything)
    ports.want(service("late", 80))
    assert ports.of("late") == {"80/tcp": NO_PORT}
    ports.want(service("own", asking(9000)))
    assert ports.of("own") == {"80/tcp": 9000}


def on_host(number: int) -> Port:
    return Port(container_port=80, host_port=number)


def test_a_host_port_that_is_asked_for_is_drawn_by_nobody_also_after_a_restart() -> None:
    state = ClusterState()
    applied(state, defining(service("a", on_host(PORT_MIN))), defining(service("b", 80)))
    assert state.service_ports.of("a") == {"80/tcp": PORT_MIN + 1}
    assert state.service_ports.of("b") == {"80/tcp": PORT_MIN + 2}
    again = ClusterState(decode(encode(state.saved())))
    applied(again, RemoveService(name="b"), defining(service("c", 80)))
    assert again.service_ports.of("c") == {"80/tcp": PORT_MIN + 2}
    applied(again, RemoveService(name="a"), defining(service("d", 80)))
    assert again.service_ports.of("d") == {"80/tcp": PORT_MIN}


def test_one_number_is_not_a_host_port_here_and_a_service_port_there() -> None:
    state = ClusterState()
    applied(state, defining(service("a", on_host(8080), asking(9000, 81))))
    outcome = applied(state, defining(service("b", asking(8080))))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == (
        "ports[0].service_port of service b: expected a number that no service has for a "
        "host_port, got 8080"
    )
    outcome = applied(state, defining(service("b", on_host(9000))))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == (
        "ports[0].host_port of service b: expected a number that no service has for a "
        "service_port, and 9000 is that of service a on every node"
    )
    assert isinstance(applied(state, defining(service("b", on_host(8080)))), Applied)


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ((asking(8080), asking(8080, 81)), "expected each service port once, got 8080"),
        (
            (Port(container_port=80, host_port=8080, service_port=8080),),
            "expected another number than that of a host_port, got 8080",
        ),
        (
            (asking(8080), Port(container_port=81, host_port=8080)),
            "expected another number than that of a host_port, got 8080",
        ),
    ],
)
def test_a_service_whose_numbers_contradict_each_other_is_refused(
    ports: tuple[Port, ...], expected: str
) -> None:
    found = contradiction(service("a", *ports))
    assert found is not None
    field, words = found
    assert field.endswith(".service_port")
    assert words == expected


def test_one_number_serves_both_protocols() -> None:
    assert contradiction(service("dns", asking(53, 53), asking(53, 53, "udp"))) is None
