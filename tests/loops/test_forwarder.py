"""The forwarder as a loop: which ports are open, who serves them, what is told if one is not."""

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from roheletd.cluster.commands import RemoveService
from roheletd.cluster.membership import Membership, thresholds
from roheletd.forwarding import streams
from roheletd.forwarding.datagrams import FLOWS_MAX
from roheletd.loops import forwarder as loop_module
from roheletd.loops.forwarder import Forwarder
from roheletd.model import Port
from roheletd.testing import ManualClock
from tests.cluster.test_registry import WELL, World
from tests.forwarding.servers import answering, ask
from tests.testbed.network import free_port


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Forwarder]:
    clock = ManualClock()
    made = Forwarder(
        node="a",
        listen="127.0.0.1",
        connections_max=10,
        wait_s=0.0,
        state=world.state,
        soft=world.soft,
        membership=Membership(me="a", limits=thresholds(1.0)),
        clock=clock,
    )
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        return True
    writer.close()
    return True


async def answers(port: int, instance: str) -> bool:
    return await ask(port) == instance


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(2):
        while not await condition():  # noqa: ASYNC110 - sockets tell nobody
            await asyncio.sleep(0.01)


async def until_open(made: Forwarder, port: int) -> None:
    made.wake()
    await until(lambda: is_open(port))


async def until_closed(made: Forwarder, port: int) -> None:
    async def is_closed() -> bool:
        return not await is_open(port)

    made.wake()
    await until(is_closed)


async def test_a_port_is_open_while_its_service_is_there_and_follows_who_serves() -> None:
    world, port = World(), free_port()
    async with answering("web.0") as server, running(world) as made:
        assert not await is_open(port)
        world.service("web", Port(container_port=80, service_port=port))
        await until_open(made, port)
        assert await ask(port) == ""
        world.place("web.0", "a", server)
        world.say("a", web_0=WELL)
        made.wake()
        await until(lambda: answers(port, "web.0"))
        world.apply(RemoveService(name="web"))
        await until_closed(made, port)


async def test_an_instance_is_led_to_once_it_is_known_where_its_node_is() -> None:
    """What a node measures may be heard before what it says of itself."""
    world, port = World(), free_port()
    world.service("web", Port(container_port=80, service_port=port))
    async with answering("web.0") as server, running(world) as made:
        world.place("web.0", "b", server)
        for address, instance in (("", ""), ("127.0.0.1", "web.0")):
            world.soft.heard_address("b", address)
            world.say("b", web_0=WELL)
            await until_open(made, port)
            await until(lambda wanted=instance: answers(port, wanted))


async def test_a_service_that_changes_its_number_is_found_at_the_new_one_only() -> None:
    world, one, other = World(), free_port(), free_port()
    async with running(world) as made:
        world.service("web", Port(container_port=80, service_port=one))
        await until_open(made, one)
        world.service("web", Port(container_port=80, service_port=other))
        await until_open(made, other)
        assert not await is_open(one)


async def test_both_protocols_of_one_number_are_open() -> None:
    world, port = World(), free_port()
    both = [Port(container_port=53, service_port=port, protocol=it) for it in ("tcp", "udp")]
    async with running(world) as made:
        world.service("dns", *both)
        await until_open(made, port)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
            pytest.raises(OSError, match="in use"),
        ):
            other.bind(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            errno.EACCES,
            "this daemon may not open ports below 1024: choose another service_port",
        ),
        (errno.EADDRINUSE, "another program has it; tried again until it is free"),
        (errno.EADDRNOTAVAIL, "Cannot assign requested address"),
    ],
)
async def test_what_cannot_be_opened_is_told_tried_again_and_keeps_nothing_else_closed(
    number: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, port = World(), free_port()
    really, broken = streams.bound, True

    def bound(kind: socket.SocketKind, host: str, wanted: int) -> socket.socket:
        if wanted == 80 and broken:
            raise OSError(number, "Cannot assign requested address")
        return really(kind, host, port if wanted == 80 else wanted)

    monkeypatch.setattr(streams, "bound", bound)
    monkeypatch.setattr(loop_module, "RETRY_S", 0.02)
    async with running(world) as made:
        world.service("low", Port(container_port=80, service_port=80))
        world.service("web", Port(container_port=80, service_port=(other := free_port())))
        await until_open(made, other)
        assert world.soft.notices["forwarder"] == (
            f"port 80 (tcp) of service low is not served here: {words}"
        )
        broken = False
        await until(lambda: is_open(port))
        assert "forwarder" not in world.soft.notices


async def test_a_port_that_an_instance_here_was_given_is_told_as_that() -> None:
    world, port = World(), free_port()
    world.service("web", Port(container_port=80, service_port=free_port()))
    world.place("web.0", "a", port)
    world.service("other", Port(container_port=80, service_port=port))
    with socket.create_server(("127.0.0.1", port)):
        async with running(world):
            assert world.soft.notices["forwarder"] == (
                f"port {port} (tcp) of service other is not served here: it is the host port of "
                "web.0 on this node: choose another service_port"
            )


async def test_as_many_files_may_be_open_as_ports_and_their_connections_need() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    world, port = World(), free_port()
    world.service("web", Port(container_port=80, service_port=port))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        async with running(world) as made:
            await until_open(made, port)
            needed = 2 * 10 + FLOWS_MAX + 1 + loop_module._FILES_OF_OTHERS
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == needed
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
