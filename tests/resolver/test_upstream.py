"""What is not ours: read from the machine's own file, and passed on as it is."""

import asyncio
import os
from pathlib import Path

import pytest

from roheletd.resolver import upstream
from roheletd.resolver.upstream import Resolvers, Upstream, framed, parsed, read_framed
from tests.testbed.network import free_port


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Resolvers()),
        (
            "# c\nnameserver 10.0.0.1 # near\nnameserver fe80::1%eth0\nsearch a.lan b.lan\n",
            Resolvers(servers=("10.0.0.1", "fe80::1%eth0"), search=("a.lan", "b.lan")),
        ),
        ("nameserver here.lan\nnameserver a..b\nnameserver ::1", Resolvers(servers=("::1",))),
        ("domain a\nsearch .\noptions ndots:5\nnameserver\n;nameserver 1.1.1.1", Resolvers()),
        ("nameserver ::1\n" * 9, Resolvers(servers=("::1", "::1", "::1"))),
    ],
)
def test_the_file_of_the_c_library_is_read_as_it_reads_it(text: str, found: Resolvers) -> None:
    assert parsed(text) == found


def test_a_changed_file_counts_and_a_missing_one_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    made = Upstream(path)
    assert made.resolvers() == Resolvers()
    path.write_text("nameserver 10.0.0.1")
    assert made.resolvers().servers == ("10.0.0.1",)
    path.write_text("nameserver 10.0.0.2")
    os.utime(path, ns=(1, 1))
    assert made.resolvers().servers == ("10.0.0.2",)


class Other(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, client: object) -> None:
        self.transport.sendto(data + b" answered", client)


async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(framed(await read_framed(reader) + b" at length"))
    writer.close()


async def test_the_first_that_answers_is_believed_and_oneself_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "PATIENCE_S", 0.2)
    port = free_port()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Other, local_addr=("127.0.0.3", port))
    server = await asyncio.start_server(over_tcp, "127.0.0.3", port)
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n")
    made = Upstream(path, port=port)
    made.mine = "127.0.0.1", port
    assert await made.ask(b"12 who?", udp=True) == b"12 who? answered"
    assert await made.ask(b"12 who?", udp=False) == b"12 who? at length"
    transport.close()
    server.close()
    assert await made.ask(b"12 who?", udp=True) is None
    assert await made.ask(b"12 who?", udp=False) is None


async def test_who_answers_everywhere_asks_no_address_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver ::1\n")
    port = free_port()
    made = Upstream(path, port=port)
    heard: list[bytes] = []

    class Oneself(Other):
        def datagram_received(self, data: bytes, client: object) -> None:
            heard.append(data)
            super().datagram_received(data, client)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Oneself, local_addr=("0.0.0.0", port))
    made.mine = "0.0.0.0", port
    assert await made.ask(b"12 who?", udp=True) is None
    assert not heard
    made.mine = "0.0.0.0", port + 1
    assert await made.ask(b"12 who?", udp=True) == b"12 who? answered", "another one, on 53"
    transport.close()
