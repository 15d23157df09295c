"""Who serves what, where: the healthy instances of each service, port by port.

An endpoint is an instance that is placed, and that its node says runs, while that node is not lost.
One whose placement is gone is no endpoint any more, before it is stopped. What is here is as much
as this node knows; its forwarder finds out by itself which of them takes no connection.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from roheletd.cluster.definition import Edition
from roheletd.cluster.service_ports import port_key
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState, slot
from roheletd.fields import Protocol
from roheletd.model import Placement, Port

VARIABLES_MAX = 100
"""Services that an instance is told of by its environment; all the others it finds by name."""

_LOOPBACK = "127.0.0.1"


class Endpoint(Struct, frozen=True, kw_only=True):
    """One running instance, at `port` of `host`; `local`: it runs on the node that says so.

    `own_host` is an address of its own, where only its node reaches it, at `own_port`.
    """

    instance: str
    node: str
    host: str
    port: int
    own_host: str = ""
    own_port: int = 0
    local: bool = False
    healthy: bool = False


class ServicePort(Struct, frozen=True, kw_only=True):
    """One port of a service: its stable number (0: it has none) and those behind it, local first.

    `port` is the one that its instances listen on.
    """

    service: str
    application: str
    port: int
    protocol: Protocol
    service_port: int
    endpoints: tuple[Endpoint, ...] = ()

    def is_of(self, port: Port) -> bool:
        return (port.container_port, port.protocol) == (self.port, self.protocol)

    @property
    def healthy(self) -> tuple[Endpoint, ...]:
        return tuple(it for it in self.endpoints if it.healthy)


def registry(
    state: ClusterState,
    soft: SoftState,
    *,
    me: str,
    is_lost: Callable[[str], bool],
    names: Iterable[str] | None = None,
) -> tuple[ServicePort, ...]:
    """Every port of every service, or of those `names` that there are."""
    wanted = (
        sorted(state.services) if names is None else [it for it in names if it in state.services]
    )
    lost = {node for node in state.registrations if is_lost(node)}
    found = []
    for name in wanted:
        known = state.services[name]
        numbers = state.service_ports.of(name)
        placed = [
            (at, state.edition_of(at)) for at in state.placements_of(name) if at.node not in lost
        ]
        found += [
            ServicePort(
                service=name,
                application=known.service.application,
                port=port.container_port,
                protocol=port.protocol,
                service_port=numbers.get(port_key(port), 0),
                endpoints=_endpoints(port, placed, soft, me),
            )
            for port in known.service.ports
        ]
    return tuple(found)


def _endpoints(
    port: Port, placed: list[tuple[Placement, Edition]], soft: SoftState, me: str
) -> tuple[Endpoint, ...]:
    found = [it for at, edition in placed for it in _endpoint(port, at, edition, soft, me)]
    return tuple(sorted(found, key=lambda it: (not it.local, slot(it.instance))))


def _endpoint(
    port: Port, at: Placement, edition: Edition, soft: SoftState, me: str
) -> Iterator[Endpoint]:
    use = soft.instances.get(at.node, {}).get(at.instance)
    local = at.node == me
    host = _LOOPBACK if local else soft.addresses.get(at.node, "")
    own_host = soft.own_addresses.get(at.instance, "") if local else ""
    number = _container_port(port, edition.service.ports)
    if use is None or use.state != "running" or not host or number is None:
        return
    for bound in at.ports:
        if (bound.container_port, bound.protocol) == (number, port.protocol):
            yield Endpoint(
                instance=at.instance,
                node=at.node,
                host=host,
                port=bound.host_port,
                own_host=own_host,
                own_port=number if own_host else 0,
                local=local,
                healthy=use.health == "healthy",
            )


def _container_port(port: Port, of_instance: Iterable[Port]) -> int | None:
    """Where an instance of another edition listens for `port`; its service port may tell."""
    same = [it for it in of_instance if it.protocol == port.protocol]
    if any(it.container_port == port.container_port for it in same):
        return port.container_port
    moved = (it for it in same if port.service_port and it.service_port == port.service_port)
    return next((it.container_port for it in moved), None)


def dns_name(service: str, cluster: str) -> str:
    """In lower case, as names of that kind are: `Web` and `web` are one there."""
    return f"{service}.{cluster}.rohe".lower()


def variables(state: ClusterState, application: str) -> dict[str, str]:
    """The stable ports, as an instance of `application` is told them when it is made.

    Of its own application first; what comes after the first hundred services is left out. A name
    that only differs from another in what a variable cannot hold is told once.
    """
    names = sorted(
        state.service_ports.by_service,
        key=lambda name: (state.services[name].service.application != application, name),
    )
    found: dict[str, str] = {}
    for name in names[:VARIABLES_MAX]:
        prefix = f"ROHE_SERVICE_{variable(name)}_PORT"
        numbers = {key: number for key, number in state.service_ports.of(name).items() if number}
        for key, number in numbers.items():
            port, _, protocol = key.partition("/")
            suffix = port if protocol == "tcp" else f"{port}_UDP"
            found.setdefault(prefix, str(number))
            found.setdefault(f"{prefix}_{suffix}", str(number))
    return found


def variable(name: str) -> str:
    """`my-service` as part of the name of a variable: MY_SERVICE."""
    return name.upper().replace("-", "_")
