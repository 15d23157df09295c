"""The link to the broker: kept up for ever, on the event loop, with no timer of its own.

A connection that breaks is thrown away with what was in flight; the owner hears of the new one and
says again what matters. Everything works on MQTT 3.1.1; MQTT 5 is tried first. The owner calls
`tick()` about once a second, which is all that keepalive needs.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd.broker import Address, parse_url, pause_s
from roheletd.broker.channel import dial
from roheletd.broker.connection import (
    BAD_PASSWORD,
    CLOSED,
    CONNECT_TIMEOUT_S,
    LOST,
    NO_ANSWER,
    NOT_AUTHORIZED,
    TAKEN_OVER,
    UNSUPPORTED_VERSION,
    Access,
    Connection,
    Loss,
    Version,
    no_answer,
    unreachable,
)

__all__ = ["Access", "Link", "Session"]

logger = logging.getLogger(__name__)

STEADY_S = 10.0
"""A link that held this long was a good one: the next failure starts at the shortest pause."""
SHORT_LINKS = 3
"""So many connections lost soon after they were made are the mark of two clients with one name:
mosquitto 2.0 does not say so."""


class Link(Struct, frozen=True, kw_only=True):
    """The state of the link. `reason` says why there is none; `since_s` is on the loop's clock.

    `dropped` counts messages that were refused or lost for want of a link, or of room on it.
    `heard_s` is when another node was last heard over it, where somebody keeps account of that.
    """

    connected: bool = False
    url: str = ""
    protocol: str = ""
    reason: str = "not connected yet"
    since_s: float = 0.0
    reconnects: int = 0
    dropped: int = 0
    heard_s: float | None = None


class Session:
    """One link, to the first broker that lets us in; after a loss the next one is tried first.

    `will` is asked at each connect for the topic and payload that the broker publishes, retained,
    when the link breaks. `on_link` hears of each change and `on_message` of each message, both on
    the event loop; what they raise ends `run`. A session is run once and closed once.
    """

    name = "link"

    def __init__(
        self,
        access: Access,
        *,
        will: Callable[[], tuple[str, bytes] | None],
        on_message: Callable[[str, bytes], None],
        on_link: Callable[[bool, str], None],
        rng: Random,
    ) -> None:
        self._access = access
        self._addresses = tuple(map(parse_url, access.urls))
        assert self._addresses, "choose() answers only with a broker"
        self._will = will
        self._on_message = on_message
        self._on_link = on_link
        self._rng = rng
        self._old: set[str] = set()
        self._silent: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._logged: set[str] = set()
        self._link = Link()
        self._connects = 0
        self._short_links = 0
        self._dropped = 0
        self._connection: Connection | None = None
        self._running: asyncio.Timeout | None = None
        self._left: Loss | None = None
        self._closed = False

    @property
    def link(self) -> Link:
        return replace(self._link, dropped=self._dropped)

    async def run(self) -> None:
        """Hold the link until `close`."""
        if self._closed:
            return
        try:
            async with asyncio.timeout(None) as self._running:
                await self._stay_linked()
        except TimeoutError:  # `close` made it expire
            if not self._closed:
                raise
        finally:
            self._running = None

    async def attempt(self, connect_timeout_s: float) -> Loss:
        """One link to the first broker, until it ends: for an owner that chooses the next."""
        self._left = None
        address = self._addresses[0]
        loss = await self._visit(address, connect_timeout_s)
        self._lost(address, loss)
        return loss

    async def leave(self, why: str) -> None:
        """End the link that there is; the broker is told, so it publishes no will."""
        connection = self._connection
        if connection is not None and self._link.connected:
            self._left = Loss(why)
            await connection.finish()
            connection.end(self._left)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand one message over; never waits. False: it was dropped, and counted."""
        connection = self._connection
        taken = connection is not None and connection.publish(
            topic, payload, qos=qos, retain=retain
        )
        self._dropped += not taken
        return taken

    def hear(self, patterns: tuple[str, ...]) -> None:
        """Subscribe to these, on this link and on all that follow."""
        self._access = replace(self._access, subscriptions=patterns)
        if self._connection is not None:
            self._connection.hear(patterns)

    def tick(self) -> None:
        """Keep the connection alive, and notice when it is dead; call it each second."""
        if self._connection is not None:
            self._connection.tick()

    async def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say a last retained word, take leave (no will is published), and end `run`."""
        if self._closed:
            return
        self._closed = True
        connection = self._connection
        if connection is not None and self._link.connected:
            if farewell:
                self.publish(*farewell, qos=1, retain=True)
            await connection.finish()
            connection.end(CLOSED)
        if self._running is not None:
            self._running.reschedule(0)

    async def _stay_linked(self) -> None:
        failures = 0
        for address in itertools.cycle(self._addresses):
            loss = await self._visit(address, CONNECT_TIMEOUT_S)
            failures = 0 if self._lost(address, loss) else failures + 1
            rounds, others = divmod(failures, len(self._addresses))
            if not others:
                refused = loss.code in (BAD_PASSWORD, NOT_AUTHORIZED)
                await asyncio.sleep(pause_s(rounds, refused=refused, rng=self._rng))

    async def _visit(self, address: Address, timeout_s: float) -> Loss:
        """One attempt, or two where the broker says that it does not speak MQTT 5.

        Some (amqtt) say nothing at all: after silence the next attempt is made with the other
        version. That is not remembered, since a frozen broker is silent too.
        """
        url = address.url
        new = self._access.mqtt5 and url not in self._old | self._silent
        loss = await self._hold(address, "5.0" if new else "3.1.1", timeout_s)
        if loss.code == UNSUPPORTED_VERSION and new:
            self._old.add(url)
            loss = await self._hold(address, "3.1.1", timeout_s)
        if loss.code == NO_ANSWER and new:
            self._silent.add(url)
        else:
            self._silent.discard(url)
        return loss

    async def _hold(self, address: Address, version: Version, timeout_s: float) -> Loss:
        patience = asyncio.timeout(timeout_s)
        try:
            async with patience:
                ca_file = self._access.ca_file
                try:
                    sock = await dial(address, ca_file=ca_file, timeout_s=timeout_s)
                except OSError as error:
                    return unreachable(error, self._access, timeout_s)
                self._connection = Connection(
                    sock,
                    self._access,
                    version=version,
                    will=self._will(),
                    on_open=lambda: self._opened(address, version, patience),
                    on_message=self._on_message,
                )
                return await self._connection.lost
        except TimeoutError:
            if not patience.expired():
                raise
            return no_answer(timeout_s)
        finally:
            if self._connection is not None:
                self._dropped += self._connection.unacknowledged
                self._connection.end(CLOSED)
                self._connection = None

    def _opened(self, address: Address, version: Version, patience: asyncio.Timeout) -> None:
        patience.reschedule(None)
        self._reasons.clear()
        said = f"connected to {address.url} (MQTT {version})"
        self._link = Link(
            connected=True,
            url=address.url,
            protocol=version,
            reason="",
            since_s=asyncio.get_running_loop().time(),
            reconnects=self._connects,
        )
        self._connects += 1
        self._log(logging.INFO, said)
        self._on_link(True, said)  # noqa: FBT003 - a callback takes what it is given

    def _lost(self, address: Address, loss: Loss) -> bool:
        """Note and tell it; True where the link had held well."""
        now_s = asyncio.get_running_loop().time()
        was = self._link
        steady = was.connected and now_s - was.since_s >= STEADY_S
        if steady:
            self._logged.clear()
            self._short_links = 0
        self._short_links += was.connected
        self._reasons[address.url] = self._plainly(loss)
        known = [place.url for place in self._addresses if place.url in self._reasons]
        reason = "; ".join(f"{url}: {self._reasons[url]}" for url in known)
        if was.connected or reason != was.reason:
            since_s = now_s if was.connected else was.since_s
            self._link = replace(was, connected=False, reason=reason, since_s=since_s)
            level = logging.INFO if self._left else logging.WARNING
            self._log(level, f"no link to the broker: {reason}")
            self._on_link(False, reason)  # noqa: FBT003 - a callback takes what it is given
        return steady

    def _plainly(self, loss: Loss) -> str:
        if self._closed:
            return CLOSED.reason
        if self._left:
            return self._left.reason
        if loss.code == TAKEN_OVER or (loss == LOST and self._short_links >= SHORT_LINKS):
            name = self._access.client_id
            return f"it keeps ending our connections: is a second daemon using the name {name}?"
        return loss.reason

    def _log(self, level: int, said: str) -> None:
        """Once, until a link has held well: brokers that come and go would fill the journal."""
        if said not in self._logged and not self._closed:
            self._logged.add(said)
            logger.log(level, said)
