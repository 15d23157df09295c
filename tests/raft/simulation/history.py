"""The one history that all nodes must tell: entries in their order, and what they lead to."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from roheletd.cluster import state as states
from roheletd.raft.values import Entry, Kind, Snapshot, decode_configuration
from tests.raft.simulation.world import must

if TYPE_CHECKING:
    from roheletd.cluster.commands import Proposal
    from tests.raft.simulation.node import Node

DIGEST_EVERY = 16


class History:
    """`committed` is as it was first applied, anywhere. `submitted` has, for each command, what was
    acknowledged before it was first given; `acknowledged`, where it stands in the log.
    """

    def __init__(self) -> None:
        self.committed: list[Entry] = []
        self.first_index: dict[str, int] = {}
        self.submitted: dict[str, int] = {}
        self.acknowledged: dict[str, int] = {}
        self._acknowledged_index = 0
        self._digests: dict[int, bytes] = {}

    def submits(self, command: str) -> None:
        """What was acknowledged before a command is first given has to stand before it."""
        self.submitted.setdefault(command, self._acknowledged_index)

    def acknowledges(self, command: str, index: int) -> None:
        self.acknowledged.setdefault(command, index)
        self._acknowledged_index = max(self._acknowledged_index, index)

    def applies(self, node: Node, entry: Entry) -> None:
        """Before the node's own state machine has it."""
        must(
            entry.index == node.state.applied_index + 1 and entry.term >= node.state.applied_term,
            "entries are applied in order",
            node.name,
            entry,
            "after",
            node.state.applied_index,
            "of term",
            node.state.applied_term,
        )
        on_disk = node.disk.term_at(entry.index)
        must(
            on_disk == entry.term or entry.index < node.disk.snapshot_index,
            "entries are applied only after they are durable",
            node.name,
            entry,
            "on disk",
            on_disk,
        )
        if entry.index <= len(self.committed):
            known = self.committed[entry.index - 1]
            same = known is entry or known == entry
            must(same, "committed entries are equal everywhere", node.name, entry, known)
        else:
            self.committed.append(entry)

    def applied(
        self, node: Node, entry: Entry, proposal: Proposal | None, before: Any = None
    ) -> None:
        index = entry.index
        if proposal is not None:
            first = self.first_index.setdefault(proposal.id, index)
            floor = self.submitted[proposal.id]
            must(
                first > floor,
                "acknowledged commands keep their order",
                proposal.id,
                "at",
                first,
                "given after",
                floor,
                "was acknowledged",
            )
            if before is not None:
                once = before == _contents(node)
                must(once, "a command is applied once", node.name, proposal.id)
        if index % DIGEST_EVERY == 0:
            self._same_digest(index, _encoded(node))

    def before_repeated(self, node: Node, proposal: Proposal) -> Any:
        """What the state holds before a command that it should know already, to compare with."""
        first = self.first_index.get(proposal.id)
        if first is None or first > node.state.applied_index:
            return None
        return _contents(node)

    def compacted(self, snapshot: Snapshot) -> None:
        """A snapshot's state and members are those of its own position, and of no later one."""
        self._same_digest(snapshot.index, snapshot.data)
        told = [
            entry for entry in self.committed[: snapshot.index] if entry.kind is Kind.CONFIGURATION
        ]
        members = decode_configuration(told[-1].data)
        must(
            members == snapshot.configuration,
            "a snapshot holds the membership of its position",
            snapshot,
            members,
        )

    def restored(self, node: Node, snapshot: Snapshot) -> None:
        must(
            snapshot.index >= node.state.applied_index,
            "the state never goes back",
            node.name,
            snapshot,
            "<",
            node.state.applied_index,
        )
        if snapshot.index and snapshot.index <= len(self.committed):
            term = self.committed[snapshot.index - 1].term
            must(term == snapshot.term, "a snapshot is of committed entries", snapshot.index)

    def _same_digest(self, index: int, data: bytes) -> None:
        own = blake2b(data, digest_size=16).digest()
        same = self._digests.setdefault(index, own) == own
        must(same, "equal entries make equal states", "at index", index)


def _encoded(node: Node) -> bytes:
    return states.encode(node.state.saved())


def _contents(node: Node) -> Any:
    return replace(node.state.saved(), index=0, term=0)
