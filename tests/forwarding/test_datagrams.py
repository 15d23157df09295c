"""UDP through a stable port, with real sockets."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from roheletd.forwarding.datagrams import IDLE_S, UdpPort
from roheletd.testing import ManualClock
from tests.forwarding.servers import endpoint
from tests.testbed.network import free_port


class Echo(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: set[object] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, client: object) -> None:
        self.clients.add(client)
        self.transport.sendto(self.name.encode() + data, client)


async def echo(name: str) -> tuple[Echo, int]:
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: Echo(name), local_addr=("127.0.0.1", 0)
    )
    return made, transport.get_extra_info("sockname")[1]


@contextmanager
def stable(clock: ManualClock, host: str = "127.0.0.1", **options: int) -> Iterator[tuple]:
    port = free_port()
    made = UdpPort(clock, host, port, **options)
    try:
        yield made, port
    finally:
        made.close()


async def say(client: socket.socket, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, data)
    return await asyncio.wait_for(loop.sock_recv(client, 65_535), 2)


def client_of(port: int, host: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)  # noqa: FBT003
    made.connect((host, port))
    return made


async def test_a_client_stays_with_its_endpoint_and_hears_its_answers() -> None:
    (a, one), (b, other) = await echo("a"), await echo("b")
    with stable(ManualClock()) as (made, port), client_of(port) as first, client_of(port) as second:
        made.serve([endpoint(one, "s.0"), endpoint(other, "s.1")])
        said = [await say(first, b"1"), await say(first, b"2"), await say(second, b"3")]
    assert said == [b"a1", b"a2", b"b3"]
    for it in (a, b):
        assert len(it.clients) == 1
        it.transport.close()


async def test_a_large_datagram_comes_back_whole() -> None:
    a, one = await echo("a")
    with stable(ManualClock()) as (made, port), client_of(port) as client:
        made.serve([endpoint(one)])
        assert await say(client, bytes(60_000)) == b"a" + bytes(60_000)
    a.transport.close()


async def test_an_answer_comes_from_the_address_that_was_written_to() -> None:
    a, one = await echo("a")
    with stable(ManualClock(), "0.0.0.0") as (made, port), client_of(port, "127.0.0.3") as client:
        made.serve([endpoint(one)])
        assert await say(client, b"!") == b"a!"
    a.transport.close()


async def test_where_nobody_listens_the_next_datagram_goes_elsewhere() -> None:
    a, one = await echo("a")
    with stable(ManualClock()) as (made, port), client_of(port) as client:
        made.serve([endpoint(free_port(), "s.0", local=True), endpoint(one, "s.1")])
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(2):
            while True:
                await loop.sock_sendall(client, b"?")
                try:
                    assert await asyncio.wait_for(loop.sock_recv(client, 10), 0.05) == b"a?"
                    break
                except TimeoutError:
                    continue
    a.transport.close()


async def test_flows_are_bounded_and_the_one_silent_for_longest_goes() -> None:
    a, one = await echo("a")
    with stable(ManualClock(), flows_max=2) as (made, port):
        made.serve([endpoint(one)])
        clients = [client_of(port) for _ in range(3)]
        for client in (*clients, clients[0]):
            assert await say(client, b"") == b"a"
            client_count = len(made._flows)
            assert client_count <= 2
        assert len(a.clients) == 4, "the first one began anew"
        for client in clients:
            client.close()
    a.transport.close()


async def test_a_silent_flow_is_forgotten() -> None:
    a, one = await echo("a")
    clock = ManualClock()
    with stable(clock) as (made, port), client_of(port) as client:
        made.serve([endpoint(one)])
        await say(client, b"")
        clock.advance(IDLE_S)
        made._sweep()
        assert not made._flows
        assert await say(client, b"") == b"a"
    a.transport.close()


async def test_a_flow_to_an_endpoint_that_is_gone_begins_anew() -> None:
    (a, one), (b, other) = await echo("a"), await echo("b")
    with stable(ManualClock()) as (made, port), client_of(port) as client:
        made.serve([endpoint(one, "s.0")])
        assert await say(client, b"") == b"a"
        made.serve([endpoint(other, "s.1")])
        assert await say(client, b"") == b"b"
    for it in (a, b):
        it.transport.close()
