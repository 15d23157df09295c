"""TCP: each connection to a stable port becomes one to an endpoint.

Dialling goes down the balancer's list, impatiently: on a local network an instance takes a
connection within milliseconds or not at all. Where none took it, they get more time; where there is
none, the connection waits for one to come, as between two instances of a rollout.
"""

import asyncio
import errno
import logging
import math
import socket
from collections.abc import Sequence
from contextlib import suppress

from roheletd.clock import Clock
from roheletd.cluster.registry import Endpoint
from roheletd.forwarding.balance import Balancer
from roheletd.forwarding.relay import Buffer, Relay, reset
from roheletd.forwarding.sockets import bound, connected, tuned

logger = logging.getLogger(__name__)

PATIENCE_S, LONG_PATIENCE_S = 0.3, 2.0
"""For each endpoint in the first round, and in the second one."""

AGAIN_S = 0.25
"""Until those that took no connection are asked once more, where nothing else changes."""

TOLD_AGAIN_S = 60.0

_ACCEPTS_AT_ONCE = 64
_FULL_S = 0.5
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Streams:
    """What all TCP ports of this node share: the clock, the buffer, and how many may be open."""

    def __init__(self, clock: Clock, *, open_max: int, wait_s: float) -> None:
        self.clock = clock
        self.buffer = Buffer()
        self.open_max = open_max
        self.wait_s = wait_s
        self.open = 0
        self.refused = 0
        self.reaches_own = False
        self._told_s = -math.inf

    def refuse(self) -> None:
        """Count one that is too many, and tell of it now and then."""
        self.refused += 1
        now_s = self.clock.now_s()
        if now_s >= self._told_s + TOLD_AGAIN_S:
            self._told_s = now_s
            logger.warning(
                "%d connections are open to service ports, which is all that "
                "discovery.connections_max allows: %d were refused so far",
                self.open,
                self.refused,
            )


class TcpPort:
    """One stable TCP port."""

    def __init__(self, streams: Streams, host: str, port: int) -> None:
        """Raises OSError where the port cannot be had."""
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._socket = bound(socket.SOCK_STREAM, host, port)
        tuned(self._socket)  # what it accepts is tuned alike
        self._balancer = Balancer()
        self._changed = asyncio.Event()
        self._dialling: set[asyncio.Task[None]] = set()
        self._relays: set[Relay] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket, self._accept)

    def serve(self, endpoints: Sequence[Endpoint]) -> None:
        self._balancer.serve(endpoints)
        self._changed.set()

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for task in self._dialling:
            task.cancel()
        for relay in tuple(self._relays):
            relay.abort()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._rest()
                return
            client.setblocking(False)  # noqa: FBT003 - the socket's own
            if self._streams.open >= self._streams.open_max:
                self._streams.refuse()
                reset(client)
                client.close()
                continue
            self._streams.open += 1
            task = self._loop.create_task(self._lead(client))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)

    def _rest(self) -> None:
        """Out of descriptors or memory: what waits in the kernel's queue can wait a little more."""
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(
            _FULL_S, self._loop.add_reader, self._socket, self._accept
        )

    async def _lead(self, client: socket.socket) -> None:
        found = None
        try:
            found = await self._dial()
        finally:
            if found is None:
                self._streams.open -= 1
                reset(client)
                client.close()
        if found is None:
            return
        endpoint, server = found
        tuned(server)
        self._balancer.opened(endpoint)

        def ended() -> None:
            self._relays.discard(relay)
            self._balancer.closed(endpoint)
            self._streams.open -= 1

        relay = Relay(client, server, self._streams.buffer, ended)
        self._relays.add(relay)
        relay.start()

    async def _dial(self) -> tuple[Endpoint, socket.socket] | None:
        clock = self._streams.clock
        deadline_s = clock.now_s() + self._streams.wait_s
        while True:
            self._changed.clear()
            found = await self._round(PATIENCE_S) or await self._patient_round()
            if found is not None or clock.now_s() >= deadline_s:
                return found
            await self._change(within_s=deadline_s - clock.now_s())

    async def _round(self, patience_s: float) -> tuple[Endpoint, socket.socket] | None:
        clock = self._streams.clock
        for endpoint in self._balancer.order(clock.now_s()):
            made = await self._connected(endpoint, patience_s)
            if made is not None:
                return endpoint, made
            self._balancer.failed(endpoint, clock.now_s())
        return None

    async def _patient_round(self) -> tuple[Endpoint, socket.socket] | None:
        """Given up as soon as others serve than those that did not take it at once."""
        dialling = asyncio.create_task(self._round(LONG_PATIENCE_S))
        changing = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((dialling, changing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            changing.cancel()
            if not dialling.done():
                dialling.cancel()
        return dialling.result() if dialling.done() else None

    async def _connected(self, endpoint: Endpoint, patience_s: float) -> socket.socket | None:
        """Where the engine's own proxy leads takes a connection and breaks it if nobody is there.

        So an instance's own address is better, once it is known that this node reaches those.
        """
        streams = self._streams
        if endpoint.own_host:
            made = await connected(
                endpoint.own_host, endpoint.own_port, socket.SOCK_STREAM, timeout_s=patience_s
            )
            streams.reaches_own |= made is not None
            if made is not None or streams.reaches_own:
                return made
        return await connected(
            endpoint.host, endpoint.port, socket.SOCK_STREAM, timeout_s=patience_s
        )

    async def _change(self, *, within_s: float) -> None:
        refused = bool(self._balancer.order(0.0))
        with suppress(TimeoutError):
            async with asyncio.timeout(min(within_s, AGAIN_S) if refused else within_s):
                await self._changed.wait()
