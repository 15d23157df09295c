"""What one node must not forget: term, vote, log, and how far that is committed and applied.

It also knows what of this the disk does not have yet. `take_save` hands that over, and takes it for
durable from then on: the driver lets nothing out before it is.
"""

import math

from roheletd.raft.log import Log
from roheletd.raft.values import (
    Configuration,
    Entry,
    Kind,
    NodeId,
    Save,
    Saved,
    Snapshot,
    encode_configuration,
)

_UNKNOWN = -1


def founding(me: NodeId) -> Save:
    """What the disk of a cluster's first node holds at the start: a log of which it is a voter."""
    first = Entry(1, 1, encode_configuration(Configuration((me,))), Kind.CONFIGURATION)
    return Save(term=1, vote=me, commit=1, entries=(first,))


class Journal:
    """Starts from what the disk gave back; the applied state starts from its snapshot."""

    def __init__(self, saved: Saved) -> None:
        start = saved.snapshot.index if saved.snapshot else 0
        self.term = saved.term
        self.vote = saved.vote
        self.log = Log(saved)
        self.commit = max(saved.commit, start)
        self.applied = start
        assert self.commit <= self.log.last_index
        self._to_restore = saved.snapshot
        self._vote_on_disk = (self.term, self.vote)
        self._commit_on_disk = self.commit
        self._unsaved_from = math.inf
        self._snapshot_to_save: Snapshot | None = None
        self._reset = False

    def enter(self, term: int, *, vote: NodeId | None = None) -> None:
        """Go on to a later term."""
        assert term > self.term
        self.term, self.vote = term, vote

    def add(self, entries: tuple[Entry, ...]) -> None:
        """Put entries at their places, over whatever was not committed there."""
        assert entries[0].index > self.commit, "what is committed is never replaced"
        self.log.append(entries)
        self._unsaved_from = min(self._unsaved_from, entries[0].index)

    def commit_to(self, index: int) -> None:
        """All up to `index` is committed; what was, stays."""
        assert index <= self.log.last_index
        self.commit = max(self.commit, index)

    def install(self, snapshot: Snapshot) -> None:
        """Have nothing but the leader's snapshot."""
        assert snapshot.index > self.commit
        self.log.restore(snapshot)
        self.commit = self.applied = snapshot.index
        self._to_restore = self._snapshot_to_save = snapshot
        self._reset = True
        self._unsaved_from = math.inf

    def compact(self, data: bytes, index: int, *, keep: int) -> None:
        """`data` is the state after the applied entry at `index`."""
        assert index <= self.applied
        term = self.log.term_at(index)
        assert term is not None
        snapshot = Snapshot(index, term, self.log.configuration_at(index), data)
        self.log.compact(snapshot, keep=keep)
        self._snapshot_to_save = snapshot

    def remember_commit(self) -> None:
        """Have the next save happen even if there is nothing but the commit index to write."""
        if self._commit_on_disk != self.commit:
            self._commit_on_disk = _UNKNOWN

    def take_save(self) -> Save | None:
        """What the disk lacks, or None. The commit index alone is no reason to write."""
        unsaved = self._unsaved_from <= self.log.last_index
        voted = self._vote_on_disk != (self.term, self.vote)
        asked = self._commit_on_disk == _UNKNOWN
        if not (unsaved or voted or asked or self._snapshot_to_save):
            return None
        first = int(self._unsaved_from) if unsaved else self.log.last_index + 1
        save = Save(
            term=self.term,
            vote=self.vote,
            commit=self.commit,
            entries=self.log.between(first, self.log.last_index),
            snapshot=self._snapshot_to_save,
            keep_from=self.log.base_index,
            reset=self._reset,
        )
        self._vote_on_disk = (self.term, self.vote)
        self._commit_on_disk = self.commit
        self._unsaved_from = math.inf
        self._snapshot_to_save, self._reset = None, False
        return save

    def take_restore(self) -> Snapshot | None:
        """The snapshot that the state has to become, once."""
        taken, self._to_restore = self._to_restore, None
        return taken

    def take_committed(self) -> tuple[Entry, ...]:
        """The entries to apply now, each once."""
        if self.applied == self.commit:
            return ()
        first, self.applied = self.applied + 1, self.commit
        return self.log.between(first, self.commit)
