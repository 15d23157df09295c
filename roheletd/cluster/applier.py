"""Committed entries become state, and state becomes the snapshot that stands for them."""

from collections.abc import Callable

import msgspec

from roheletd.cluster.commands import Outcome, Proposal, decode
from roheletd.cluster.state import ClusterState
from roheletd.cluster.state import decode as decode_state
from roheletd.cluster.state import encode as encode_state
from roheletd.errors import RoheletError
from roheletd.raft import Entry, Kind, Saved, Snapshot

SNAPSHOT_AFTER_ENTRIES = 1000
SNAPSHOT_AFTER_BYTES = 1 << 20


class UnknownEntry(RoheletError):  # noqa: N818 - what it is
    """What a later version has written: to guess would make this node differ from all others."""


class Applier:
    """Applies in order, to the end of what it can read. `on_outcome` hears what became of each."""

    def __init__(self, state: ClusterState) -> None:
        self.on_outcome: Callable[[Proposal, Outcome], None] = lambda _proposal, _outcome: None
        self._state = state
        self._entries = 0
        self._bytes = 0

    def apply(self, restored: Snapshot | None, entries: tuple[Entry, ...]) -> None:
        """Raises `UnknownEntry`; what came before it is applied then, and nothing after."""
        if restored is not None and restored.data:
            self._restore(restored)
        for entry in entries:
            self._apply(entry)

    @property
    def applied_index(self) -> int:
        return self._state.applied_index

    @property
    def snapshot_is_due(self) -> bool:
        return self._entries >= SNAPSHOT_AFTER_ENTRIES or self._bytes >= SNAPSHOT_AFTER_BYTES

    def take_snapshot(self) -> tuple[bytes, int]:
        """The state, and the index of the entry after which it is."""
        self._entries = self._bytes = 0
        return encode_state(self._state.saved()), self._state.applied_index

    def _restore(self, snapshot: Snapshot) -> None:
        try:
            self._state.restore(decode_state(snapshot.data))
        except msgspec.MsgspecError as error:
            raise UnknownEntry(_advice(f"the snapshot at entry {snapshot.index}", error)) from None
        self._entries = self._bytes = 0

    def _apply(self, entry: Entry) -> None:
        if entry.kind is Kind.COMMAND:
            try:
                proposal = decode(entry.data)
            except msgspec.MsgspecError as error:
                raise UnknownEntry(_advice(f"entry {entry.index}", error)) from None
            outcome = self._state.apply(entry.index, entry.term, proposal)
            self.on_outcome(proposal, outcome)
        else:
            self._state.advance(entry.index, entry.term)
        self._entries += 1
        self._bytes += len(entry.data)


def replay(state: ClusterState, saved: Saved, *, last: int) -> None:
    """Bring an empty `state` to the entry at `last` of what a disk gave back.

    Raises `UnknownEntry`; what came before it is applied then.
    """
    start = saved.snapshot.index if saved.snapshot else 0
    entries = (entry for entry in saved.entries if start < entry.index <= last)
    Applier(state).apply(saved.snapshot, tuple(entries))


def _advice(what: str, error: msgspec.MsgspecError) -> str:
    return (
        f"{what} is of a version that this one cannot read ({error}): update roheletd on this node"
    )
