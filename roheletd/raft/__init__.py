"""The agreed log. Pure, and of no import of ours: messages, time and chance in, one value out.

`Raft` is the core, `Ready` its answer: its driver persists, then sends, then applies. README.md
beside this file says what of the paper is here, what is not, and why.
"""

from roheletd.raft.core import ChangeRefused, NotLeader, Raft
from roheletd.raft.journal import founding
from roheletd.raft.values import (
    EVERYBODY,
    AnyMessage,
    Configuration,
    Entry,
    Kind,
    Message,
    NodeId,
    Ready,
    Role,
    Save,
    Saved,
    Snapshot,
    SnapshotChunk,
    Timing,
    decode_configuration,
    decode_message,
    encode_configuration,
    encode_message,
)

__all__ = [
    "EVERYBODY",
    "AnyMessage",
    "ChangeRefused",
    "Configuration",
    "Entry",
    "Kind",
    "Message",
    "NodeId",
    "NotLeader",
    "Raft",
    "Ready",
    "Role",
    "Save",
    "Saved",
    "Snapshot",
    "SnapshotChunk",
    "Timing",
    "decode_configuration",
    "decode_message",
    "encode_configuration",
    "encode_message",
    "founding",
]
