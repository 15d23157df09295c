"""A node as a person declared it and as its own daemon measured it, put together."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from roheletd.cluster.commands import LabelNode
from roheletd.model import Node


class Registration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a node, and from whom: `node` is all of it put together.

    `labels` were set while it was running; null takes away what the others say.
    """

    node: Node
    declared: Node | None = None
    measured: Node | None = None
    labels: dict[str, str | None] = {}


def registered(known: Registration | None, node: Node) -> Registration:
    """Hardware that was measured stands over what was declared; labels of both stay."""
    declared = known.declared if known else None
    measured = known.measured if known else None
    if node.source == "declared":
        declared = node
    else:
        measured = node
    return _merged(declared, measured, known.labels if known else {})


def relabelled(known: Registration, command: LabelNode) -> Registration:
    """Labels set and taken away by a person, which a later registration does not undo."""
    labels = {**known.labels, **command.labels, **dict.fromkeys(command.removed)}
    # What nobody else says need not be taken away for ever.
    said = {*(known.declared.labels if known.declared else ())}
    said |= {*(known.measured.labels if known.measured else ())}
    labels = {key: text for key, text in labels.items() if text is not None or key in said}
    return _merged(known.declared, known.measured, labels)


def _merged(
    declared: Node | None, measured: Node | None, labels: Mapping[str, str | None]
) -> Registration:
    known = measured or declared
    assert known is not None, "somebody has said something of it"
    said = {**known.labels, **(declared.labels if declared else {}), **labels}
    node = replace(known, labels={key: text for key, text in said.items() if text is not None})
    return Registration(node=node, declared=declared, measured=measured, labels=dict(labels))
