"""The resolver as a loop: where it listens, and whom it asks."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import dns.message
import pytest
from msgspec.structs import replace

from roheletd.cluster.names import Zone
from roheletd.cluster.registry import Endpoint, ServicePort
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.loops import resolver as loop_module
from roheletd.loops.resolver import Resolver
from roheletd.resolver.upstream import Upstream
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
    return Resolver(listen=listen, port=port, zone=zone, soft=state, upstream=upstream)


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
