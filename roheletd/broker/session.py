"""The link to one broker, on the event loop, with no timer of its own.

It is made when the owner says so and not made again by itself: what comes after a loss is decided
in `walk`. A connection that breaks is thrown away with what was in flight; the owner hears of the
new one and says again what matters. Everything works on MQTT 3.1.1; MQTT 5 is tried first. The
owner calls `tick()` about once a second, which is all that keepalive needs.
"""

import asyncio
import logging
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from roheletd.broker import parse_url
from roheletd.broker.channel import dial
from roheletd.broker.connection import (
    CLOSED,
    LOST,
    NO_ANSWER,
    TAKEN_OVER,
    UNSUPPORTED_VERSION,
    Access,
    Connection,
    Loss,
    Version,
    no_answer,
    unreachable,
)
from roheletd.broker.walk import STEADY_S

__all__ = ["Access", "Link", "Session"]

logger = logging.getLogger(__name__)

SHORT_LINKS = 3
"""So many connections lost soon after they were made are the mark of two clients with one name:
mosquitto 2.0 does not say so."""


class Link(Struct, frozen=True, kw_only=True):
    """The state of the link. `reason` says why there is none; `since_s` is on the loop's clock.

    `dropped` counts messages that were refused or lost for want of a link, or of room on it.
    `heard_s` is when another node was last heard over it, where somebody keeps account of that.
    """

    url: str
    connected: bool = False
    protocol: str = ""
    reason: str = "not connected yet"
    since_s: float = 0.0
    reconnects: int = 0
    dropped: int = 0
    heard_s: float | None = None


class Session:
    """One broker: how it wants to be spoken to, and the link to it while there is one.

    `will` is asked at each connect for the topic and payload that the broker publishes, retained,
    when the link breaks. `on_link` hears of each change and `on_message` of each message, both on
    the event loop; what they raise ends the attempt. There is one attempt at a time.
    """

    def __init__(
        self,
        url: str,
        access: Access,
        *,
        will: Callable[[], tuple[str, bytes] | None],
        on_message: Callable[[str, bytes], None],
        on_link: Callable[[bool, str], None],
    ) -> None:
        self._address = parse_url(url)
        self._access = access
        self._will = will
        self._on_message = on_message
        self._on_link = on_link
        self._old = not access.mqtt5
        self._silent = False
        self._logged: set[str] = set()
        self._link = Link(url=url)
        self._connects = 0
        self._short_links = 0
        self._dropped = 0
        self._connection: Connection | None = None
        self._left = ""
        self._closed = False

    @property
    def link(self) -> Link:
        return replace(self._link, dropped=self._dropped)

    async def attempt(self, connect_timeout_s: float) -> Loss:
        """Make the link and hold it until it ends, or say why it did not come about."""
        self._left = ""
        loss = await self._visit(connect_timeout_s)
        self._lost(loss)
        return loss

    async def leave(self, why: str) -> None:
        """End the link that there is; the broker is told, so it publishes no will."""
        connection = self._connection
        if connection is not None and self._link.connected:
            self._left = why
            await connection.finish()
            connection.end(Loss(why))

    async def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Leave for good, after a last retained word. Without a link, cancel the attempt."""
        self._closed = True
        if farewell and self._link.connected:
            self.publish(*farewell, qos=1, retain=True)
        await self.leave(CLOSED.reason)

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

    async def _visit(self, timeout_s: float) -> Loss:
        """One connection, or two where the broker says that it does not speak MQTT 5.

        Some (amqtt) say nothing at all: after silence the next attempt is made with the other
        version. That is not remembered, since a frozen broker is silent too.
        """
        new = not (self._old or self._silent)
        loss = await self._hold("5.0" if new else "3.1.1", timeout_s)
        if new and loss.code == UNSUPPORTED_VERSION:
            self._old = True
            loss = await self._hold("3.1.1", timeout_s)
        self._silent = new and loss.code == NO_ANSWER
        return loss

    async def _hold(self, version: Version, timeout_s: float) -> Loss:
        patience = asyncio.timeout(timeout_s)
        try:
            async with patience:
                ca_file = self._access.ca_file
                try:
                    sock = await dial(self._address, ca_file=ca_file, timeout_s=timeout_s)
                except OSError as error:
                    return unreachable(error, self._access, timeout_s)
                self._connection = Connection(
                    sock,
                    self._access,
                    version=version,
                    will=self._will(),
                    on_open=lambda: self._opened(version, patience),
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

    def _opened(self, version: Version, patience: asyncio.Timeout) -> None:
        patience.reschedule(None)
        self._link = replace(
            self._link,
            connected=True,
            protocol=version,
            reason="",
            since_s=asyncio.get_running_loop().time(),
            reconnects=self._connects,
        )
        self._connects += 1
        said = f"connected to {self._address.url} (MQTT {version})"
        self._log(logging.INFO, said)
        self._on_link(True, said)  # noqa: FBT003 - a callback takes what it is given

    def _lost(self, loss: Loss) -> None:
        now_s = asyncio.get_running_loop().time()
        was = self._link
        if was.connected and now_s - was.since_s >= STEADY_S:
            self._logged.clear()
            self._short_links = 0
        self._short_links += was.connected
        reason = f"{self._address.url}: {self._plainly(loss)}"
        if was.connected or reason != was.reason:
            since_s = now_s if was.connected else was.since_s
            self._link = replace(was, connected=False, reason=reason, since_s=since_s)
            level = logging.INFO if self._left else logging.WARNING
            self._log(level, f"no link to the broker: {reason}")
            self._on_link(False, reason)  # noqa: FBT003 - a callback takes what it is given

    def _plainly(self, loss: Loss) -> str:
        if self._left:
            return self._left
        if loss.code == TAKEN_OVER or (loss == LOST and self._short_links >= SHORT_LINKS):
            name = self._access.client_id
            return f"it keeps ending our connections: is a second daemon using the name {name}?"
        return loss.reason

    def _log(self, level: int, said: str) -> None:
        """Once, until a link has held well: brokers that come and go would fill the journal."""
        if said not in self._logged and not self._closed:
            self._logged.add(said)
            logger.log(level, said)
