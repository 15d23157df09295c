"""The stable port of each port of each service: on every node it leads to a healthy instance.

Agreed, so that it is the same number on all nodes. A service that asks for a number has it, others
get the smallest free one of a range of their own and keep it for as long as they have that port.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from roheletd.fields import Protocol
from roheletd.model import Port, Service

_Number = tuple[int, Protocol]

PORT_MIN, PORT_MAX = 30_000, 31_999
"""Beside the range that host ports are drawn from; below the kernel's own, 32768 and more."""

NO_PORT = 0
"""The number of a port that has none: the range is exhausted, or another service has it."""


def port_key(port: Port) -> str:
    return f"{port.container_port}/{port.protocol}"


class ServicePorts:
    """Numbers by service and by `port_key`, and whose each number is.

    A host port that a service asks for is no stable port of another one: both cannot be open on
    one node.
    """

    def __init__(
        self, saved: Mapping[str, Mapping[str, int]], services: Iterable[Service] = ()
    ) -> None:
        """`services` are all that there are, in the order in which they came.

        Those that have no numbers, as in a snapshot from before there were any, get them now.
        """
        self.by_service: dict[str, dict[str, int]] = {}
        self._owners: dict[_Number, str] = {}
        self._hosts: dict[str, frozenset[_Number]] = {}
        self._host_users: Counter[_Number] = Counter()
        for name, ports in saved.items():
            self._put(name, dict(ports))
        for service in services:
            self._note(service)
            if service.name not in saved:
                self.want(service)

    def of(self, service: str) -> Mapping[str, int]:
        return self.by_service.get(service, {})

    def want(self, service: Service) -> None:
        """Give `service` its numbers, as its ports are now."""
        before = self.of(service.name)
        self.forget(service.name)
        self._note(service)
        found: dict[str, int] = {}
        # Numbers that were asked for come first: no other port of the same service may draw them.
        for port in sorted(service.ports, key=lambda port: port.service_port == NO_PORT):
            number = port.service_port or before.get(port_key(port), NO_PORT)
            if (number, port.protocol) in self._owners:
                number = NO_PORT
            if not number and not port.service_port:
                number = self._free(port.protocol)
            found[port_key(port)] = number
            self._put(service.name, {port_key(port): number})
        if found:
            self.by_service[service.name] = {
                port_key(it): found[port_key(it)] for it in service.ports
            }

    def hand_over(self, services: Collection[Service]) -> None:
        """Free what one of these has and another one of them asks for; they are wanted next."""
        for service in services:
            for port in service.ports:
                owner = self._owners.get((port.service_port, port.protocol), service.name)
                if owner != service.name and owner in {it.name for it in services}:
                    del self._owners[port.service_port, port.protocol]
                    self.by_service[owner] = {
                        key: NO_PORT
                        if (number, _protocol(key)) == (port.service_port, port.protocol)
                        else number
                        for key, number in self.by_service[owner].items()
                    }

    def forget(self, service: str) -> None:
        for host_port in self._hosts.pop(service, ()):
            self._host_users[host_port] -= 1
        for key, number in self.by_service.pop(service, {}).items():
            self._owners.pop((number, _protocol(key)), None)

    def conflict(self, services: Iterable[Service], leaving: Iterable[str] = ()) -> str:
        """Why these services cannot have the numbers that they ask for; empty where they can."""
        services = tuple(services)
        if not any(it.service_port or it.host_port for service in services for it in service.ports):
            return ""
        gone = {*leaving, *(service.name for service in services)}
        others = {wish: owner for wish, owner in self._owners.items() if owner not in gone}
        kept = {wish: service.name for service in services for wish in self._kept(service)}
        owners = {**kept, **others}
        hosts = {wish for name, its in self._hosts.items() if name not in gone for wish in its}
        for service in services:
            for position, port in enumerate(service.ports):
                if taken := _against_host_ports(service, position, owners, hosts):
                    return taken
                wish = (port.service_port, port.protocol)
                if not port.service_port or owners.setdefault(wish, service.name) == service.name:
                    continue
                return (
                    f"ports[{position}].service_port of service {service.name}: expected a number "
                    f"that no other service has, and {port.service_port} over {port.protocol} is "
                    f"that of service {owners[wish]}"
                )
        return ""

    def check(self, services: Iterable[Service]) -> None:
        """Assert that each port of each service is known, and no number is of two."""
        keys = {it.name: {port_key(port) for port in it.ports} for it in services if it.ports}
        assert keys == {name: set(ports) for name, ports in self.by_service.items()}
        numbers = [
            (number, _protocol(key), name)
            for name, ports in self.by_service.items()
            for key, number in ports.items()
            if number
        ]
        assert len(numbers) == len(self._owners)
        assert all(self._owners[number, protocol] == name for number, protocol, name in numbers)

    def _note(self, service: Service) -> None:
        self._hosts[service.name] = frozenset(
            (port.host_port, port.protocol) for port in service.ports if port.host_port
        )
        self._host_users.update(self._hosts[service.name])

    def _put(self, service: str, ports: dict[str, int]) -> None:
        self.by_service.setdefault(service, {}).update(ports)
        for key, number in ports.items():
            if number:
                self._owners[number, _protocol(key)] = service

    def _kept(self, service: Service) -> Iterator[_Number]:
        """What it has of those that it leaves to us."""
        before = self.of(service.name)
        for port in service.ports:
            if not port.service_port and (number := before.get(port_key(port), NO_PORT)):
                yield number, port.protocol

    def _free(self, protocol: Protocol) -> int:
        numbers = ((it, protocol) for it in range(PORT_MIN, PORT_MAX + 1))
        free = (it for it in numbers if it not in self._owners and not self._host_users[it])
        return next(free, (NO_PORT, protocol))[0]


def _against_host_ports(
    service: Service, position: int, owners: Mapping[_Number, str], hosts: Collection[_Number]
) -> str:
    port = service.ports[position]
    where = f"ports[{position}]"
    if (port.service_port, port.protocol) in hosts:
        return (
            f"{where}.service_port of service {service.name}: expected a number that no service "
            f"has for a host_port, got {port.service_port}"
        )
    owner = owners.get((port.host_port, port.protocol))
    if owner is not None:
        return (
            f"{where}.host_port of service {service.name}: expected a number that no service has "
            f"for a service_port, and {port.host_port} is that of service {owner} on every node"
        )
    return ""


def _protocol(key: str) -> Protocol:
    return "udp" if key.endswith("/udp") else "tcp"
