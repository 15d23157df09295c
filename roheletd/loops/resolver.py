"""Answers names for the containers of this node, where its engine's containers reach it.

Bound as soon as the engine is there, before the first container is made; until it is bound,
containers are made with the engine's own resolver.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from roheletd.cluster.names import Zone
from roheletd.cluster.soft import SoftState
from roheletd.forwarding.sockets import family_of
from roheletd.resolver.header import SERVFAIL, failure, may_be_ours
from roheletd.resolver.upstream import PORT, Upstream, framed, read_framed

RETRY_S = 5.0
IN_FLIGHT_MAX = 256
TCP_S = 10.0

_AT_ONCE = 32
_QUERY_BYTES = 4096
_IP_FREEBIND = 15
"""Podman's bridge is there only while a container is."""


class Resolver:
    """One address, UDP and TCP. `listen` "": wherever the engine says."""

    name = "resolver"

    def __init__(
        self, *, listen: str, port: int, zone: Zone, soft: SoftState, upstream: Upstream
    ) -> None:
        self._listen = listen
        self._port = port
        self._zone = zone
        self._soft = soft
        self._upstream = upstream
        self._address = ""
        self._sockets: list[socket.socket] = []
        self._answering: set[asyncio.Task[None]] = set()
        self._running = False
        self._hopeful = True
        self._wake = asyncio.Event()

    def search(self) -> tuple[str, ...]:
        """The domains of the containers made now; none while they cannot ask us."""
        if not self._sockets or self._port != PORT:
            return ()
        return (self._zone.origin, *self._upstream.resolvers().search)

    def attend(self) -> None:
        """Listen where it is right by now; at once, for a container may be made next."""
        wanted = self._listen or self._soft.engine.host_address
        if self._running and wanted != self._address:
            self._close()
            self._address = self._upstream.mine = wanted
            self._wake.set()
            self._bind()

    async def run(self) -> None:
        self._running = True
        try:
            while True:
                self.attend()
                self._wake.clear()
                failed = self._hopeful and bool(self._address) and not self._sockets
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY_S if failed else None):
                        await self._wake.wait()
                self._bind()
        finally:
            self._running = False
            self._close()
            for task in self._answering:
                task.cancel()

    def _bind(self) -> None:
        address = self._address
        if not address or self._sockets:
            return
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                made = socket.socket(family_of(address), kind | socket.SOCK_NONBLOCK)
                self._sockets.append(made)
                made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
                if kind == socket.SOCK_STREAM:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((address, self._port))
            self._sockets[1].listen()
        except OSError as error:
            self._close()
            self._hopeful = error.errno != errno.EACCES
            again = "; tried again" if self._hopeful else ""
            self._soft.notices["resolver"] = (
                f"names are not answered at {address} port {self._port}, and containers resolve "
                f"as their engine does: {_explained(error)}{again}"
            )
            return
        self._soft.notices.pop("resolver", None)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sockets[0], self._from_udp, self._sockets[0])
        loop.add_reader(self._sockets[1], self._from_tcp, self._sockets[1])

    def _close(self) -> None:
        for it in self._sockets:
            asyncio.get_running_loop().remove_reader(it)
            it.close()
        self._sockets.clear()

    def _from_udp(self, asked: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                query, client = asked.recvfrom(_QUERY_BYTES)
            except OSError:
                return

            self._begin(self._answer(query, partial(_send, asked, client), udp=True))

    def _from_tcp(self, asked: socket.socket) -> None:
        with suppress(OSError):
            client, _ = asked.accept()
            if len(self._answering) < IN_FLIGHT_MAX:
                self._begin(self._converse(client))
            else:
                client.close()

    def _begin(self, work: "Awaitable[None]") -> None:
        """More than that at a time is not answered: a client asks again."""
        task = asyncio.ensure_future(work)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _converse(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)

        async def send(answer: bytes) -> None:
            writer.write(framed(answer))
            await writer.drain()

        try:
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(TCP_S):
                    while True:
                        await self._answer(await read_framed(reader), send, udp=False)
        finally:
            writer.close()

    async def _answer(
        self, query: bytes, send: Callable[[bytes], Awaitable[None]], *, udp: bool
    ) -> None:
        if may_be_ours(query):
            from roheletd.resolver import wire  # noqa: PLC0415 - 6 MB, for nodes that are asked

            answer = wire.response(query, self._zone.origin, self._zone.meaning, udp=udp)
            if answer is not None:
                await send(answer)
                return
        if len(self._answering) > IN_FLIGHT_MAX:
            return
        found = await self._upstream.ask(query, udp=udp) or failure(query, SERVFAIL)
        if found is not None:
            await send(found)


async def _send(asked: socket.socket, client: tuple[str, int], answer: bytes) -> None:
    with suppress(OSError):  # lost, as a datagram may be
        asked.sendto(answer, client)


def _explained(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program answers there"
    if error.errno == errno.EACCES:
        return "this daemon may not open ports below 1024 (see discovery.dns)"
    return error.strerror or str(error)
