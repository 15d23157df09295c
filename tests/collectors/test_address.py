"""The address that others reach us at, on machines with networks of every kind."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from roheletd.collectors.address import own_address
from tests.testbed.network import namespace, run
from tests.testbed.requirements import need

ASK = "from roheletd.collectors.address import own_address; print(own_address())"


class Machine:
    """A network namespace, whose interfaces a test makes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def interface(self, name: str, address: str, *, up: bool = True) -> None:
        run("ip", "-n", self.name, "link", "add", name, "type", "bridge")
        run("ip", "-n", self.name, "address", "add", address, "dev", name)
        if up:
            run("ip", "-n", self.name, "link", "set", name, "up")

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


def test_of_several_it_is_the_one_on_the_way_out(machine: Machine) -> None:
    machine.interface("b0", "10.2.0.5/24")
    machine.interface("c0", "10.3.0.5/24")
    machine.default_route("10.3.0.1")
    assert machine.own_address() == "10.3.0.5"


def test_it_is_told_without_a_name_server_and_never_a_loopback_address() -> None:
    assert not own_address().startswith("127.")
