"""What a name below `.rohe` stands for.

    SERVICE.CLUSTER.rohe            A, AAAA: nodes with a healthy instance, this one first
    _PORT._tcp.SERVICE.CLUSTER.rohe SRV: each healthy instance, at its host port of its node
    NODE.nodes.CLUSTER.rohe         A, AAAA: a node

At each of the addresses of a service, its stable ports are open. Names are lower case here.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable
from random import Random

from msgspec import Struct

from roheletd.cluster.registry import ServicePort, dns_name, registry
from roheletd.cluster.soft import SoftState
from roheletd.cluster.state import ClusterState

TOP = "rohe"
RECORDS_MAX = 16
"""Of one answer: what a client does not get, it would not have tried."""

_LOOPBACK = "127.0.0.1"
_SRV = re.compile(r"_([0-9]{1,5})\._(tcp|udp)")


class Target(Struct, frozen=True):
    """One instance as SRV tells it."""

    host: str
    port: int


class Meaning(Struct, frozen=True, kw_only=True):
    """`exists` without anything else: the name is there, and has nothing of the kind."""

    exists: bool = False
    addresses: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()


NOTHING = Meaning()
EMPTY = Meaning(exists=True)


class Zone(Struct, frozen=True, kw_only=True):
    """The names of one cluster, as one of its nodes tells them.

    `ports` gives those of a service by its name in lower case, None where there is none; `address`
    that of a node, empty where it is not known.
    """

    cluster: str
    ports: Callable[[str], tuple[ServicePort, ...] | None]
    address: Callable[[str], str]
    rng: Random

    @property
    def origin(self) -> str:
        return f"{self.cluster}.{TOP}".lower()

    def meaning(self, name: str) -> Meaning:
        if name in {TOP, self.origin}:
            return EMPTY
        rest = name.removesuffix(f".{self.origin}")
        if rest == name:
            return NOTHING
        within, _, last = rest.rpartition(".")
        if within and last == "nodes" and not within.startswith("_"):
            return self._node(within)
        ports = self.ports(last)
        if ports is None:
            return EMPTY if rest == "nodes" else NOTHING
        return self._targets(within, ports) if within else self._service(ports)

    def _node(self, name: str) -> Meaning:
        found = _addresses([self.address(name)])
        return Meaning(exists=True, addresses=found) if found else NOTHING

    def _service(self, ports: Iterable[ServicePort]) -> Meaning:
        found = [it for port in ports for it in port.healthy]
        here = dict.fromkeys(it.node for it in found if it.local)
        others = sorted({it.node for it in found if not it.local})
        # Whoever has none here is not to go to the same one as all others.
        self.rng.shuffle(others)
        return Meaning(exists=True, addresses=_addresses(map(self.address, (*here, *others))))

    def _targets(self, within: str, ports: Collection[ServicePort]) -> Meaning:
        asked = _SRV.fullmatch(within)
        if asked is None:
            # Where there are names below, there is this one: some ask from above, step by step.
            return EMPTY if within in {f"_{it.protocol}" for it in ports} else NOTHING
        wanted = int(asked[1]), asked[2]
        found = [it for it in ports if (it.port, it.protocol) == wanted]
        targets = [
            Target(dns_name(f"{it.node}.nodes", self.cluster), it.port)
            for port in found
            for it in port.healthy
        ]
        return Meaning(exists=bool(found), targets=tuple(targets[:RECORDS_MAX]))


def zone(
    state: ClusterState,
    soft: SoftState,
    *,
    cluster: str,
    me: str,
    is_lost: Callable[[str], bool],
    rng: Random,
) -> Zone:
    """As the node `me` tells it, with what it knows when it is asked."""

    def ports(name: str) -> tuple[ServicePort, ...] | None:
        known = _same(name, state.services)
        if known is None:
            return None
        return registry(state, soft, me=me, is_lost=is_lost, names=(known,))

    def address(name: str) -> str:
        known = _same(name, state.registrations) or ""
        if known == me:
            return soft.engine.host_address or soft.addresses.get(me) or _LOOPBACK
        return soft.addresses.get(known, "")

    return Zone(cluster=cluster, ports=ports, address=address, rng=rng)


def _same(name: str, names: Collection[str]) -> str | None:
    """The one that only differs from `name` by its capital letters."""
    return name if name in names else next((it for it in names if it.lower() == name), None)


def _addresses(hosts: Iterable[str]) -> tuple[str, ...]:
    """A node whose address is a name of another zone is told by nobody here."""
    found = [host for host in hosts if is_address(host)]
    return tuple(dict.fromkeys(found))[:RECORDS_MAX]


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
