"""What a log is made of, and what goes into and comes out of the core. All of it is frozen."""

from enum import IntEnum
from typing import Literal

import msgspec
from msgspec import Struct

NodeId = str
Role = Literal["follower", "candidate", "leader"]

EVERYBODY: NodeId = "*"
"""Where a message goes that all nodes hear, those outside the configuration as well."""


class Kind(IntEnum):
    """What an entry is for. The core reads none but configurations."""

    COMMAND = 0
    NOOP = 1
    CONFIGURATION = 2


class Entry(Struct, frozen=True, array_like=True):
    """One position of the log. `index` counts from 1 without holes."""

    index: int
    term: int
    data: bytes
    kind: Kind = Kind.COMMAND


class Configuration(Struct, frozen=True, array_like=True):
    """Who takes part. Voters decide; learners are brought up to date and count for nothing.

    Both are sorted, so that equal memberships are equal values.
    """

    voters: tuple[NodeId, ...] = ()
    learners: tuple[NodeId, ...] = ()

    @classmethod
    def of(cls, voters: set[NodeId], learners: set[NodeId] = frozenset()) -> "Configuration":  # type: ignore[assignment]
        assert not voters & learners, "a node is a voter or a learner"
        return cls(tuple(sorted(voters)), tuple(sorted(learners)))

    @property
    def members(self) -> tuple[NodeId, ...]:
        return self.voters + self.learners


class Snapshot(Struct, frozen=True, array_like=True):
    """Everything that the entries up to `index` led to. `data` belongs to the state machine."""

    index: int
    term: int
    configuration: Configuration
    data: bytes


class Saved(Struct, frozen=True, kw_only=True):
    """What a disk gives back at a start. `commit` may lag behind, and is never ahead.

    `entries` follow one another. They may begin at or before `snapshot.index`: the oldest is then
    kept for its term alone, so that those after it can still be sent.
    """

    term: int = 0
    vote: NodeId | None = None
    commit: int = 0
    snapshot: Snapshot | None = None
    entries: tuple[Entry, ...] = ()


class Save(Struct, frozen=True, kw_only=True):
    """What must be durable, in one transaction, before anything else of the same `Ready`.

    `entries` replace all from the first one's index on. A `snapshot` replaces the one before;
    entries up to `keep_from` (exclusive) are then not needed any more, and with `reset` none of
    the entries that the disk holds is.
    """

    term: int
    vote: NodeId | None
    commit: int
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot | None = None
    keep_from: int = 0
    reset: bool = False


class Ready(Struct, frozen=True, kw_only=True):
    """What the driver must do now, in the order of the fields: persist, send, apply.

    `to_restore` replaces the whole state, and comes before `to_apply`.
    """

    to_save: Save | None = None
    to_send: tuple["Message", ...] = ()
    to_restore: Snapshot | None = None
    to_apply: tuple[Entry, ...] = ()


class Timing(Struct, frozen=True, kw_only=True):
    """Seconds. An election begins after a silence drawn between the last two.

    `heartbeat_s` is how often a leader speaks at least, and how long it waits for an answer before
    it says a thing again. More saves power and copes with worse links; less finds a dead leader
    sooner.
    """

    heartbeat_s: float = 0.5
    election_min_s: float = 2.0
    election_max_s: float = 4.0


# --- messages between nodes


class Message(Struct, frozen=True, kw_only=True, array_like=True, tag_field="type"):
    """Root of the union. `term` is the sender's, or the one it asks for where it only asks."""

    sender: NodeId
    to: NodeId
    term: int


class VoteRequest(Message, frozen=True, tag="vote?"):
    """Paper, figure 2, RequestVote. `pre`: would you? (thesis 9.6).

    `handover`: the leader asked for this election (thesis 3.10), so that to have heard it is no
    reason to refuse.
    """

    last_index: int
    last_term: int
    pre: bool = False
    handover: bool = False


class VoteResponse(Message, frozen=True, tag="vote"):
    """The answer. A refusal carries the refuser's own term, also to a question with `pre`."""

    granted: bool
    pre: bool = False


class Append(Message, frozen=True, tag="append"):
    """Paper, figure 2, AppendEntries; without entries, a heartbeat.

    To `EVERYBODY` it has committed entries only, and is answered only where one is missing.
    """

    prev_index: int
    prev_term: int
    commit: int
    entries: tuple[Entry, ...] = ()


class AppendResponse(Message, frozen=True, tag="appended"):
    """`index`: the log is the leader's up to there.

    With `refused`, the `prev_index` that did not match, `index` is the last position that may.
    """

    index: int
    refused: int | None = None


class SnapshotChunk(Message, frozen=True, tag="chunk"):
    """A piece of the leader's snapshot, of `size` bytes in all, from `offset` on."""

    index: int
    snapshot_term: int
    configuration: Configuration
    size: int
    offset: int
    data: bytes


class SnapshotRequest(Message, frozen=True, tag="chunk?"):
    """The receiver asks for each next piece, so that a leader keeps no account of transfers."""

    index: int
    offset: int


class TimeoutNow(Message, frozen=True, tag="handover"):
    """The leader hands over: campaign at once (thesis 3.10)."""


AnyMessage = (
    VoteRequest
    | VoteResponse
    | Append
    | AppendResponse
    | SnapshotChunk
    | SnapshotRequest
    | TimeoutNow
)

_encoder = msgspec.msgpack.Encoder()
_messages: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_configurations = msgspec.msgpack.Decoder(Configuration)


def encode_message(message: Message) -> bytes:
    return _encoder.encode(message)


def decode_message(data: bytes) -> AnyMessage:
    """Raises `msgspec.MsgspecError` for what is no message of this version."""
    return _messages.decode(data)


def encode_configuration(configuration: Configuration) -> bytes:
    return _encoder.encode(configuration)


def decode_configuration(data: bytes) -> Configuration:
    return _configurations.decode(data)
