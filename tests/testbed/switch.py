"""A network of its own for several hosts: a bridge, a cable to each, and what can happen to them.

The bridge is in a namespace of its own too, because dockerd drops what is forwarded in its own.
A lost direction is a rule where packets arrive, and not where they leave: the sender hears nothing
of it, as on a real wire. It is in the table `raw`, before all that dockerd does to packets, so it
holds for containers and for connections that are open already.
"""

import contextlib
from collections.abc import Iterable, Iterator

from tests.testbed.network import fresh_name, namespace, run

_BRIDGE = "br0"
_SUBNET = "198.18.0"  # nothing outside ever sees these addresses

Direction = tuple[str, str]
"""From a host to another, by their names."""


def in_namespace(name: str) -> tuple[str, ...]:
    """What goes before a command. Not `ip netns exec`: that hides the cgroups from dockerd."""
    return ("nsenter", f"--net=/run/netns/{name}")


class Switch:
    """`names` are the hosts, each in the namespace `netns(name)` with the address `address(name)`.

    A cable that is pulled is seen at both ends (no carrier); a lost direction is seen by nobody.
    """

    def __init__(self, netns: str, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._netns = netns
        self._lost: frozenset[Direction] = frozenset()

    def netns(self, name: str) -> str:
        return f"{self._netns}-{name}"

    def address(self, name: str) -> str:
        return f"{_SUBNET}.{self.names.index(name) + 1}"

    def wire(self) -> None:
        """Lay all cables; the namespaces are there."""
        self._ip("link", "add", _BRIDGE, "type", "bridge")
        self._ip("link", "set", _BRIDGE, "up")
        for name in self.names:
            there = self.netns(name)
            self._ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", there)
            self._ip("link", "set", name, "up", "master", _BRIDGE)
            run("ip", "-n", there, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            run("ip", "-n", there, "link", "set", "eth0", "up")

    def _ip(self, *arguments: str) -> None:
        run("ip", "-n", self._netns, *arguments)

    def pull(self, name: str) -> None:
        """Take the cable out at the switch."""
        self._ip("link", "set", name, "down")

    def plug(self, name: str) -> None:
        self._ip("link", "set", name, "up")

    def lose(self, directions: Iterable[Direction]) -> None:
        """Lose what is sent these ways, from now on and beside what is lost already."""
        self.set_lost(self._lost.union(directions))

    def restore(self, name: str) -> None:
        """Lose nothing more that goes to or comes from this host."""
        self.set_lost(way for way in self._lost if name not in way)

    def set_lost(self, directions: Iterable[Direction]) -> None:
        """Lose what is sent these ways, and nothing else."""
        wanted = frozenset(directions)
        for receiver in self.names:
            self._rules("--insert", receiver, wanted - self._lost)
            self._rules("--delete", receiver, self._lost - wanted)
        self._lost = wanted

    def _rules(self, action: str, receiver: str, directions: Iterable[Direction]) -> None:
        sources = [self.address(sender) for sender, to in sorted(directions) if to == receiver]
        if sources:
            rule = ("PREROUTING", "--source", ",".join(sources), "--jump", "DROP")
            prefix = in_namespace(self.netns(receiver))
            run(*prefix, "iptables", "--wait", "--table", "raw", action, *rule)


@contextlib.contextmanager
def switch(names: Iterable[str]) -> Iterator[Switch]:
    """All namespaces, wired; they are gone at the end, whatever has happened to the cables."""
    with contextlib.ExitStack() as stack:
        made = Switch(stack.enter_context(namespace(fresh_name())), names)
        for name in made.names:
            stack.enter_context(namespace(made.netns(name)))
        made.wire()
        yield made
