"""A snapshot that is arriving piece by piece. Pieces may come late, twice, or of an older one."""

from roheletd.raft.values import Configuration, Snapshot, SnapshotChunk


class Intake:
    """What has come of one snapshot so far."""

    def __init__(self, first: SnapshotChunk) -> None:
        self.index = first.index
        self.term = first.snapshot_term
        self.size = first.size
        self.leader_term = first.term
        self._configuration: Configuration = first.configuration
        self._data = bytearray()

    @property
    def offset(self) -> int:
        """Where the piece that is wanted next begins."""
        return len(self._data)

    def is_of(self, chunk: SnapshotChunk) -> bool:
        mine = (self.leader_term, self.index, self.term, self.size)
        return mine == (chunk.term, chunk.index, chunk.snapshot_term, chunk.size)

    def take(self, chunk: SnapshotChunk) -> bool:
        """True where the piece was the one that was wanted.

        Only that one is answered with a request for the next: of two streams of pieces that run
        side by side, as after a duplicated message, one so comes to an end.
        """
        if chunk.offset != self.offset or (not chunk.data and self.size):
            return False
        self._data += chunk.data
        return True

    def complete(self) -> Snapshot | None:
        if self.offset < self.size:
            return None
        return Snapshot(self.index, self.term, self._configuration, bytes(self._data))
