"""Answers names for the containers of this node, where its engine's containers reach it.

Bound as soon as the engine is there, before the first container is made; until it is bound,
containers are made with the engine's own resolver.
"""

import asyncio
import errno
import math
import socket
from collections.abc import Coroutine
from contextlib import suppress

from roheletd.clock import Clock
from roheletd.cluster.names import Zone
from roheletd.cluster.soft import SoftState
from roheletd.forwarding.sockets import Acceptor, family_of
from roheletd.loops.waiting import news_or_time
from roheletd.resolver.answers import Answers
from roheletd.resolver.upstream import PORT, Upstream, framed, read_framed

RETRY_S = 5.0
IN_FLIGHT_MAX = 256
"""Queries by UDP. More than that at a time are not answered: a client asks again."""
TALKS_MAX = 64
TCP_S, LINGER_S = 10.0, 1.0
"""How long a connection may last, and how much longer its client may take to listen."""

_AT_ONCE = 32
_QUERY_BYTES = 4096
_IP_FREEBIND = 15
"""Podman's bridge is there only while a container is."""


class Resolver:
    """One address, UDP and TCP. `listen` "": wherever the engine says."""

    name = "resolver"

    def __init__(
        self,
        *,
        listen: str,
        port: int,
        zone: Zone,
        soft: SoftState,
        upstream: Upstream,
        clock: Clock,
    ) -> None:
        self._listen = listen
        self._port = port
        self._zone = zone
        self._soft = soft
        self._upstream = upstream
        self._answers = Answers(zone, upstream)
        self._clock = clock
        self._address = ""
        self._sockets: list[socket.socket] = []
        self._acceptor: Acceptor | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._talking: set[asyncio.Task[None]] = set()
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
            self._address = wanted
            self._upstream.mine = wanted, self._port
            self._wake.set()
            self._bind()

    async def run(self) -> None:
        self._running = True
        try:
            while True:
                self.attend()
                self._wake.clear()
                failed = self._hopeful and bool(self._address) and not self._sockets
                again_s = self._clock.now_s() + RETRY_S if failed else math.inf
                await news_or_time(self._wake, again_s, self._clock)
                self._bind()
        finally:
            self._running = False
            self._close()
            for task in self._answering | self._talking:
                task.cancel()

    def _bind(self) -> None:
        if not self._address or self._sockets:
            return
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                made = socket.socket(family_of(self._address), kind | socket.SOCK_NONBLOCK)
                self._sockets.append(made)
                made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
                if kind == socket.SOCK_STREAM:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((self._address, self._port))
            self._sockets[1].listen()
        except OSError as error:
            self._close()
            self._hopeful = error.errno != errno.EACCES
            again = "; tried again" if self._hopeful else ""
            self._soft.notices["resolver"] = (
                f"names are not answered at {self._address} port {self._port}, and containers "
                f"resolve as their engine does: {_explained(error)}{again}"
            )
            return
        self._soft.notices.pop("resolver", None)
        asked, listening = self._sockets
        asyncio.get_running_loop().add_reader(asked, self._from_udp, asked)
        self._acceptor = Acceptor(listening, self._from_tcp)

    def _close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            asyncio.get_running_loop().remove_reader(self._sockets[0])
        for it in self._sockets:
            it.close()
        self._sockets.clear()

    def _from_udp(self, asked: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                query, client = asked.recvfrom(_QUERY_BYTES)
            except OSError:
                return
            if len(self._answering) < IN_FLIGHT_MAX:
                _begin(self._answer(asked, query, client), self._answering)

    async def _answer(self, asked: socket.socket, query: bytes, client: tuple[str, int]) -> None:
        if (answer := await self._answers.to(query, udp=True)) is not None:
            with suppress(OSError):  # lost, as a datagram may be
                asked.sendto(answer, client)

    def _from_tcp(self, client: socket.socket) -> None:
        if len(self._talking) < TALKS_MAX:
            _begin(self._talk(client), self._talking)
        else:
            client.close()

    async def _talk(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(TCP_S):
                    while True:
                        answer = await self._answers.to(await read_framed(reader), udp=False)
                        if answer is not None:
                            writer.write(framed(answer))
                            await writer.drain()
        finally:
            writer.close()
            # Whoever does not listen would keep open what it has not heard.
            asyncio.get_running_loop().call_later(LINGER_S, writer.transport.abort)


def _begin(work: Coroutine[None, None, None], among: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    among.add(task)
    task.add_done_callback(among.discard)


def _explained(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program answers there"
    if error.errno == errno.EACCES:
        return "this daemon may not open ports below 1024 (see discovery.dns)"
    return error.strerror or str(error)
