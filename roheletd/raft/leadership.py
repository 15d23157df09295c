"""What a leader knows and does during one term; it is thrown away with the term.

Each follower has a `Progress`. While `probing`, nothing but empty questions go to it, one per
heartbeat, until an answer shows where its log and ours part. Then entries stream, several messages
ahead of the answers. A heartbeat asks about the last position that was sent, so that a lost message
is found by the next heartbeat.

A node outside the configuration is not kept account of. What it asks for is sent, and nothing of it
is remembered: with hundreds of such nodes that is what keeps a leader small.
"""

import math

from roheletd.raft.log import Log
from roheletd.raft.quorum import reached
from roheletd.raft.values import (
    EVERYBODY,
    Append,
    AppendResponse,
    Entry,
    Message,
    NodeId,
    SnapshotChunk,
    SnapshotRequest,
    TimeoutNow,
    Timing,
)

ENTRIES_MAX = 64
BYTES_MAX = 65_536
"""The most that one message carries, but for a single entry that is larger."""
AHEAD_MAX = 256
"""How many entries may be under way to one follower."""
BEACON_EVERY = 2
"""Every so many heartbeats, those outside the configuration are told how far the log is."""


class Progress:
    """What is known of one follower. `match`: its log is ours up to there."""

    __slots__ = ("heard_s", "match", "next", "probing", "told_commit")

    def __init__(self, next_index: int, heard_s: float) -> None:
        self.match = 0
        self.next = next_index
        self.probing = True
        self.told_commit = 0
        self.heard_s = heard_s


