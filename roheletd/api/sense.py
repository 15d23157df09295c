"""What no schema says of a request: who declares it, names given twice, what no node could run."""

from collections.abc import Iterable

from msgspec.structs import replace

from roheletd.errors import InvalidInput
from roheletd.model import Node, Service, contradiction


def declared(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """As a person says they are, whatever else was sent."""
    return tuple(replace(node, source="declared") for node in nodes)


def refuse_twins(things: Iterable[Service | Node], field: str) -> None:
    seen = set()
    for position, thing in enumerate(things):
        if thing.name in seen:
            raise InvalidInput(
                f"{field}[{position}].name", f"expected each name once, got {thing.name}"
            )
        seen.add(thing.name)


def refuse_contradictions(services: Iterable[Service], *, field: str) -> None:
    """`field` is where they were read from: our own list, or another document."""
    for position, service in enumerate(services):
        if (wrong := contradiction(service)) is not None:
            where = f"{field}[{position}]" if field == "$.services" else f"{field} {service.name}"
            raise InvalidInput(f"{where}.{wrong[0]}", wrong[1])
