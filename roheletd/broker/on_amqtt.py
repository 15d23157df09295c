"""What the embedded broker adds to amqtt's own classes; importing this imports amqtt."""

import asyncio
import hmac
from contextlib import suppress
from dataclasses import dataclass

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session


class OnePassword(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets in who gives the one user name and password of this broker. amqtt loads it by name."""

    @dataclass
    class Config:
        """What amqtt fills in from the broker's configuration."""

        username: str
        password: str

    async def authenticate(self, *, session: Session) -> bool:
        given = f"{session.username}:{session.password}"
        expected = f"{self.config.username}:{self.config.password}"
        return hmac.compare_digest(given.encode(), expected.encode())


class TidyBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """amqtt, which else leaves open the connection of a client that hung up first."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        try:
            with suppress(OSError):
                await super().stream_connected(reader, writer, listener_name)
        finally:
            writer.close()
