"""What must hold after every step, of nodes, disks and messages.

Each rule has one name, which a failure tells. What entries lead to is looked at in `history`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from roheletd.raft.values import (
    EVERYBODY,
    Append,
    AppendResponse,
    Entry,
    Kind,
    Message,
    NodeId,
    Save,
    Snapshot,
    SnapshotChunk,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
    decode_configuration,
)
from tests.raft.simulation.history import History
from tests.raft.simulation.world import World, must

if TYPE_CHECKING:
    from tests.raft.simulation.disk import Disk
    from tests.raft.simulation.node import Node


class Witness:
    """What was seen of one node since its start. `excused`: it was told that its leader died."""

    def __init__(self, now: float) -> None:
        self.heard: float | None = None
        self.started = now
        self.excused = False
        self.may_grant: dict[tuple[NodeId, int, bool], bool] = {}
        self.led_term = 0
        self.owed: list[tuple[int, int]] = []
        self.commit = 0
        self.commit_at_start: int | None = None
        self.counted = 0


class Checks:
    """Called by the nodes at each step. What it counts is told at the end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.history = History()
        self.disks: dict[NodeId, Disk] = {}
        self.on_election: Callable[[Node], None] | None = None
        self.proposed = 0
        self.elections = 0
        self.changes = 0
        self.snapshots = 0
        self._leaders: dict[int, NodeId] = {}
        self._votes: dict[tuple[NodeId, int], NodeId] = {}
        self._acknowledged: dict[NodeId, tuple[int, int]] = {}
        self._seen: dict[NodeId, Witness] = {}

    # --- starts and elections

    def started(self, node: Node) -> None:
        seen = self._seen[node.name] = Witness(node.clock())
        seen.commit_at_start = node.disk.commit

    def ended(self, node: Node) -> None:
        self._seen[node.name].owed = []

    def finished(self, node: Node) -> None:
        """A node that starts, even alone, goes on from all that it knew to be committed."""
        seen = self._seen[node.name]
        seen.may_grant.clear()
        if node.core.role == "leader" and node.core.commit > seen.counted:
            self._counted(node, seen)
        if seen.commit_at_start is None:
            return
        at, seen.commit_at_start = seen.commit_at_start, None
        must(
            node.state.applied_index >= at,
            "a start goes on from the commit index on disk",
            node.name,
            "applied",
            node.state.applied_index,
            "of",
            at,
        )

    def _counted(self, node: Node, seen: Witness) -> None:
        """The leader says that an entry is committed: a majority has it, and it is of its term."""
        core, disk = node.core, node.disk
        index = seen.counted = core.commit
        term, voters = disk.term_at(index), core.configuration.voters
        holding = sum(self._holds(voter, index, term) for voter in voters)
        must(
            2 * holding > len(voters),
            "what is committed is on the disks of a majority",
            node.name,
            index,
            "of term",
            term,
            core.configuration,
        )
        must(
            term == core.term,
            "entries of earlier terms are committed by one of this term",
            node.name,
            index,
            "of term",
            term,
        )

    def _holds(self, voter: NodeId, index: int, term: int | None) -> bool:
        disk = self.disks[voter]
        return disk.snapshot_index >= index or disk.term_at(index) == term

    def restored(self, node: Node, snapshot: Snapshot) -> None:
        self.history.restored(node, snapshot)
        if self._seen[node.name].commit_at_start is None:
            self.snapshots += 1

    def excused(self, node: Node) -> None:
        self._seen[node.name].excused = True

    def looked(self, node: Node) -> None:
        """After each call of the core."""
        core, seen = node.core, self._seen[node.name]
        commit = core.commit
        must(commit >= seen.commit, "commit never goes back", node.name, commit, "<", seen.commit)
        seen.commit = commit
        if core.role == "leader" and core.term != seen.led_term:
            seen.led_term, seen.counted = core.term, node.disk.commit
            self._elected(node, seen)

    def _elected(self, node: Node, seen: Witness) -> None:
        self.elections += 1
        term = node.core.term
        self.world.note(node.name, "LEADS", term)
        other = self._leaders.setdefault(term, node.name)
        must(other == node.name, "one leader per term", other, "and", node.name, "in term", term)
        if term == max(self._leaders):  # votes that come late make a leader of the past
            seen.owed = [(entry.index, entry.term) for entry in self.history.committed]
        if self.on_election is not None:
            self.on_election(node)

    def _holds_all_committed(self, node: Node, seen: Witness) -> None:
        """Looked at when the new leader's first entry is on its disk, the core's log thus too."""
        owed, seen.owed = seen.owed, []
        for index, term in reversed(owed):
            if index < node.disk.snapshot_index:
                return
            must(
                node.disk.term_at(index) == term,
                "a new leader holds every committed entry",
                node.name,
                "lacks",
                index,
                "of term",
                term,
            )

    # --- the disk

    def before_write(self, node: Node, save: Save) -> None:
        disk = node.disk
        must(
            save.term >= disk.term,
            "the term on disk never goes back",
            node.name,
            save.term,
            "<",
            disk.term,
        )
        must(save.commit >= disk.commit, "commit never goes back", node.name, "on disk", save)
        if save.vote is not None:
            vote = self._votes.setdefault((node.name, save.term), save.vote)
            must(
                vote == save.vote,
                "one durable vote per term",
                node.name,
                vote,
                "and",
                save.vote,
                "in",
                save.term,
            )
        if save.snapshot is not None and save.snapshot.data:
            self.history.compacted(save.snapshot)

    def after_write(self, node: Node, save: Save) -> None:
        seen, disk = self._seen[node.name], node.disk
        must(disk.commit <= disk.last_index, "commit is never ahead of the log", node.name, save)
        must(
            disk.last_index == node.core.last_index,
            "the disk holds the log of the core",
            node.name,
            disk.last_index,
            "and",
            node.core.last_index,
        )
        term, index = self._acknowledged.get(node.name, (0, 0))
        must(
            term != disk.term or index <= disk.last_index,
            "what was acknowledged stays",
            node.name,
            index,
            save,
        )
        if seen.owed and disk.term == seen.led_term:
            self._holds_all_committed(node, seen)
        for entry in save.entries:
            if entry.kind is Kind.CONFIGURATION:
                self._single_step(node, entry)

    def _single_step(self, node: Node, entry: Entry) -> None:
        at, before = node.disk.configuration_before(entry.index)
        after = decode_configuration(entry.data)
        changed = set(before.voters) ^ set(after.voters)
        one = len(changed) <= 1 or not before.voters
        must(one, "a membership change is one voter", before, "to", after)
        if node.core.role != "leader" or entry.term != node.core.term:
            return
        commit = node.core.commit
        must(at <= commit, "one membership change at a time", node.name, at, entry)
        must(
            node.disk.term_at(commit) == entry.term,
            "a membership change waits for an entry of its term",
            node.name,
            entry,
            "commit",
            commit,
        )

    # --- messages

    def heard(self, node: Node, message: Message) -> None:
        seen = self._seen[node.name]
        if isinstance(message, VoteRequest):
            question = (message.sender, message.term, message.pre)
            free = message.handover or not self._is_bound(node, seen)
            seen.may_grant[question] = free or seen.may_grant.get(question, False)
        elif isinstance(message, TimeoutNow):
            seen.excused = True
        elif isinstance(message, Append | SnapshotChunk) and message.term >= node.core.term:
            seen.heard, seen.excused = node.clock(), False

    def ignored(self, node: Node, message: Message, before: object) -> None:
        must(
            node.core.progress() == before,
            "answers to an earlier term change nothing",
            node.name,
            message,
        )

    def sent(self, node: Node, message: Message) -> None:
        """A promise is made only of what is on disk."""
        match message:
            case AppendResponse(refused=None, index=index):
                kept = index <= node.disk.last_index and message.term <= node.disk.term
                must(kept, "acknowledged entries are on disk", node.name, message)
                before = self._acknowledged.get(node.name, (0, 0))
                self._acknowledged[node.name] = max(before, (message.term, index))
            case VoteResponse(granted=True):
                self._granted(node, message)
            case VoteRequest(pre=False):
                must(
                    _voted(node, message.term, node.name),
                    "a candidate's vote is on disk",
                    node.name,
                    message,
                )
            case Append(to=to) if to == EVERYBODY:
                last = message.entries[-1].index if message.entries else 0
                must(
                    max(last, message.commit) <= node.core.commit,
                    "everybody hears committed entries only",
                    node.name,
                    message,
                )
            case _:
                pass

    def _granted(self, node: Node, message: VoteResponse) -> None:
        must(
            message.pre or _voted(node, message.term, message.to),
            "a vote is on disk before it is told",
            node.name,
            message,
        )
        must(
            self._seen[node.name].may_grant.get((message.to, message.term, message.pre), False),
            "no vote soon after hearing a leader or a start",
            node.name,
            message,
        )

    def _is_bound(self, node: Node, seen: Witness) -> bool:
        """Whether the node leads, or has reason to believe that somebody does."""
        since = seen.started if seen.heard is None else seen.heard
        lately = node.clock() - since < node.timing.election_min_s - 1e-6
        return node.core.role == "leader" or (lately and not seen.excused)


def _voted(node: Node, term: int, vote: NodeId) -> bool:
    """A later term on disk is as good as the vote: no other can be given any more."""
    return node.disk.term > term or (node.disk.term, node.disk.vote) == (term, vote)
