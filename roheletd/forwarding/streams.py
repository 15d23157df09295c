"""TCP: each connection to a stable port becomes one to an endpoint.

Dialling goes down the balancer's list, impatiently: on a local network an instance takes a
connection within milliseconds or not at all. Where none took it, they get more time; where there is
none, the connection waits for one to come, as between two instances of a rollout.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from roheletd.clock import Clock
from roheletd.cluster.registry import Endpoint
from roheletd.forwarding.balance import Balancer
from roheletd.forwarding.relay import Buffer, Relay, reset
from roheletd.forwarding.sockets import Acceptor, bound, connected, tuned

logger = logging.getLogger(__name__)

PATIENCE_S, LONG_PATIENCE_S = 0.3, 2.0
"""For each endpoint in the first round, and in the second one."""

AGAIN_S = 0.25
"""Until those that took no connection are asked once more, where nothing else changes."""

TOLD_AGAIN_S = 60.0


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
        listening = bound(socket.SOCK_STREAM, host, port)
        tuned(listening)  # what it accepts is tuned alike
        self._acceptor = Acceptor(listening, self._take)
        self._balancer = Balancer()
        self._changed = asyncio.Event()
        self._dialling: set[asyncio.Task[bool]] = set()
        self._relays: set[Relay] = set()

    def serve(self, endpoints: Sequence[Endpoint]) -> None:
        self._balancer.serve(endpoints)
        self._changed.set()

    def close(self) -> None:
        self._acceptor.close()
        for task in self._dialling:
            task.cancel()
        for relay in tuple(self._relays):
            relay.abort()

    def _take(self, client: socket.socket) -> None:
        if self._streams.open >= self._streams.open_max:
            self._streams.refuse()
            reset(client)
            client.close()
            return
        self._streams.open += 1
        task = self._loop.create_task(self._lead(client))
        self._dialling.add(task)
        task.add_done_callback(partial(self._led, client))

    def _led(self, client: socket.socket, task: "asyncio.Task[bool]") -> None:
        """In any case: of a port that is closed, dialling may end before it has begun."""
        self._dialling.discard(task)
        leads = False
        try:
            leads = not task.cancelled() and task.result()
        finally:
            if not leads:
                self._streams.open -= 1
                reset(client)
                client.close()

    async def _lead(self, client: socket.socket) -> bool:
        """Whether it leads to somebody by now."""
        found = await self._dial()
        if found is None:
            return False
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
        return True

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
