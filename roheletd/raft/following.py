"""The follower's half of the protocol: what a leader sends becomes this node's log.

The same half serves voters, learners and those outside the configuration, who hear what the leader
says to everybody and ask for what they miss.
"""

from roheletd.raft.intake import Intake
from roheletd.raft.journal import Journal
from roheletd.raft.values import (
    EVERYBODY,
    Append,
    AppendResponse,
    Entry,
    Message,
    NodeId,
    SnapshotChunk,
    SnapshotRequest,
)


class Following:
    """Messages are of the present term; answers go to `outbox`, in order."""

    def __init__(self, *, me: NodeId, journal: Journal, outbox: list[Message]) -> None:
        self._me = me
        self._journal = journal
        self._outbox = outbox
        self._intake: Intake | None = None
        # A member leaves it to the leader to find its gaps. But whether it is one, by a log that
        # has gaps, it cannot know: only from being spoken to since the last gap that all heard of.
        self._addressed = False
        self.is_current = False
        """Whether the last word of a leader found nothing missing here."""

    def on_append(self, message: Append) -> None:
        journal = self._journal
        published = message.to == EVERYBODY
        # What is committed is the leader's as well, whatever is still here of it (paper, 5.4).
        known = message.prev_index <= journal.commit
        if not known and journal.log.term_at(message.prev_index) != message.prev_term:
            self.is_current = False
            if not published or not self._addressed:
                self._tell_gap(message)
            self._addressed = not published
            return
        self._addressed = self._addressed or not published
        news = self._take(message.entries)
        last = message.prev_index + len(message.entries)
        journal.commit_to(min(message.commit, last))
        self.is_current = journal.commit >= message.commit
        # Old news were answered when they were new. To answer again would make the leader send
        # again, and so on for ever.
        if not published and (news or not message.entries):
            self._answer(message.sender, max(last, journal.commit))

    def on_chunk(self, chunk: SnapshotChunk) -> None:
        journal = self._journal
        known = journal.log.term_at(chunk.index) == chunk.snapshot_term
        if chunk.index <= journal.commit or known:
            # We have all that it stands for, and may have acknowledged what comes after.
            journal.commit_to(max(journal.commit, chunk.index))
            self._intake = None
            self._answer(chunk.sender, journal.commit)
        elif (intake := self._intake_of(chunk)) is not None and intake.take(chunk):
            snapshot = intake.complete()
            if snapshot is None:
                self._request_chunk(chunk.sender, intake)
                return
            self._intake = None
            journal.install(snapshot)
            self._answer(chunk.sender, snapshot.index)

    def tell_term(self, leader: NodeId) -> None:
        """To a leader of the past: our term makes it stop."""
        self._answer(leader, self._journal.commit, refused=0)

    def _take(self, entries: tuple[Entry, ...]) -> bool:
        """Put into the log what is not there; True where there was something."""
        journal = self._journal
        for at, entry in enumerate(entries):
            if entry.index > journal.commit and journal.log.term_at(entry.index) != entry.term:
                journal.add(entries[at:])
                return True
        return False

    def _intake_of(self, chunk: SnapshotChunk) -> Intake | None:
        """The transfer that `chunk` belongs to; None where it is of an older snapshot.

        The next leader's may be older than what the last one had begun to send.
        """
        begun = self._intake
        if begun is None or (begun.leader_term, begun.index) < (chunk.term, chunk.index):
            self._intake = begun = Intake(chunk)
            if chunk.offset:
                self._request_chunk(chunk.sender, begun)
        return begun if begun.is_of(chunk) else None

    def _tell_gap(self, message: Append) -> None:
        """Where the leader may go on from: the last position that may be the same in both logs."""
        if self._intake is not None and self._intake.leader_term == message.term:
            self._request_chunk(message.sender, self._intake)
            return
        self._intake = None
        journal = self._journal
        hint = min(message.prev_index - 1, journal.log.last_index)
        while hint > journal.commit and (journal.log.term_at(hint) or 0) > message.prev_term:
            hint -= 1
        self._answer(message.sender, max(hint, journal.commit), refused=message.prev_index)

    def _answer(self, to: NodeId, index: int, *, refused: int | None = None) -> None:
        self._outbox.append(
            AppendResponse(
                sender=self._me, to=to, term=self._journal.term, index=index, refused=refused
            )
        )

    def _request_chunk(self, to: NodeId, intake: Intake) -> None:
        self._outbox.append(
            SnapshotRequest(
                sender=self._me,
                to=to,
                term=self._journal.term,
                index=intake.index,
                offset=intake.offset,
            )
        )
