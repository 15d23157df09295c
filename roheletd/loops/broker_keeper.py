"""Keeps this node's own broker up; one that cannot start does not keep the node from working."""

import asyncio
import logging
from random import Random
from typing import Protocol

from roheletd.broker import pause_s
from roheletd.errors import Unavailable

logger = logging.getLogger(__name__)


class OwnBroker(Protocol):
    """A broker that this daemon starts; `run` starts it again when it dies.

    `reason` says why it does not run, and is empty while it does.
    """

    url: str
    mqtt5: bool
    reason: str

    async def start(self) -> None: ...

    async def run(self) -> None: ...

    async def close(self) -> None: ...


class BrokerKeeper:
    """Starts the broker once it is needed, however long that takes, and closes it at the end.

    `tried` is set after the first attempt: to look for the broker earlier would only be noise.
    """

    name = "broker"

    def __init__(self, broker: OwnBroker, *, rng: Random) -> None:
        self.reason = "is being started"
        self.tried = asyncio.Event()
        self._needed = asyncio.Event()
        self._broker = broker
        self._rng = rng

    @property
    def is_needed(self) -> bool:
        return self._needed.is_set()

    def need(self) -> None:
        """Have it started; from then on it stays."""
        self._needed.set()

    @property
    def trouble(self) -> str:
        """Why there is no broker now; empty while there is one."""
        return (self.reason or self._broker.reason) if self.is_needed else ""

    async def run(self) -> None:
        await self._needed.wait()
        try:
            await self._keep()
        finally:
            await self._broker.close()

    async def _keep(self) -> None:
        while True:
            await self._start()
            try:
                await self._broker.run()
            except OSError as error:  # its program is gone, or there is no memory for it
                self._complain(error)
            else:
                return

    async def _start(self) -> None:
        attempt = 0
        while True:
            try:
                await self._broker.start()
            except (Unavailable, OSError) as error:
                self._complain(error)
            else:
                self.reason = ""
                self.tried.set()
                return
            self.tried.set()
            # A port that somebody holds is not free again in a tenth of a second.
            await asyncio.sleep(pause_s(attempt, refused=True, rng=self._rng))
            attempt += 1

    def _complain(self, error: Unavailable | OSError) -> None:
        reason = f"{error}" if isinstance(error, Unavailable) else f"no broker of our own: {error}"
        if reason != self.reason:
            logger.warning("%s", reason)
        self.reason = reason
