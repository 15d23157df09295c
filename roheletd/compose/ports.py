"""`ports` and `expose`: what an instance listens on, and which port of the nodes leads to it.

A published port is that of every node, as in a Swarm, so that replicas do not collide and a
client need not know where they are; `mode: host` is the port of the instance's own node. A port
that is only exposed gets its own number on every node, for a Compose file's services call one
another by name and port, and here a name leads to nodes.
"""

import re
from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from roheletd.compose.draft import Draft
from roheletd.compose.fields import Field
from roheletd.compose.keys import Key, idle, no, walk, yes
from roheletd.model import Port

_SHORT = re.compile(
    r"(?:(?P<host>.*):)?(?P<first>\d{1,6})(?:-(?P<last>\d{1,6}))?(?:/(?P<protocol>\w+))?"
)
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_PORT_MAX = 65_535
_PORTS_MAX = 256
_EXPECTED = "a port such as 80, 8080:80, 8000-8003:80-83 or 53:53/udp"


def read_ports(field: Field, draft: Draft) -> None:
    for item in field.items():
        if item.is_mapping():
            _long(item, draft)
        else:
            _short(item, draft)


def read_exposed(field: Field, draft: Draft) -> None:
    for item in field.items():
        found = _SHORT.fullmatch(item.text(_EXPECTED))
        if found is None or found["host"]:
            item.refuse("a port such as 6379 or 53/udp")
        for port in _span(item, found["first"], found["last"]):
            exposed = Port(container_port=port, protocol=_protocol(item, found))
            if _add(draft, item, exposed, again=True):
                draft.exposed.add((exposed.container_port, exposed.protocol))


def give_exposed_their_numbers(drafts: Iterable[Draft]) -> None:
    """As far as no other service of the file has them."""
    owners: dict[tuple[int, str], str] = {}
    for draft in drafts:
        for port, _ in draft.ports:
            if port.service_port:
                owners.setdefault((port.service_port, port.protocol), draft.name)
    for draft in drafts:
        draft.ports = [(_numbered(port, it, draft, owners), it) for port, it in draft.ports]


def _numbered(port: Port, item: Field, draft: Draft, owners: dict[tuple[int, str], str]) -> Port:
    key = (port.container_port, port.protocol)
    if key not in draft.exposed:
        return port
    if (owner := owners.setdefault(key, draft.name)) == draft.name:
        return replace(port, service_port=port.container_port)
    item.note(
        f"is at a port of the nodes that the cluster chooses, for {owner} has {port.container_port}"
        ": `roheletd registry` tells it, and so do variables in each instance"
    )
    return port


def _short(item: Field, draft: Draft) -> None:
    found = _SHORT.fullmatch(item.text(_EXPECTED))
    if found is None:
        item.refuse(_EXPECTED)
    inner = _span(item, found["first"], found["last"])
    outer = [0] * len(inner)
    if found["host"] is not None:
        outer = _published(item, found["host"], len(inner))
    for container, node in zip(inner, outer, strict=True):
        port = Port(container_port=container, service_port=node, protocol=_protocol(item, found))
        _add(draft, item, port)


def _published(item: Field, text: str, count: int) -> list[int]:
    address, colon, ports = text.rpartition(":")
    if colon:
        item.unsupported(f"a port cannot be bound to one address ({address[:40]})")
    found = _RANGE.fullmatch(ports)
    if found is None:
        item.refuse(_EXPECTED)
    outer = _span(item, found[1], found[2])
    if len(outer) != count:
        item.wrong(f"expected as many published ports as ports behind them, {count}")
    return outer


def _span(item: Field, first: str, last: str | None) -> list[int]:
    start, end = int(first), int(last or first)
    if not 1 <= start <= end <= _PORT_MAX:
        item.refuse(f"ports from 1 to {_PORT_MAX}")
    if end - start >= _PORTS_MAX:
        item.wrong(f"expected at most {_PORTS_MAX} ports in a range")
    return list(range(start, end + 1))


def _protocol(item: Field, found: "re.Match[str]") -> Literal["tcp", "udp"]:
    return _known_protocol(item, found["protocol"] or "tcp")


def _known_protocol(item: Field, name: str) -> Literal["tcp", "udp"]:
    if name.lower() == "udp":
        return "udp"
    if name.lower() != "tcp":
        item.wrong(f"expected tcp or udp, got {name[:20]}")
    return "tcp"


def _add(draft: Draft, item: Field, port: Port, *, again: bool = False) -> bool:
    """Whether it is new: `expose` may name `again` what `ports` publishes."""
    for have, other in draft.ports:
        if (have.container_port, have.protocol) != (port.container_port, port.protocol):
            continue
        if again or have == port:
            return False
        item.wrong(f"expected each container port once, line {other.line} has it too")
    draft.ports.append((port, item))
    return True


def _long(item: Field, draft: Draft) -> None:
    part = Draft(item, draft.project)
    walk(item, LONG, part)
    if "target" not in part.values:
        item.wrong("expected `target`, the port within the container")
    published = part.values.get("published", 0)
    host = part.values.get("mode") == "host"
    port = Port(
        container_port=int(str(part.values["target"])),
        host_port=int(str(published)) if host else 0,
        service_port=0 if host else int(str(published)),
        protocol=_known_protocol(item, str(part.values.get("protocol", "tcp"))),
    )
    _add(draft, item, port)


def _target(field: Field, part: Draft) -> None:
    part.put("target", field.whole(least=1, most=_PORT_MAX), field)


def _published_long(field: Field, part: Draft) -> None:
    if "-" in field.text():
        field.unsupported("one published port, not a range to choose from")
        return
    part.put("published", field.whole(least=0, most=_PORT_MAX), field)


def _protocol_long(field: Field, part: Draft) -> None:
    part.put("protocol", _known_protocol(field, field.text()), field)


def _mode(field: Field, part: Draft) -> None:
    if field.text() not in ("host", "ingress"):
        field.refuse("host or ingress")
    part.put("mode", field.text(), field)


LONG: dict[str, Key] = {
    "target": yes(_target, "the port within the container"),
    "published": yes(_published_long, "port of every node that leads to a healthy instance"),
    "protocol": yes(_protocol_long, "tcp or udp"),
    "mode": yes(_mode, "`ingress`: of every node; `host`: of the node where the instance is"),
    "host_ip": no("a port cannot be bound to one address"),
    "app_protocol": idle("connections are passed on as they are"),
    "name": idle("ports are known by their numbers"),
}
