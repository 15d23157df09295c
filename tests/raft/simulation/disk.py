"""A disk of which only the durable part is kept: what a power cut leaves."""

from roheletd.raft.values import (
    Configuration,
    Entry,
    Kind,
    Save,
    Saved,
    Snapshot,
    decode_configuration,
)


class Disk:
    """Each `write` is one transaction: all of it becomes durable, or nothing."""

    def __init__(self, saved: Saved) -> None:
        self.term = saved.term
        self.vote = saved.vote
        self.commit = saved.commit
        self.snapshot: Snapshot | None = saved.snapshot
        self.entries = {entry.index: entry for entry in saved.entries}
        self.writes = 0

    def write(self, save: Save) -> None:
        self.writes += 1
        self.term, self.vote, self.commit = save.term, save.vote, save.commit
        if save.reset:
            self.entries.clear()
        if save.entries:
            self._replace(save.entries)
        if save.snapshot is not None:
            self.snapshot = save.snapshot
            self._drop_before(save.keep_from)

    def saved(self) -> Saved:
        return Saved(
            term=self.term,
            vote=self.vote,
            commit=self.commit,
            snapshot=self.snapshot,
            entries=tuple(self.entries[index] for index in sorted(self.entries)),
        )

    @property
    def snapshot_index(self) -> int:
        return self.snapshot.index if self.snapshot else 0

    @property
    def last_index(self) -> int:
        return max(next(reversed(self.entries), 0), self.snapshot_index)

    def term_at(self, index: int) -> int | None:
        """None where the position is unknown, or not told any more because of the snapshot."""
        if (entry := self.entries.get(index)) is not None:
            return entry.term
        if self.snapshot and self.snapshot.index == index:
            return self.snapshot.term
        return None

    def configuration_before(self, index: int) -> tuple[int, Configuration]:
        """The newest membership below `index`, and the position that it stands at."""
        found = [
            entry
            for entry in self.entries.values()
            if entry.kind is Kind.CONFIGURATION and self.snapshot_index < entry.index < index
        ]
        if found:
            newest = max(found, key=lambda entry: entry.index)
            return newest.index, decode_configuration(newest.data)
        if self.snapshot is not None:
            return self.snapshot.index, self.snapshot.configuration
        return 0, Configuration()

    def _replace(self, entries: tuple[Entry, ...]) -> None:
        first = entries[0].index
        while self.entries and next(reversed(self.entries)) >= first:
            self.entries.popitem()
        self.entries.update((entry.index, entry) for entry in entries)

    def _drop_before(self, index: int) -> None:
        while self.entries and next(iter(self.entries)) < index:
            del self.entries[next(iter(self.entries))]
