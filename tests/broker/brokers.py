"""A real mosquitto to be killed and frozen, and an owner of a session that remembers."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

from roheletd.broker.session import Access, Session
from tests.testbed import requirements

MOSQUITTO_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A broker of the test's own on a fixed port; without persistence, as ours are."""

    def __init__(self, directory: Path, extra: str = "allow_anonymous true\n") -> None:
        requirements.need("mosquitto")
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = directory / f"mosquitto-{self.port}.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\npersistence false\nuser root\n"
            f"log_type error\nmax_queued_messages 0\n{extra}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)],
            env={"PATH": MOSQUITTO_PATH},
            stderr=subprocess.DEVNULL,
        )
        wait_until_open(self.port)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)


def wait_until_open(port: int, patience_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline_s, f"nothing listens on port {port}"
            time.sleep(0.01)
        else:
            return


class Owner:
    """What the daemon is to a session. `until` waits for what the session tells."""

    def __init__(self, will: tuple[str, bytes] | None = None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.links: list[tuple[bool, str]] = []
        self.attempts = 0
        self._will = will
        self._changed = asyncio.Event()
        self.session: Session

    def will(self) -> tuple[str, bytes] | None:
        self.attempts += 1
        self._changed.set()
        return self._will

    def on_message(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))
        self._changed.set()

    def on_link(self, connected: bool, reason: str) -> None:  # noqa: FBT001 - the session's shape
        self.links.append((connected, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], object], patience_s: float = 10.0) -> None:
        async with asyncio.timeout(patience_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def linked(self) -> None:
        await self.until(lambda: self.session.link.connected)

    async def unlinked(self, reason: str, patience_s: float = 10.0) -> None:
        await self.until(lambda: self.links and not self.links[-1][0], patience_s)
        assert reason in self.session.link.reason


@contextlib.asynccontextmanager
async def session(
    *urls: str, owner: Owner | None = None, tick_s: float = 1.0, **access: object
) -> AsyncIterator[Owner]:
    """A running session, ticked by its owner, closed at the end."""
    owner = owner or Owner()
    settings = {"client_id": f"test-{id(owner):x}", "subscriptions": ("t/#",), **access}
    owner.session = Session(
        Access(urls=urls, **settings),
        will=owner.will,
        on_message=owner.on_message,
        on_link=owner.on_link,
        rng=Random(1),
    )

    async def tick() -> None:
        while True:
            await asyncio.sleep(tick_s)
            owner.session.tick()

    running = [asyncio.create_task(owner.session.run()), asyncio.create_task(tick())]
    try:
        yield owner
    finally:
        await owner.session.close()
        running[1].cancel()
        async with asyncio.timeout(1):
            await asyncio.wait(running)
        running[0].result()
