"""What is not ours goes to the machine's own resolvers, byte for byte, and so does the answer."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from roheletd.cluster.names import is_address

PORT = 53
PATIENCE_S = 2.0
SERVERS_MAX = 3
SEARCH_MAX = 5
_ANSWER_BYTES = 65_535
_ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - to be told from others


class Resolvers(Struct, frozen=True, kw_only=True):
    """What a machine's `/etc/resolv.conf` says."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


def parsed(text: str) -> Resolvers:
    """The last `search` or `domain` counts, as it does for the C library, and addresses only."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split(";")[0].split() or [""]
        if word == "nameserver" and rest and is_address(rest[0]):
            servers.append(rest[0])
        elif word in {"search", "domain"}:
            search = tuple(it for it in rest if it != ".")
    return Resolvers(servers=tuple(servers[:SERVERS_MAX]), search=search[:SEARCH_MAX])


class Upstream:
    """The machine's resolvers, read anew whenever their file has changed.

    Where this node answers itself, `mine`, is never asked: the question would come back.
    """

    def __init__(self, path: Path = Path("/etc/resolv.conf"), *, port: int = PORT) -> None:
        self._path = path
        self._port = port
        self._read: tuple[int, Resolvers] = (0, Resolvers())
        self.mine: tuple[str, int] = ("", 0)

    def resolvers(self) -> Resolvers:
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._read[0]:
                self._read = changed, parsed(self._path.read_text(errors="replace"))
        except OSError:
            return Resolvers()
        return self._read[1]

    async def ask(self, query: bytes, *, udp: bool) -> bytes | None:
        """The first answer of one of them; None where none comes."""
        for server in self.resolvers().servers:
            if self._is_mine(server):
                continue
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    found = await (self._by_udp if udp else self._by_tcp)(server, query)
                if found[:2] == query[:2]:
                    return found
        return None

    def _is_mine(self, server: str) -> bool:
        host, port = self.mine
        if port != self._port:
            return False
        return server == host or (host in _ANYWHERE and _is_of_this_machine(server))

    async def _by_udp(self, server: str, query: bytes) -> bytes:
        """From a port of its own: whoever wants to forge an answer has to guess it."""
        loop = asyncio.get_running_loop()
        with socket.socket(_family_of(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as asking:
            asking.connect((server, self._port))
            await loop.sock_sendall(asking, query)
            return await loop.sock_recv(asking, _ANSWER_BYTES)

    async def _by_tcp(self, server: str, query: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(framed(query))
            return await read_framed(reader)
        finally:
            writer.close()


def _family_of(server: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


def _is_of_this_machine(server: str) -> bool:
    with socket.socket(_family_of(server), socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((server, 0))
        except OSError:
            return False
        return True


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


async def read_framed(reader: asyncio.StreamReader) -> bytes:
    """Raises EOFError (`IncompleteReadError`) where it ends before."""
    size = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(size)