class Leadership:
    """The leader's half of the protocol. Messages go to `outbox`, in order."""

    def __init__(
        self,
        *,
        me: NodeId,
        term: int,
        log: Log,
        timing: Timing,
        chunk_bytes: int,
        outbox: list[Message],
        commit: int,
        now_s: float,
    ) -> None:
        self.me = me
        self.term = term
        self.first_index = log.last_index + 1
        """Where this term begins: nothing is known to be committed before it is (Raft, 5.4.2)."""
        self.heir: NodeId | None = None
        self._heir_until_s = math.inf
        self._log = log
        self._timing = timing
        self._chunk_bytes = chunk_bytes
        self._outbox = outbox
        self._beat_due_s = now_s
        self._beats = 0
        self._published = commit
        self.peers: dict[NodeId, Progress] = {}
        self.reconfigure(now_s)

    @property
    def deadline_s(self) -> float:
        return min(self._beat_due_s, self._heir_until_s)

    def reconfigure(self, now_s: float) -> None:
        """Follow the newest configuration in the log."""
        members = [node for node in self._log.configuration.members if node != self.me]
        self.peers = {
            node: self.peers.get(node) or Progress(self._log.last_index + 1, now_s)
            for node in members
        }
        if self.heir is not None and self.heir not in self.peers:
            self.heir = None

    def committed(self) -> int:
        """The last entry that a majority holds, if it is of this term; else 0 (Raft, 5.4.2)."""
        positions = {node: progress.match for node, progress in self.peers.items()}
        positions[self.me] = self._log.last_index
        index = int(reached(self._log.configuration.voters, positions))
        return index if index >= self.first_index else 0

    def quorum_heard_s(self, now_s: float) -> float:
        """Since when a majority may have followed somebody else."""
        heard = {node: progress.heard_s for node, progress in self.peers.items()}
        heard[self.me] = now_s
        return reached(self._log.configuration.voters, heard)

    def hand_over(self, to: NodeId, now_s: float) -> None:
        """Take no more proposals; `to` campaigns as soon as it has the whole log."""
        self.heir = to
        self._heir_until_s = now_s + self._timing.election_min_s
        self._summon(to)

    def tick(self, now_s: float, commit: int) -> None:
        if now_s >= self._heir_until_s:
            self.heir, self._heir_until_s = None, math.inf
        if now_s < self._beat_due_s:
            return
        self._beat_due_s = now_s + self._timing.heartbeat_s
        self._beats += 1
        for node, progress in self.peers.items():
            self._ask(node, progress, commit)
        if self.heir is not None:
            self._summon(self.heir)
        if self._beats % BEACON_EVERY == 1:
            self._publish(commit, commit, ())

    def flush(self, commit: int) -> None:
        """Send what followers do not have yet: entries, or that some are committed now."""
        for node, progress in self.peers.items():
            if progress.next <= self._log.base_index:
                progress.probing = True  # it is so far behind that only the snapshot can help
            if progress.probing:
                continue
            while progress.next <= min(self._log.last_index, progress.match + AHEAD_MAX):
                entries = self._batch(progress.next, self._log.last_index)
                self._send_append(node, progress.next - 1, commit, entries)
                progress.next = entries[-1].index + 1
                progress.told_commit = commit
            if progress.told_commit < commit:
                self._ask(node, progress, commit)
        while self._published < commit:
            entries = self._batch(self._published + 1, commit)
            self._publish(self._published, commit, entries)
            self._published = entries[-1].index

    def step(self, message: AppendResponse | SnapshotRequest, now_s: float, commit: int) -> None:
        if (progress := self.peers.get(message.sender)) is not None:
            progress.heard_s = now_s
        if isinstance(message, SnapshotRequest):
            self._on_snapshot_request(message)
        elif progress is None:
            self._serve_stranger(message, commit)
        elif message.refused is not None:
            self._on_refusal(progress, message, message.refused, commit)
        else:
            self._on_success(progress, message)

    def _on_success(self, progress: Progress, message: AppendResponse) -> None:
        index = min(message.index, self._log.last_index)
        if index < progress.match:
            return
        progress.match = index
        progress.next = index + 1 if progress.probing else max(progress.next, index + 1)
        progress.probing = False
        if message.sender == self.heir:
            self._summon(message.sender)

    def _on_refusal(
        self, progress: Progress, message: AppendResponse, refused: int, commit: int
    ) -> None:
        stale = refused != progress.next - 1 if progress.probing else refused <= progress.match
        if stale:
            return
        progress.probing = True
        # Never below what was acknowledged: a refusal may be older than that, and come later.
        progress.next = max(progress.match, min(message.index, self._log.last_index)) + 1
        if progress.next <= self._log.base_index:
            self._send_chunk(message.sender, 0)
        else:
            self._ask(message.sender, progress, commit)

    def _on_snapshot_request(self, message: SnapshotRequest) -> None:
        snapshot = self._log.snapshot
        same = snapshot is not None and message.index == snapshot.index
        self._send_chunk(message.sender, message.offset if same else 0)

    def _serve_stranger(self, message: AppendResponse, commit: int) -> None:
        """Somebody outside the configuration misses something, or has taken what was sent."""
        if message.index < self._log.base_index:
            self._send_chunk(message.sender, 0)
        elif message.index < commit:
            entries = self._batch(message.index + 1, commit)
            self._send_append(message.sender, message.index, commit, entries)

    def _summon(self, heir: NodeId) -> None:
        if self.peers[heir].match == self._log.last_index:
            self._outbox.append(TimeoutNow(sender=self.me, to=heir, term=self.term))

    def _ask(self, node: NodeId, progress: Progress, commit: int) -> None:
        """An empty Append: a heartbeat, and the question whether all that was sent has arrived."""
        # What is below the base cannot be asked for; the answer will lead to the snapshot.
        self._send_append(node, max(progress.next - 1, self._log.base_index), commit, ())
        progress.next = max(progress.next, self._log.base_index + 1)
        progress.told_commit = commit

    def _batch(self, first: int, last: int) -> tuple[Entry, ...]:
        return self._log.batch(first, last, entries_max=ENTRIES_MAX, bytes_max=BYTES_MAX)

    def _publish(self, prev_index: int, commit: int, entries: tuple[Entry, ...]) -> None:
        self._send_append(EVERYBODY, prev_index, commit, entries)

    def _send_append(
        self, to: NodeId, prev_index: int, commit: int, entries: tuple[Entry, ...]
    ) -> None:
        prev_term = self._log.term_at(prev_index)
        assert prev_term is not None, (prev_index, self._log.base_index, self._log.last_index)
        self._outbox.append(
            Append(
                sender=self.me,
                to=to,
                term=self.term,
                prev_index=prev_index,
                prev_term=prev_term,
                commit=commit,
                entries=entries,
            )
        )

    def _send_chunk(self, to: NodeId, offset: int) -> None:
        snapshot = self._log.snapshot
        if snapshot is None or offset > len(snapshot.data):
            return
        self._outbox.append(
            SnapshotChunk(
                sender=self.me,
                to=to,
                term=self.term,
                index=snapshot.index,
                snapshot_term=snapshot.term,
                configuration=snapshot.configuration,
                size=len(snapshot.data),
                offset=offset,
                data=snapshot.data[offset : offset + self._chunk_bytes],
            )
        )
