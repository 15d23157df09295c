"""Sockets of the forwarder: bound, accepted, dialled, and told to find out about dead peers."""

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

BACKLOG = 512
_ACCEPTS_AT_ONCE = 64
_FULL_S = 0.5
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """A socket that is bound and does not block; raises OSError where it cannot be."""
    made = socket.socket(family_of(host), kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((host, port))
        if kind == socket.SOCK_STREAM:
            made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


class Acceptor:
    """Takes the connections that come to a socket which listens, for as long as there is room.

    Out of descriptors or memory: what waits in the kernel's queue can wait a little more.
    """

    def __init__(self, listening: socket.socket, take: Callable[[socket.socket], None]) -> None:
        self._socket = listening
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._rest()
                return
            client.setblocking(False)  # noqa: FBT003 - the socket's own
            self._take(client)

    def _rest(self) -> None:
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(
            _FULL_S, self._loop.add_reader, self._socket, self._accept
        )


def tuned(sock: socket.socket) -> None:
    """What comes goes on at once; a peer that is gone without a word is found out after a while."""
    with suppress(OSError):  # gone already
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)


async def connected(
    host: str, port: int, kind: socket.SocketKind, *, timeout_s: float
) -> socket.socket | None:
    """A socket that leads there; None where nothing takes it in time."""
    with suppress(OSError, UnicodeError, TimeoutError):  # UnicodeError: no name can be like that
        async with asyncio.timeout(timeout_s):
            for family, address in await _resolved(host, port, kind):
                with suppress(OSError):
                    return await _connected(family, address, kind)
    return None


async def _resolved(
    host: str, port: int, kind: socket.SocketKind
) -> list[tuple[int, tuple[Any, ...]]]:
    """An address as it is; a name, as `node.address` may be one, by the machine's own resolver."""
    with suppress(OSError):
        socket.inet_pton(family_of(host), host)
        return [(family_of(host), (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    return [(family, address) for family, _, _, _, address in found]


async def _connected(
    family: int, address: tuple[Any, ...], kind: socket.SocketKind
) -> socket.socket:
    made = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    refusal = made.connect_ex(address)
    if refusal == errno.EINPROGRESS:
        try:
            await _writable(made)
        except asyncio.CancelledError:
            made.close()
            raise
        refusal = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if refusal:
        made.close()
        raise OSError(refusal, "no connection")
    return made


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(sock.fileno(), _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock.fileno())


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
