"""Checks the health of what runs on this node, each instance when its next check is due.

The daemon asks by itself, and not the engine: engines write each result to flash, and Podman makes
no checks at all without systemd. Sleeps until the next check is due or an instance changes.
"""

import asyncio
import os
from typing import TYPE_CHECKING

from roheletd.clock import Clock
from roheletd.cluster.instances import Check
from roheletd.cluster.streams import ExecWanted
from roheletd.engines import Engine, EngineError, ExecSession
from roheletd.errors import Unavailable
from roheletd.loops.instance_news import InstanceNews
from roheletd.loops.waiting import news_or_time
from roheletd.upkeep import HealthCheck

if TYPE_CHECKING:
    from aiohttp import ClientSession

CHECKS_AT_ONCE = 8
ENGINE_AGAIN_S = 1.0
LINE_BYTES_MAX = 200
HERE = "127.0.0.1"
HTTP_STATUS_BAD = 400


class Prober:
    """One task for each check that is under way, at most `CHECKS_AT_ONCE` of them at work."""

    name = "prober"

    def __init__(self, *, engine: Engine, news: InstanceNews, clock: Clock) -> None:
        self._engine = engine
        self._news = news
        self._clock = clock
        self._asking: set[str] = set()
        self._slots = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._wake = asyncio.Event()
        self._session: ClientSession | None = None

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as checks:
                while True:
                    self._wake.clear()
                    due, next_s = self._news.due()
                    for check in due:
                        name = check.spec.instance
                        if name not in self._asking:
                            self._asking.add(name)
                            checks.create_task(self._check(check), name=f"check of {name}")
                    await news_or_time(self._wake, next_s, self._clock)
        finally:
            if self._session is not None:
                await self._session.close()

    async def _check(self, check: Check) -> None:
        try:
            async with self._slots:
                asked_s = self._clock.now_s()
                fault = await self._fault(check)
            self._news.answered(check, fault, asked_s=asked_s)
        except Unavailable:
            # The engine's trouble says nothing of the instance.
            await asyncio.sleep(ENGINE_AGAIN_S)
        finally:
            self._asking.discard(check.spec.instance)
            self._wake.set()

    async def _fault(self, check: Check) -> str:
        """What is wrong with an instance; empty where all is well."""
        health = check.spec.health
        assert health is not None, "nothing else is checked"
        try:
            async with asyncio.timeout(health.patience_s):
                found = await self._ask(check, health)
        except TimeoutError:
            found = f"no answer within {health.patience_s:g} s"
        return found and f"{_named(health)}: {found}"

    async def _ask(self, check: Check, health: HealthCheck) -> str:
        if health.exec is not None:
            return await self._exec(check, health.exec.command)
        if health.tcp is not None:
            return await _connect(*_place(check, health.tcp.port))
        assert health.http is not None, "there is one of the three"
        return await self._get(*_place(check, health.http.port), health.http.path)

    async def _exec(self, check: Check, command: tuple[str, ...]) -> str:
        wanted = ExecWanted(instance=check.spec.instance, command=command)
        try:
            session = await self._engine.exec_session(check.container.id, wanted)
            try:
                said = await _last_line(session)
                code, trouble = await session.exit_code()
            finally:
                await session.close()
        except EngineError as error:
            return str(error)
        if trouble or not code:
            return trouble
        return f"ended with exit code {code}" + (f": {said}" if said else "")

    async def _get(self, host: str, port: int, path: str) -> str:
        """Only the head of the answer is read, and where it leads elsewhere nobody follows."""
        from aiohttp import ClientError, ClientSession, TCPConnector  # noqa: PLC0415 - 14 MB

        if self._session is None:
            connector = TCPConnector(limit=CHECKS_AT_ONCE, force_close=True)
            self._session = ClientSession(connector=connector)
        url = f"http://{_bracketed(host)}:{port}{path}"
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                answer.close()
                return "" if answer.status < HTTP_STATUS_BAD else str(answer.status)
        except OSError as error:
            return _explained(error)
        except ClientError:
            return "no HTTP answer"


def _place(check: Check, port: int) -> tuple[str, int]:
    """The instance's own address, or where this machine leads to that port of it.

    A port that is not among those of the service is that of the machine, where an instance has no
    address of its own.
    """
    if check.container.address:
        return check.container.address, port
    bound = (it for it in check.spec.ports if it.protocol == "tcp" and it.container_port == port)
    return HERE, next((it.host_port for it in bound), port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _named(health: HealthCheck) -> str:
    if health.http is not None:
        return f"GET {health.http.path} on port {health.http.port}"
    if health.tcp is not None:
        return f"port {health.tcp.port}"
    assert health.exec is not None, "there is one of the three"
    return health.exec.command[0]


async def _connect(host: str, port: int) -> str:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return _explained(error)
    writer.transport.abort()  # no lingering for what nobody wants to say
    return ""


def _explained(error: OSError) -> str:
    number = error.errno if error.errno is not None else 0
    return os.strerror(number).lower() if number else str(error)


async def _last_line(session: ExecSession) -> str:
    end = b""
    while (part := await session.read()) is not None:
        end = (end + part[0])[-LINE_BYTES_MAX:]
    return end.decode(errors="replace").strip().rpartition("\n")[2].strip()
