"""How a terminal speaks with a command, in one request: its body and its answer, at the same time.

Both are frames: a byte that says what it is, four bytes of length, most significant first, and so
many bytes. To the daemon: `b` begin (JSON: command, tty, stdin, rows, columns), first and once; `i`
input, and nothing in it is the end of the input; `r` resize (JSON: rows, columns). From the daemon:
`o` output, `e` error output, `x` the end (JSON: exit_code, reason). Nothing follows `x`.
"""

import asyncio
from contextlib import suppress
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict

from roheletd.api.collaborators import Conversation
from roheletd.api.flow import Read, Write
from roheletd.api.requests import convert
from roheletd.cluster.streams import (
    Begun,
    End,
    ExecWanted,
    Exit,
    Input,
    Output,
    Resize,
)
from roheletd.errors import InvalidInput, Refused, RoheletError, Unavailable
from roheletd.fields import Text

EXEC = "application/vnd.roheletd.exec"
FRAME_BYTES_MAX = 1 << 16
NO_EXIT_CODE = 255
BEGIN_S = 10.0

_HEAD_BYTES = 5


class Size(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a terminal, as it is now."""

    rows: Annotated[int, Meta(ge=1, le=10_000)] = 24
    columns: Annotated[int, Meta(ge=1, le=10_000)] = 80


class Begin(Size, frozen=True):
    """What is to run. Without `stdin` it reads nothing."""

    command: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=256)]
    tty: bool = False
    stdin: bool = False


async def begin(read: Read, instance: str) -> ExecWanted:
    """The first frame. Raises `InvalidInput`."""
    try:
        async with asyncio.timeout(BEGIN_S):
            kind, body = await _frame(read)
    except (EOFError, TimeoutError):
        raise InvalidInput("body", "expected a first frame `b`") from None
    if kind != b"b":
        raise InvalidInput("body", "expected a first frame `b`")
    return ExecWanted(instance=instance, **asdict(convert(_json(body), Begin)))


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidInput("body", "expected JSON in this frame") from None


async def _frame(read: Read) -> tuple[bytes, bytes]:
    head = await read(_HEAD_BYTES)
    length = int.from_bytes(head[1:])
    if length > FRAME_BYTES_MAX:
        raise InvalidInput("body", f"expected frames of at most {FRAME_BYTES_MAX} bytes")
    return head[:1], await read(length)


def framed(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4) + body


class Talker:
    """Between a request and a conversation."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def run(self, talk: Conversation) -> None:
        feeding = asyncio.create_task(self._feed(talk), name="input of a command")
        try:
            while True:
                match await talk.receive():
                    case Begun():
                        await self._write(b"")  # so that whoever asked knows
                    case Output(data=data, error=is_error):
                        await self._write(framed(b"e" if is_error else b"o", data))
                    case Exit(code=code, reason=reason):
                        await self._write(_end(code, reason))
                        return
                    case End(kind=kind, reason=reason):
                        raise Unavailable(reason) if kind == "unavailable" else Refused(reason)
        finally:
            feeding.cancel()

    async def _feed(self, talk: Conversation) -> None:
        """Whoever hangs up ends the request itself; bad frames end the input."""
        with suppress(EOFError, RoheletError):
            while True:
                kind, body = await _frame(self._read)
                if kind == b"i":
                    await talk.send(Input(body))
                elif kind == b"r":
                    await talk.send(Resize(**asdict(convert(_json(body), Size))))
        with suppress(RoheletError):
            await talk.send(Input())

    @staticmethod
    def closing(error: RoheletError) -> bytes:
        return _end(NO_EXIT_CODE, str(error))


def _end(code: int, reason: str) -> bytes:
    return framed(b"x", msgspec.json.encode({"exit_code": code, "reason": reason}))
