"""amqtt inside the daemon: a broker for a first try where nothing is installed.

Slow, and MQTT 3.1.1 only. amqtt is imported when it is started, and not before.
"""

import asyncio
import logging
from importlib.util import find_spec
from typing import Any

from roheletd.broker import url_of
from roheletd.broker.listening import require_free
from roheletd.errors import Unavailable


def amqtt_installed() -> bool:
    return find_spec("amqtt") is not None


class EmbeddedBroker:
    """One amqtt broker on this event loop; only who knows the password is let in."""

    mqtt5 = False
    """amqtt waits without a word when it is addressed in MQTT 5: a client should know."""

    def __init__(self, *, listen: str, port: int, username: str, password: str) -> None:
        self.url = url_of(listen, port)
        self.reason = ""
        self._listen = listen
        self._port = port
        self._credentials = {"username": username, "password": password}
        self._broker: Any = None

    async def start(self) -> None:
        try:
            from amqtt import broker as amqtt  # noqa: PLC0415 - 20 MB, for those who need it

            from roheletd.broker import on_amqtt  # noqa: PLC0415 - it imports amqtt too
        except ImportError as error:
            raise Unavailable(
                f"broker.mode embedded needs amqtt ({error}); pip install 'roheletd[embedded]'"
            ) from None
        # It warns of each client that tries MQTT 5 first, as ours do.
        logging.getLogger("amqtt").setLevel(logging.ERROR)
        logging.getLogger("transitions").setLevel(logging.ERROR)
        # At its end it waits so long for messages that can no longer be delivered.
        amqtt._BROADCAST_SHUTDOWN_TIMEOUT = 0.2  # noqa: SLF001
        await require_free(self._listen, self._port)
        plugin = f"{on_amqtt.__name__}.{on_amqtt.OnePassword.__name__}"
        host = f"[{self._listen}]" if ":" in self._listen else self._listen
        self._broker = on_amqtt.TidyBroker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{host}:{self._port}"}},
                "plugins": {plugin: self._credentials},
            }
        )
        await self._broker.start()

    async def run(self) -> None:
        """Nothing to look after: it lives and dies with this process."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        if self._broker is not None:
            broker, self._broker = self._broker, None
            await broker.shutdown()
