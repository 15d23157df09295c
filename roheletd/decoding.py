"""What reading foreign bytes may raise, in one place: msgspec lets two errors pass as they are."""

from typing import TypeVar

import msgspec

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Of any bytes: no such format or type, text that is none, more depth than there is stack."""


def decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    """The value in `data`; raises `msgspec.MsgspecError`, whatever the bytes are."""
    try:
        return decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
