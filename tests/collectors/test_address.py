"""The address that others reach us at, on machines with networks of every kind."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from roheletd.collectors import address
from roheletd.collectors.address import LOOK_S, OwnAddress
from tests.testbed.network import namespace, run
from tests.testbed.requirements import need

ASK = "from roheletd.collectors.address import OwnAddress; print(OwnAddress(None, 0.0).host)"


class Machine:
    """A network namespace, whose interfaces a test makes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def interface(self, name: str, address: str, *, up: bool = True) -> None:
        run("ip", "-n", self.name, "link", "add", name, "type", "bridge")
        run("ip", "-n", self.name, "address", "add", address, "dev", name)
        if up:
            run("ip", "-n", self.name, "link", "set", name, "up")

    def cable(self, name: str, address: str) -> None:
        run("ip", "-n", self.name, "link", "add", name, "type", "veth", "peer", f"{name}-peer")
        run("ip", "-n", self.name, "address", "add", address, "dev", name)
        for end in (name, f"{name}-peer"):
            run("ip", "-n", self.name, "link", "set", end, "up")

    def default_route(self, gateway: str) -> None:
        run("ip", "-n", self.name, "route", "add", "default", "via", gateway)

    def own_address(self) -> str:
        command = ("ip", "netns", "exec", self.name, sys.executable, "-c", ASK)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()


@pytest.fixture
def machine() -> Iterator[Machine]:
    need("ip", root=True)
    with namespace() as name:
        yield Machine(name)


def test_a_machine_without_a_network_has_none(machine: Machine) -> None:
    assert machine.own_address() == ""


def test_without_a_route_it_is_that_of_the_first_interface_that_is_up(machine: Machine) -> None:
    machine.interface("a0", "10.1.0.5/24", up=False)
    machine.interface("b0", "10.2.0.5/24")
    machine.interface("c0", "10.3.0.5/24")
    assert machine.own_address() == "10.2.0.5"


def test_without_a_route_the_bridges_of_engines_come_last(machine: Machine) -> None:
    machine.interface("docker0", "172.17.0.1/16")
    machine.cable("eth0", "10.2.0.5/24")
    assert machine.own_address() == "10.2.0.5"


def test_of_several_it_is_the_one_on_the_way_out(machine: Machine) -> None:
    machine.interface("b0", "10.2.0.5/24")
    machine.interface("c0", "10.3.0.5/24")
    machine.default_route("10.3.0.1")
    assert machine.own_address() == "10.3.0.5"


def test_it_is_told_without_a_name_server_and_never_a_loopback_address() -> None:
    assert not OwnAddress(None, 0.0).host.startswith("127.")


class Network:
    """What a machine finds when it looks: `routed` the address of its default route."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.routed = self.first = ""
        self.ours: set[str] = set()
        monkeypatch.setattr(address, "_on_default_route", lambda: self.routed)
        monkeypatch.setattr(address, "_first_address", lambda: self.first)
        monkeypatch.setattr(address, "_is_ours", lambda host: host in self.ours)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def test_a_network_that_comes_after_the_daemon_is_found(network: Network) -> None:
    made = OwnAddress(None, 0.0)
    assert made.host == ""
    network.first = "172.17.0.1"
    assert made.look(LOOK_S)
    network.first, network.routed = "", "192.168.1.5"
    assert not made.look(1.5 * LOOK_S), "not each time that it is asked"
    assert made.look(2 * LOOK_S)
    assert made.host == "192.168.1.5"
    assert not made.look(3 * LOOK_S)


def test_an_address_holds_while_the_machine_has_it_and_until_there_is_as_good_a_one(
    network: Network,
) -> None:
    network.routed = "192.168.1.5"
    network.ours = {"192.168.1.5"}
    made = OwnAddress(None, 0.0)
    network.routed = "10.8.0.2"  # another way out, as by a VPN
    assert not made.look(1 * LOOK_S)
    network.ours = {"172.17.0.1"}
    network.routed, network.first = "", "172.17.0.1"  # the cable is out
    assert not made.look(2 * LOOK_S)
    network.routed = "192.168.1.6"
    assert made.look(3 * LOOK_S)
    assert made.host == "192.168.1.6"


def test_the_configured_one_is_never_doubted(network: Network) -> None:
    made = OwnAddress("pi.lan", 0.0)
    network.routed = "192.168.1.5"
    assert not made.look(LOOK_S)
    assert made.host == "pi.lan"
