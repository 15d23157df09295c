"""The resolver as a loop: where it listens, and whom it asks."""

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import dns.flags
import dns.message
import dns.rcode
import pytest
from msgspec.structs import replace

from roheletd.clock import Clock
from roheletd.cluster.names import Zone
from roheletd.cluster.registry import Endpoint, ServicePort
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.loops import resolver as loop_module
from roheletd.loops.resolver import Resolver
from roheletd.resolver.upstream import Upstream, framed
from tests.testbed.network import free_port

ENDPOINT = Endpoint(instance="web.0", node="n1", host="127.0.0.1", port=1, healthy=True)
WEB = ServicePort(
    service="web",
    application="default",
    port=80,
    protocol="tcp",
    service_port=30_000,
    endpoints=(ENDPOINT,),
)


def soft() -> SoftState:
    return SoftState(broker=BrokerLink(mode="none"), engine=EngineLink(kind="docker"))


def resolver(state: SoftState, path: Path, *, port: int, listen: str = "") -> Resolver:
    zone = Zone(
        cluster="edge",
        ports=lambda name: (WEB,) if name == "web" else None,
        address=lambda _node: "10.0.0.1",
        rng=Random(3),
    )
    upstream = Upstream(path, port=free_port())
    return Resolver(
        listen=listen, port=port, zone=zone, soft=state, upstream=upstream, clock=Clock()
    )


@asynccontextmanager
async def running(made: Resolver) -> AsyncIterator[None]:
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ask(port: int, name: str) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
        client.connect(("127.0.0.1", port))
        asked = dns.message.make_query(name, "A")
        await loop.sock_sendall(client, asked.to_wire())
        return dns.message.from_wire(await asyncio.wait_for(loop.sock_recv(client, 4096), 2))


async def test_it_listens_as_soon_as_the_engine_says_where(tmp_path: Path) -> None:
    state, port = soft(), free_port()
    made = resolver(state, tmp_path / "none", port=port)
    async with running(made):
        made.attend()
        assert made.search() == ()
        state.engine = replace(state.engine, host_address="127.0.0.1")
        made.attend()
        found = await ask(port, "web.edge.rohe")
        assert [it.address for it in found.answer[0]] == ["10.0.0.1"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        query = dns.message.make_query("web.edge.rohe", "A").to_wire()
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        assert dns.message.from_wire(await reader.readexactly(size)).answer == found.answer
        writer.close()


async def test_what_nobody_answers_is_told_to_have_failed(tmp_path: Path) -> None:
    port = free_port()
    async with running(resolver(soft(), tmp_path / "none", port=port, listen="127.0.0.1")):
        assert (await ask(port, "example.com")).rcode() == 2


async def test_an_address_that_is_not_there_yet_can_be_listened_at(tmp_path: Path) -> None:
    state = soft()
    async with running(resolver(state, tmp_path / "none", port=free_port(), listen="192.0.2.77")):
        assert "resolver" not in state.notices


async def test_a_port_that_another_program_has_is_told_and_had_once_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "RETRY_S", 0.02)
    state, port = soft(), free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        made = resolver(state, tmp_path / "none", port=port, listen="127.0.0.1")
        async with running(made):
            assert state.notices["resolver"] == (
                f"names are not answered at 127.0.0.1 port {port}, and containers resolve as "
                "their engine does: another program answers there; tried again"
            )
            assert made.search() == ()
            other.close()
            while "resolver" in state.notices:  # noqa: ASYNC110 - it tells nobody else
                await asyncio.sleep(0.01)
            assert (await ask(port, "web.edge.rohe")).answer


async def test_containers_get_it_only_on_the_port_that_they_can_ask(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("search lan\n")
    made = resolver(soft(), path, port=free_port(), listen="127.0.0.1")
    async with running(made):
        assert made.search() == ()
    made = resolver(soft(), path, port=53, listen="127.0.0.99")
    async with running(made):
        assert made.search() == ("edge.rohe", "lan")
    assert made.search() == ()


class Other(asyncio.DatagramProtocol):
    """The machine's own resolver: counts what it is asked, and says nothing."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def datagram_received(self, data: bytes, _client: object) -> None:
        self.asked.append(data)


@asynccontextmanager
async def asked_beyond(made: Resolver) -> AsyncIterator[Other]:
    loop = asyncio.get_running_loop()
    port = made._upstream._port
    transport, other = await loop.create_datagram_endpoint(Other, local_addr=("127.0.0.1", port))
    try:
        yield other
    finally:
        transport.close()


async def test_what_is_no_query_is_asked_of_nobody(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\n")
    made = resolver(soft(), path, port=port, listen="127.0.0.1")
    query = dns.message.make_query("example.com", "A").to_wire()
    answer = query[:2] + bytes([query[2] | 0x80]) + query[3:]
    ours = dns.message.make_query("web.edge.rohe", "A")
    ours.flags |= dns.flags.QR
    async with running(made), asked_beyond(made) as other:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for data in (b"", b"x", query[:11], answer, ours.to_wire(), query):
                client.sendto(data, ("127.0.0.1", port))
        async with asyncio.timeout(2):
            while not other.asked:  # noqa: ASYNC110 - it tells nobody else
                await asyncio.sleep(0.01)
        assert other.asked == [query]


async def test_connections_that_ask_nothing_keep_nobody_from_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "IN_FLIGHT_MAX", 4)
    monkeypatch.setattr(loop_module, "TALKS_MAX", 6)
    port = free_port()
    async with running(resolver(soft(), tmp_path / "none", port=port, listen="127.0.0.1")):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
        assert (await ask(port, "example.com")).rcode() == dns.rcode.SERVFAIL
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "one that is too many"
        for it in (writer, *(writer for _, writer in silent)):
            it.close()


async def test_who_asks_and_does_not_listen_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "TCP_S", 1.0)
    monkeypatch.setattr(loop_module, "LINGER_S", 0.1)
    query = dns.message.make_query("web.edge.rohe", "A").to_wire()
    ours, deaf = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with deaf:
        deaf.sendall(framed(query) * 3000)
        await resolver(soft(), tmp_path / "none", port=free_port())._talk(ours)
        async with asyncio.timeout(2):
            while ours.fileno() >= 0:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)


async def test_without_descriptors_it_waits_and_does_not_spin(tmp_path: Path) -> None:
    soft_limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    port = free_port()
    async with running(resolver(soft(), tmp_path / "none", port=port, listen="127.0.0.1")):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setblocking(False)  # noqa: FBT003
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
            try:
                taken = all_descriptors()
                client.connect_ex(("127.0.0.1", port))
                begun_s = time.process_time()
                await asyncio.sleep(0.4)
                assert time.process_time() - begun_s < 0.1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit, hard))
                for it in taken:
                    it.close()
            query = dns.message.make_query("web.edge.rohe", "A").to_wire()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, framed(query))
            assert await asyncio.wait_for(loop.sock_recv(client, 2), 2)


def all_descriptors() -> list[socket.socket]:
    taken = []
    with suppress(OSError):
        while True:
            taken.append(socket.socket())
    return taken
