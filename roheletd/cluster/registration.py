"""A node as a person declared it and as its own daemon measured it, put together."""

from msgspec import Struct
from msgspec.structs import replace

from roheletd.model import Node


class Registration(Struct, frozen=True, kw_only=True):
    """What is known of a node, and from whom: `node` is both put together."""

    node: Node
    declared: Node | None = None
    measured: Node | None = None


def registered(known: Registration | None, node: Node) -> Registration:
    """Hardware that was measured stands over what was declared; labels of both stay."""
    declared = known.declared if known else None
    measured = known.measured if known else None
    if node.source == "declared":
        declared = node
    else:
        measured = node
    merged = measured or node
    if declared and measured:
        merged = replace(measured, labels={**measured.labels, **declared.labels})
    return Registration(node=merged, declared=declared, measured=measured)
