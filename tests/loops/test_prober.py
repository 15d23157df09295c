"""The prober against real sockets of this machine, and against an engine in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from roheletd.clock import Clock
from roheletd.cluster.container import Container
from roheletd.cluster.instances import Check
from roheletd.engines import EngineError
from roheletd.engines.failed import Failed
from roheletd.errors import Unavailable
from roheletd.loops.prober import CHECKS_AT_ONCE, Prober
from roheletd.model import PortBinding
from roheletd.testing import MemoryEngine
from roheletd.upkeep import ExecCheck, HealthCheck, HttpCheck, TcpCheck
from tests.engines.conftest import make_spec
from tests.loops.stage import running
from tests.testbed.network import free_port

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class Ward:
    """Instances that are due at once, and what was found of each."""

    def __init__(self, *checks: Check) -> None:
        self.waiting = list(checks)
        self.found: dict[str, str] = {}
        self._all = asyncio.Event()

    def due(self) -> tuple[tuple[Check, ...], float]:
        return tuple(self.waiting), float("inf")

    def answered(self, check: Check, fault: str, *, asked_s: float) -> None:
        assert asked_s <= Clock().now_s()
        self.waiting.remove(check)
        self.found[check.spec.instance] = fault
        if not self.waiting:
            self._all.set()

    async def examined(self, engine: object = None) -> dict[str, str]:
        prober = Prober(engine=engine or MemoryEngine(), news=self, clock=Clock())  # type: ignore[arg-type]
        async with running(prober), asyncio.timeout(10):
            await self._all.wait()
        return self.found


def a_check(instance: str, *, address: str = "127.0.0.1", ports: object = (), **kind: object):
    health = HealthCheck(**{"timeout_s": 0.2, **kind})  # type: ignore[arg-type]
    spec = make_spec("edge", instance=instance, health=health, ports=ports)
    return Check(
        spec=spec,
        container=Container(
            id=f"id-{instance}", instance=instance, digest="d1", state="running", address=address
        ),
        begun_s=0.0,
    )


def http(instance: str, port: int, path: str = "/healthz", **more: object) -> Check:
    return a_check(instance, http=HttpCheck(port=port, path=path), **more)


@asynccontextmanager
async def served(answer: bytes) -> AsyncIterator[int]:
    """A server that answers this to whatever it reads, or never if that is nothing."""
    connections: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        await reader.read(1)
        if answer:
            writer.write(answer)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in connections:
            writer.close()
        await asyncio.sleep(0)


def said(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found"])
async def test_an_answer_below_400_is_healthy_wherever_it_leads(status: str) -> None:
    async with served(said(status)) as port:
        assert await Ward(http("web", port)).examined() == {"web": ""}


async def test_a_bad_status_no_answer_nonsense_and_nobody_are_told_apart() -> None:
    nobody = free_port()
    async with served(said("503 Busy")) as bad, served(b"") as mute, served(b"hello\n") as odd:
        found = await Ward(
            http("bad", bad), http("mute", mute), http("odd", odd), http("none", nobody)
        ).examined()
    assert found == {
        "bad": f"GET /healthz on port {bad}: 503",
        "mute": f"GET /healthz on port {mute}: no answer within 0.2 s",
        "odd": f"GET /healthz on port {odd}: no HTTP answer",
        "none": f"GET /healthz on port {nobody}: connection refused",
    }


async def test_an_endless_body_is_not_read() -> None:
    async with served(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1 << 20)) as port:
        assert await Ward(http("web", port)).examined() == {"web": ""}


async def test_a_port_that_takes_a_connection_is_healthy_and_another_is_not() -> None:
    nobody = free_port()
    async with served(b"") as port:
        found = await Ward(
            a_check("web", tcp=TcpCheck(port=port)), a_check("none", tcp=TcpCheck(port=nobody))
        ).examined()
    assert found == {"web": "", "none": f"port {nobody}: connection refused"}


async def test_without_an_address_of_its_own_the_port_of_the_machine_is_asked() -> None:
    async with served(b"") as port:
        bound = PortBinding(container_port=80, host_port=port)
        udp = PortBinding(container_port=80, host_port=1, protocol="udp")
        found = await Ward(
            a_check("web", address="", ports=(udp, bound), tcp=TcpCheck(port=80)),
            a_check("host", address="", tcp=TcpCheck(port=port)),
        ).examined()
    assert found == {"web": "", "host": ""}


class ExecEngine(MemoryEngine):
    """Commands within instances end as it was told."""

    def __init__(self, ends: object) -> None:
        super().__init__()
        self.ends = ends
        self.asked_times = 0
        self.at_once = self.at_once_max = 0

    async def exec_session(self, container_id: str, wanted: object) -> Failed:
        assert container_id.startswith("id-"), wanted
        self.at_once += 1
        self.asked_times += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            await asyncio.sleep(0.01)
        finally:
            self.at_once -= 1
        if isinstance(self.ends, Exception):
            raise self.ends
        assert isinstance(self.ends, Failed)
        return self.ends


def a_command(instance: str = "web") -> Check:
    return a_check(instance, exec=ExecCheck(command=("check",)))


async def test_a_command_is_healthy_with_0_and_what_cannot_be_started_says_why() -> None:
    assert await Ward(a_command()).examined(ExecEngine(Failed(0, ""))) == {"web": ""}
    found = await Ward(a_command()).examined(ExecEngine(Failed(2, "")))
    assert found == {"web": "check: ended with exit code 2"}
    found = await Ward(a_command()).examined(ExecEngine(Failed(127, "no such command")))
    assert found == {"web": "check: no such command"}
    found = await Ward(a_command()).examined(ExecEngine(EngineError("web has just ended")))
    assert found == {"web": "check: web has just ended"}


async def test_an_engine_that_does_not_answer_says_nothing_of_its_instances() -> None:
    ward, engine = Ward(a_command()), ExecEngine(Unavailable("gone"))
    prober = Prober(
        engine=engine,
        news=ward,  # type: ignore[arg-type]
        clock=Clock(),
    )
    async with running(prober):
        await asyncio.sleep(0.05)
    assert ward.found == {}
    assert engine.asked_times == 1, "and is not asked again at once"


async def test_no_more_than_some_are_checked_at_once() -> None:
    engine = ExecEngine(Failed(0, ""))
    checks = [a_command(f"web-{number}") for number in range(3 * CHECKS_AT_ONCE)]
    assert len(await Ward(*checks).examined(engine)) == len(checks)
    assert engine.at_once_max == CHECKS_AT_ONCE
