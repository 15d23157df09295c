"""The working copy of a pass: what is free on each node while placements are given out.

The nodes in it are values; only who is where, and which node changed when, is kept up to date here.
"""

from collections.abc import Mapping

from roheletd.allocation.snapshot import (
    FreeNode,
    Profile,
    Snapshot,
    with_placement,
    without_placement,
)
from roheletd.model import Neighbour, Placement

Counts = dict[str, int]


class Books:
    """All nodes with what is left of them, and the instances of each service by node.

    `changes` lists the nodes in the order in which they changed, so that whoever judged them
    can see which to judge again. `kinds`, `homes` and `failed_on` are as in
    `Snapshot`.
    """

    def __init__(self, snapshot: Snapshot, profile: Profile) -> None:
        self.profile = profile
        self.shunned_by = snapshot.shunned_by
        self.homes = snapshot.homes
        self.failed_on = snapshot.failed_on
        self.nodes: dict[str, FreeNode] = dict(snapshot.nodes)
        self.kinds: dict[str, int] = dict(snapshot.kinds)
        self.changes: list[str] = []
        self._where: dict[str, Counts] = {}
        self._groups: dict[str, dict[str | None, Counts]] = {}
        for name, free in self.nodes.items():
            for service, count in free.instances.items():
                self._where.setdefault(service, {})[name] = count

    def place(self, placement: Placement) -> None:
        self._book(placement, with_placement(self.nodes[placement.node], placement), 1)

    def take_back(self, placement: Placement) -> None:
        self._book(placement, without_placement(self.nodes[placement.node], placement), -1)

    def where(self, service: str) -> Mapping[str, int]:
        """Node to how many instances of `service` it has; only nodes that have any."""
        return self._where.get(service, {})

    def near(self, free: FreeNode, other: Neighbour) -> int:
        """How many instances of that service are on this node, or share its label value."""
        if other.over is None:
            return free.instances.get(other.service, 0)
        return self.in_group(other.over, free.node.labels.get(other.over), other.service)

    def in_group(self, label: str, value: str | None, service: str) -> int:
        """Instances of `service` on all nodes whose `label` is `value` (None: without it)."""
        groups = self._groups.get(label)
        if groups is None:
            groups = self._groups[label] = self._grouped(label)
        return groups.get(value, {}).get(service, 0)

    def _grouped(self, label: str) -> dict[str | None, Counts]:
        groups: dict[str | None, Counts] = {}
        for free in self.nodes.values():
            counts = groups.setdefault(free.node.labels.get(label), {})
            for service, count in free.instances.items():
                counts[service] = counts.get(service, 0) + count
        return groups

    def _book(self, placement: Placement, free: FreeNode, sign: int) -> None:
        node, service = placement.node, placement.service
        self.nodes[node] = free
        self.kinds.pop(node, None)
        self.changes.append(node)
        where = self._where.setdefault(service, {})
        where[node] = where.get(node, 0) + sign
        if not where[node]:
            del where[node]
        for label, groups in self._groups.items():
            counts = groups.setdefault(free.node.labels.get(label), {})
            counts[service] = counts.get(service, 0) + sign
