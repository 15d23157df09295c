"""A real mosquitto to be killed and frozen, a hostile one, and an owner of links that remembers."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from pathlib import Path
from random import Random
from typing import Any

from roheletd.broker.links import Links
from roheletd.broker.session import Access, Session
from tests.testbed import requirements
from tests.testbed.network import free_port

MOSQUITTO_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


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


@contextlib.asynccontextmanager
async def hostile(answers: Iterable[bytes]) -> AsyncIterator[str]:
    """The URL of a server that answers each connection with the next of these, and hangs up."""
    following = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(next(following, b""))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Owner:
    """What the daemon is to its links, or to one of them. `until` waits for what it is told."""

    def __init__(self, will: tuple[str, bytes] | None = None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.said: list[tuple[bool, str]] = []
        self.attempts = 0
        self._will = will
        self._changed = asyncio.Event()
        self.session: Session
        self.links: Links
        self.running: asyncio.Task[object]

    def will(self) -> tuple[str, bytes] | None:
        self.attempts += 1
        self._changed.set()
        return self._will

    def on_message(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))
        self._changed.set()

    def on_link(self, connected: bool, reason: str) -> None:  # noqa: FBT001 - the session's shape
        self.said.append((connected, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], object], patience_s: float = 10.0) -> None:
        async with asyncio.timeout(patience_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def linked(self) -> None:
        await self.until(lambda: self.said and self.said[-1][0])

    async def unlinked(self, reason: str, patience_s: float = 10.0) -> None:
        await self.until(lambda: self.said and not self.said[-1][0], patience_s)
        assert reason in self.said[-1][1]


@contextlib.asynccontextmanager
async def session(
    url: str, *, owner: Owner | None = None, tick_s: float = 1.0, **access: object
) -> AsyncIterator[Owner]:
    """One attempt at a link."""
    owner = owner or Owner()
    owner.session = Session(
        url,
        _access(owner, access),
        will=owner.will,
        on_message=owner.on_message,
        on_link=owner.on_link,
    )
    async with _kept(owner, owner.session, owner.session.attempt(5), tick_s):
        yield owner


@contextlib.asynccontextmanager
async def links(
    *urls: str, owner: Owner | None = None, tick_s: float = 1.0, **access: object
) -> AsyncIterator[Owner]:
    """One link, which is made again for as long as the test lasts."""
    owner = owner or Owner()
    owner.links = Links(
        _access(owner, access),
        will=owner.will,
        on_message=lambda topic, payload, _link: owner.on_message(topic, payload),
        on_link=owner.on_link,
        rng=Random(1),
    )
    owner.links.want(urls, 1)
    async with _kept(owner, owner.links, owner.links.run(), tick_s):
        yield owner


def _access(owner: Owner, settings: dict[str, Any]) -> Access:
    return Access(**{"client_id": f"test-{id(owner):x}", "subscriptions": ("t/#",), **settings})


@contextlib.asynccontextmanager
async def _kept(
    owner: Owner, held: Session | Links, run: Coroutine[Any, Any, object], tick_s: float
) -> AsyncIterator[None]:
    """Runs and is ticked; is closed at the end, and then ends soon."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(tick_s)
            held.tick()

    owner.running, ticking = asyncio.create_task(run), asyncio.create_task(tick())
    try:
        yield
    finally:
        await held.close()
        ticking.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait({owner.running, ticking})
        owner.running.result()
