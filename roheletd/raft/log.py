"""The log in memory: entries after a base, the snapshot below it, the configurations in it.

    snapshot        base        entries
    |---------------|-----------|---------------------->
    index 1         base_index  base_index + 1 ... last_index

The base is the position before the first entry that can be sent. It is the snapshot's own, or an
older one where some entries below the snapshot are kept for nodes that are a little behind.
"""

from collections.abc import Iterable
from itertools import takewhile

from roheletd.raft.values import (
    Configuration,
    Entry,
    Kind,
    Saved,
    Snapshot,
    decode_configuration,
)


class Log:
    """One node's entries. Positions are 1-based; a term of None means that it is not known."""

    def __init__(self, saved: Saved) -> None:
        self.snapshot = saved.snapshot
        entries = list(saved.entries)
        start, self.base_term, configuration = 0, 0, Configuration()
        if saved.snapshot is not None:
            start, self.base_term = saved.snapshot.index, saved.snapshot.term
            configuration = saved.snapshot.configuration
        self.base_index = start
        if entries and entries[0].index <= start:
            anchor = entries.pop(0)
            self.base_index, self.base_term = anchor.index, anchor.term
        self._entries = entries
        assert all(entry.index == at for at, entry in enumerate(entries, self.base_index + 1))
        assert self.last_index >= start
        self._configurations: list[tuple[int, Configuration]] = [(start, configuration)]
        self._note_configurations(entry for entry in entries if entry.index > start)

    @property
    def last_index(self) -> int:
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.base_term

    @property
    def configuration(self) -> Configuration:
        """The newest one, committed or not: it is in force from the moment it is in the log."""
        return self._configurations[-1][1]

    @property
    def configuration_index(self) -> int:
        return self._configurations[-1][0]

    def configuration_at(self, index: int) -> Configuration:
        """The one that was in force when the entry at `index` was the last."""
        return next(found for at, found in reversed(self._configurations) if at <= index)

    def term_at(self, index: int) -> int | None:
        if index == self.base_index:
            return self.base_term
        if self.base_index < index <= self.last_index:
            return self._entries[index - self.base_index - 1].term
        return None

    def between(self, first: int, last: int) -> tuple[Entry, ...]:
        """The entries from `first` to `last`, both included; they must be here."""
        assert first > self.base_index, (first, self.base_index)
        return tuple(self._entries[first - self.base_index - 1 : last - self.base_index])

    def batch(
        self, first: int, last: int, *, entries_max: int, bytes_max: int
    ) -> tuple[Entry, ...]:
        """As many of these entries as one message may have, and at least one if there is one."""
        size = 0

        def fits(entry: Entry) -> bool:
            nonlocal size
            before, size = size, size + len(entry.data)
            return not before or size <= bytes_max

        found = self.between(first, min(last, first + entries_max - 1))
        return tuple(takewhile(fits, found))

    def append(self, entries: tuple[Entry, ...]) -> None:
        """Put `entries` at their places; whatever stood there and after is gone."""
        start = entries[0].index
        assert self.base_index < start <= self.last_index + 1, (start, self.last_index)
        del self._entries[start - self.base_index - 1 :]
        while self._configurations[-1][0] >= start:
            self._configurations.pop()
        self._entries += entries
        self._note_configurations(entries)

    def compact(self, snapshot: Snapshot, *, keep: int) -> None:
        """Let go of all but the last `keep` of the entries that `snapshot` stands for."""
        assert snapshot.index <= self.last_index
        self.snapshot = snapshot
        base = max(self.base_index, snapshot.index - keep)
        base_term = self.term_at(base)
        assert base_term is not None
        del self._entries[: base - self.base_index]
        self.base_index, self.base_term = base, base_term
        newer = [(at, found) for at, found in self._configurations if at > snapshot.index]
        self._configurations = [(snapshot.index, snapshot.configuration), *newer]

    def restore(self, snapshot: Snapshot) -> None:
        """Have nothing but `snapshot`."""
        self.snapshot = snapshot
        self.base_index, self.base_term = snapshot.index, snapshot.term
        self._entries.clear()
        self._configurations = [(snapshot.index, snapshot.configuration)]

    def _note_configurations(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.kind is Kind.CONFIGURATION:
                self._configurations.append((entry.index, decode_configuration(entry.data)))
