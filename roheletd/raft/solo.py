"""The log of a cluster with one voter: whatever it has on its own disk is committed.

A majority of one is one (Raft, Ongaro and Ousterhout 2014, section 5.3), so there is nothing to
send and nobody to wait for. The rule that remains is the one that power cuts test: an entry may
be applied only after it is durable.
"""

from roheletd.raft import Entry, Ready


class Solo:
    """Leader of itself. `term` must be higher than every term of an earlier start."""

    def __init__(self, *, term: int, last_index: int) -> None:
        assert term > 0
        assert last_index >= 0
        self.term = term
        self.last_index = last_index
        self._unsaved: list[Entry] = []

    def propose(self, data: bytes) -> int:
        """Take `data` as the next entry and return its index."""
        self.last_index += 1
        self._unsaved.append(Entry(self.last_index, self.term, data))
        return self.last_index

    def ready(self) -> Ready:
        """Everything proposed since the last call, to be saved first and then applied."""
        entries = tuple(self._unsaved)
        self._unsaved.clear()
        return Ready(to_save=entries, to_apply=entries)
