"""Real servers and clients on the loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from roheletd.clock import Clock
from roheletd.cluster.registry import Endpoint
from roheletd.forwarding.streams import Streams, TcpPort
from tests.testbed.network import free_port


def endpoint(port: int, instance: str = "web.0", *, local: bool = False) -> Endpoint:
    return Endpoint(
        instance=instance, node="n", host="127.0.0.1", port=port, local=local, healthy=True
    )


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """Its port; at the end every connection is over."""
    over: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.append(asyncio.Event())
        mine = over[-1]
        with suppress(ConnectionError):
            await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        mine.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for it in over:
            await it.wait()


@asynccontextmanager
async def answering(name: str) -> AsyncIterator[int]:
    """Says its name to each line."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(f"{name}\n".encode())

    async with serving(answer) as port:
        yield port


@asynccontextmanager
async def stable(
    *endpoints: Endpoint, wait_s: float = 1.0, open_max: int = 100
) -> AsyncIterator[tuple[TcpPort, int]]:
    port = free_port()
    made = TcpPort(Streams(Clock(), open_max=open_max, wait_s=wait_s), "127.0.0.1", port)
    made.serve(endpoints)
    try:
        yield made, port
    finally:
        made.close()


async def ask(port: int) -> str:
    """Who answered; empty where the connection was ended instead."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionResetError:
        return ""
    try:
        writer.write(b"?\n")
        return (await reader.readline()).decode().strip()
    except ConnectionError:
        return ""
    finally:
        writer.close()


async def asked(port: int, times: int) -> Sequence[str]:
    return [await ask(port) for _ in range(times)]


def silent_port() -> socket.socket:
    """Takes no connection and refuses none: its queue is full."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(0)
    return made
