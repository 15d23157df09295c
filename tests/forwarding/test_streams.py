"""TCP through a stable port, with real sockets."""

import asyncio
import socket
import time

import pytest

from roheletd.cluster.registry import Endpoint
from roheletd.forwarding import relay
from roheletd.forwarding.relay import READ_BYTES_MAX, reset
from tests.forwarding.servers import answering, ask, asked, endpoint, serving, silent_port, stable
from tests.testbed.network import free_port


async def test_connections_are_spread_over_the_healthy_ones() -> None:
    async with (
        answering("a") as a,
        answering("b") as b,
        stable(endpoint(a, "web.0"), endpoint(b, "web.1")) as (_, port),
    ):
        found = await asked(port, 10)
    assert sorted(set(found)) == ["a", "b"]
    assert found.count("a") == 5


async def test_a_refused_connection_goes_to_the_next_and_the_refuser_rests() -> None:
    async with answering("b") as b:
        ends = endpoint(free_port(), "web.0", local=True), endpoint(b, "web.1")
        async with stable(*ends) as (_, port):
            begun_s = time.monotonic()
            assert await asked(port, 20) == ["b"] * 20
            assert time.monotonic() - begun_s < 1.0


async def test_one_that_says_nothing_costs_a_connection_less_than_a_second() -> None:
    with silent_port() as silent:
        taken = [socket.socket() for _ in range(3)]
        for it in taken:
            it.setblocking(False)  # noqa: FBT003
            it.connect_ex(silent.getsockname())
        async with answering("b") as b:
            dead = endpoint(silent.getsockname()[1], "web.0", local=True)
            async with stable(dead, endpoint(b, "web.1")) as (_, port):
                begun_s = time.monotonic()
                assert await ask(port) == "b"
                assert time.monotonic() - begun_s < 0.9
        for it in taken:
            it.close()


async def test_an_own_address_goes_first_and_once_it_was_reached_nothing_else_is_tried() -> None:
    async with answering("own") as own, answering("proxy") as proxy:

        def end(own_port: int) -> Endpoint:
            return Endpoint(
                instance="web.0",
                node="n",
                host="127.0.0.1",
                port=proxy,
                own_host="127.0.0.1",
                own_port=own_port,
                local=True,
            )

        async with stable(end(free_port()), wait_s=0.3) as (made, port):
            assert await ask(port) == "proxy"
            made.serve([end(own)])
            assert await ask(port) == "own"
            made.serve([end(free_port())])
            assert await ask(port) == ""


async def test_a_connection_waits_for_an_instance_to_become_healthy() -> None:
    async with stable(wait_s=5.0) as (made, port), answering("late") as late:
        asking = asyncio.create_task(ask(port))
        await asyncio.sleep(0.05)
        assert not asking.done()
        made.serve([endpoint(late)])
        assert await asking == "late"


async def test_patience_with_one_that_is_gone_ends_when_another_one_comes() -> None:
    with silent_port() as silent:
        taken = [socket.socket() for _ in range(3)]
        for it in taken:
            it.setblocking(False)  # noqa: FBT003
            it.connect_ex(silent.getsockname())
        gone = endpoint(silent.getsockname()[1], "web.0")
        async with answering("b") as b, stable(gone, wait_s=5.0) as (made, port):
            asking = asyncio.create_task(ask(port))
            begun_s = time.monotonic()
            await asyncio.sleep(0.5)
            made.serve([gone, endpoint(b, "web.1")])
            assert await asking == "b"
            assert time.monotonic() - begun_s < 1.2
        for it in taken:
            it.close()


async def test_where_nobody_comes_the_connection_is_reset_and_not_ended() -> None:
    async with stable(wait_s=0.05) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_more_connections_than_allowed_are_refused_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with answering("a") as a, stable(endpoint(a), open_max=1) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"?\n")
        assert await reader.readline() == b"a\n"
        assert await ask(port) == await ask(port) == ""
        (told,) = caplog.records
        assert told.getMessage() == (
            "1 connections are open to service ports, which is all that "
            "discovery.connections_max allows: 1 were refused so far"
        )
        writer.close()
        while await ask(port) != "a":  # noqa: ASYNC110 - its end shows nowhere else
            await asyncio.sleep(0.01)


async def test_half_a_close_is_passed_on_and_the_answer_comes_back() -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(len(await reader.read())).encode())

    async with serving(count) as server, stable(endpoint(server)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bytes(5_000_000))
        writer.write_eof()
        assert await reader.read() == b"5000000"
        writer.close()


async def test_a_slow_receiver_holds_up_its_sender_and_gets_every_byte() -> None:
    size = 40 * READ_BYTES_MAX
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < size:
            writer.write(bytes(READ_BYTES_MAX))
            await writer.drain()
            sent += READ_BYTES_MAX

    async with serving(flood) as server, stable(endpoint(server)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        before = -1
        while before != sent:  # until it does not get rid of more
            before = sent
            await asyncio.sleep(0.1)
        assert sent < size, "nobody has read anything"
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        assert got == size
        writer.close()


async def test_a_broken_server_is_a_broken_connection_to_its_client() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        reset(writer.get_extra_info("socket"))

    async with serving(break_off) as server, stable(endpoint(server)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"?\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_open_connections_outlive_their_endpoint_and_end_with_the_port() -> None:
    async with answering("a") as a, stable(endpoint(a)) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"?\n")
            assert await reader.readline() == b"a\n"
            made.serve([])
        made.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.close()


async def test_a_port_that_is_closed_as_it_takes_a_connection_keeps_no_count_of_it() -> None:
    async with stable() as (made, _):
        client, taken = socket.socketpair()
        with client:
            made._take(taken)
            assert made._streams.open == 1
            made.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert made._streams.open == 0
            assert client.recv(1) == b""


async def test_where_one_end_has_said_all_and_is_gone_the_other_one_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of a server that gives up a silent client: else each such client would count for ever."""
    monkeypatch.setattr(relay, "LOOK_S", 0.02)

    async def give_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await reader.readline()
        reset(writer.get_extra_info("socket"))

    async with serving(give_up) as server, stable(endpoint(server)) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        await asyncio.sleep(0.1)
        assert made._streams.open == 1, "it may still have something to say"
        writer.write(b"?\n")
        async with asyncio.timeout(2):
            while made._streams.open:  # noqa: ASYNC110 - its end shows nowhere else
                await asyncio.sleep(0.01)
        error = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert error, "and it is told"
        writer.close()


async def test_a_client_that_is_gone_does_not_wait_for_a_server_that_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "LOOK_S", 0.02)
    done = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await done.wait()

    async with serving(hang) as server, stable(endpoint(server)) as (made, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)  # noqa: FBT003
            await until_full(client)
            assert made._streams.open == 1
            reset(client)
        try:
            async with asyncio.timeout(2):
                while made._streams.open:  # noqa: ASYNC110 - its end shows nowhere else
                    await asyncio.sleep(0.01)
        finally:
            done.set()


async def until_full(client: socket.socket) -> None:
    """Send until nothing was taken for a while."""
    refused = 0
    while refused < 20:
        try:
            client.send(bytes(READ_BYTES_MAX))
            refused = 0
        except BlockingIOError:
            refused += 1
        await asyncio.sleep(0.01)
