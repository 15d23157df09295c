"""UDP through a stable port, with real sockets."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from roheletd.cluster.registry import Endpoint
from roheletd.forwarding.datagrams import IDLE_S, Datagrams, UdpPort
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
    with one_of(Datagrams(clock, **options), host) as found:
        yield found


@contextmanager
def one_of(datagrams: Datagrams, host: str = "127.0.0.1") -> Iterator[tuple]:
    port = free_port()
    made = UdpPort(datagrams, host, port)
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


async def test_a_flood_of_one_port_costs_the_flows_of_another_one_nothing() -> None:
    (a, one), (b, other) = await echo("a"), await echo("b")
    shared = Datagrams(ManualClock(), flows_max=4)
    with (
        one_of(shared) as (flooded, port),
        one_of(shared) as (quiet, quiet_port),
        client_of(quiet_port) as client,
    ):
        flooded.serve([endpoint(one, "s.0")])
        quiet.serve([endpoint(other, "t.0")])
        assert await say(client, b"!") == b"b!"
        for _ in range(20):
            with client_of(port) as stranger:
                assert await say(stranger, b"!") == b"a!"
            assert len(flooded._flows) + len(quiet._flows) <= 4
        assert await say(client, b"!") == b"b!"
        assert len(b.clients) == 1
    assert shared.count == 0
    for it in (a, b):
        it.transport.close()


async def test_an_endpoint_that_goes_while_it_is_looked_up_is_not_led_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (a, one), (b, other) = await echo("a"), await echo("b")
    with stable(ManualClock()) as (made, port), client_of(port) as client:

        async def late(*_: object, **__: object) -> list[tuple[object, ...]]:
            made.serve([endpoint(other, "s.1")])
            return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("127.0.0.1", one))]

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", late)
        gone = Endpoint(instance="s.0", node="n", host="n.lan", port=one, healthy=True)
        made.serve([gone])
        await loop.sock_sendall(client, b"?")  # is lost, as a datagram may be
        async with asyncio.timeout(2):
            while not made._flows or made._dialling:
                await asyncio.sleep(0.01)
                await loop.sock_sendall(client, b"!")
        assert await say(client, b"!") == b"b!"
        assert not a.clients
    for it in (a, b):
        it.transport.close()


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
