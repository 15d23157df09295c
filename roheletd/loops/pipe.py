"""A conversation within this daemon."""

import asyncio

from roheletd.cluster.streams import Piece

_PIPE_PIECES = 8


class Pipe:
    """One end of it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Piece] = asyncio.Queue(_PIPE_PIECES)
        self._other = self

    @classmethod
    def pair(cls) -> tuple["Pipe", "Pipe"]:
        one, other = cls(), cls()
        one._other, other._other = other, one
        return one, other

    async def send(self, piece: Piece) -> None:
        await self._other._queue.put(piece)  # noqa: SLF001

    async def receive(self) -> Piece:
        return await self._queue.get()
