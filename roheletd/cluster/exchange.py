"""What nodes say to each other about the log, beside the log's own messages.

A command that was given to any node is forwarded to the leader. The leader answers once it is
applied, or at once where no entry is needed. Forwards may be sent again as often as one likes: the
command's id is applied once.
"""

import msgspec
from msgspec import Struct

from roheletd.cluster.commands import Outcome
from roheletd.decoding import decoded
from roheletd.raft import AnyMessage


class Forward(Struct, frozen=True, kw_only=True, array_like=True, tag="forward", tag_field="type"):
    """A command for the leader. `boot` is the leader's, as the sender heard it last.

    A leader that was restarted takes no forward to its former self, which somebody on the way may
    have kept.
    """

    boot: int
    proposal: bytes


class Answer(Struct, frozen=True, kw_only=True, array_like=True, tag="answer", tag_field="type"):
    """What became of the command `id`. `index`: how far the leader had applied the log by then.

    Without an outcome the leader did not take it, and `refusal` says why.
    """

    id: str
    index: int
    outcome: Outcome | None = None
    refusal: str = ""


Speech = AnyMessage | Forward | Answer

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Speech] = msgspec.msgpack.Decoder(Speech)


def encode(speech: Struct) -> bytes:
    return _encoder.encode(speech)


def decode(data: bytes) -> Speech:
    """Raises `msgspec.MsgspecError` for what this version does not know."""
    return decoded(_decoder, data)
