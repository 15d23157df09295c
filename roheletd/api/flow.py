"""An answer that is a stream: written as it comes, and perhaps talked back to."""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from roheletd.api.problems import problem_of
from roheletd.errors import RoheletError

NDJSON = "application/x-ndjson"

Write = Callable[[bytes], Awaitable[None]]
Read = Callable[[int], Awaitable[bytes]]
"""Exactly so many bytes of the request's body; raises `EOFError` where they are not there."""


class Flow(Struct, frozen=True, kw_only=True):
    """`run` writes it all. What it raises before it has written is an answer like any other.

    What it raises later is the last that is said, in the words of `closing`.
    """

    media_type: str
    run: Callable[[Read, Write], Awaitable[None]]
    closing: Callable[[RoheletError], bytes]


class LastLine(Struct, frozen=True):
    """The end of an answer in lines, which is not whole without it.

    `end`: why it is not all that was asked for.
    """

    end: str


def last_line(error: RoheletError | None = None) -> bytes:
    reason = "" if error is None else problem_of(error).reason
    return msgspec.json.encode(LastLine(reason)) + b"\n"
