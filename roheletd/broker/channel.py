"""One TCP or TLS connection to a broker, between what paho wants of a socket and the event loop.

paho reads a packet a few bytes at a time and writes each packet by itself. Here one system call
fetches what has come, and what is said in one turn of the loop leaves in one piece: a leader says
something to every follower at each beat. Nothing in this class blocks or raises to the side that
writes: a broken connection is found by reading.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable

from roheletd.broker import Address

# The most that one TLS record holds: after reading that much, nothing stays hidden inside the
# TLS layer, where the loop cannot see it.
READ_BYTES = 16_384
WRITE_BYTES = 65_536
"""With as much to say, the end of the turn is not waited for."""
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


async def dial(address: Address, *, ca_file: str | None, timeout_s: float) -> socket.socket:
    """A connected, non-blocking socket; raises `OSError`.

    Names are looked up and TLS is agreed in a thread of its own, which nobody has to wait for: a
    name server that does not answer must not hold up the end of the daemon, as a thread of an
    executor would.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[socket.socket] = loop.create_future()

    def settle(outcome: socket.socket | OSError) -> None:
        if isinstance(outcome, OSError):
            if not ready.done():
                ready.set_exception(outcome)
        elif ready.done():
            outcome.close()
        else:
            ready.set_result(outcome)

    def work() -> None:
        outcome = _connect(address, ca_file, timeout_s)
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:  # the loop has been closed: nobody waits any more
            if isinstance(outcome, socket.socket):
                outcome.close()

    threading.Thread(target=work, name="mqtt-dial", daemon=True).start()
    try:
        return await ready
    except asyncio.CancelledError:
        if ready.done() and not ready.cancelled() and ready.exception() is None:
            ready.result().close()
        raise


def _connect(address: Address, ca_file: str | None, timeout_s: float) -> socket.socket | OSError:
    try:
        sock = socket.create_connection((address.host, address.port), timeout_s)
    except OSError as error:
        return error
    try:
        # Acknowledgements of few bytes must not wait for those of the other side.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.tls:
            trust = ssl.create_default_context(cafile=ca_file)
            sock = trust.wrap_socket(sock, server_hostname=address.host)
        sock.settimeout(0)
    except OSError as error:
        sock.close()
        return error
    return sock


class Channel:
    """Has the methods that paho calls on a socket. `on_data` runs when there is something."""

    def __init__(
        self, sock: socket.socket, on_data: Callable[[], None], *, read_bytes_max: int
    ) -> None:
        self._sock = sock
        self._on_data = on_data
        self._read_bytes_max = read_bytes_max
        self.refused_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._inbox = b""
        self._at = 0
        self._ended: OSError | bytes | None = None
        self._outbox = bytearray()
        self._holding = False
        self._flushing: asyncio.Handle | None = None
        self._writing = False
        self._open = True
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def unread(self) -> bool:
        return self._at < len(self._inbox)

    @property
    def unsent_bytes(self) -> int:
        return len(self._outbox)

    def recv(self, size: int) -> bytes:
        if size > self._read_bytes_max:
            self.refused_bytes = size
            raise ConnectionAbortedError
        if not self.unread:
            if isinstance(self._ended, OSError):
                raise self._ended
            if self._ended is None:
                raise BlockingIOError
            return self._ended
        piece = self._inbox[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def send(self, data: bytes | bytearray) -> int:
        self._outbox += data
        if len(self._outbox) >= WRITE_BYTES:
            self._flush()
        elif not self._holding and self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush)
        return len(data)

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket has it
        assert not flag, "the event loop never waits for a socket"

    def close(self) -> None:
        if self._open:
            self._open = False
            self._stop_writing()
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        self._fetch()
        self._holding = True
        try:
            self._on_data()
        finally:
            self._holding = False
            self._flush()

    def _fetch(self) -> None:
        try:
            fetched = self._sock.recv(READ_BYTES)
        except _NOT_NOW:
            return
        except OSError as error:
            self._ended = error
        else:
            self._ended = None if fetched else b""
            self._inbox, self._at = self._inbox[self._at :] + fetched, 0

    def _flush(self) -> None:
        self._flushing = None
        try:
            while self._outbox and self._open:
                del self._outbox[: self._sock.send(self._outbox)]
        except _NOT_NOW:
            if not self._writing:
                self._loop.add_writer(self._sock.fileno(), self._flush)
                self._writing = True
        except OSError:  # reading finds the same, and is where it is told
            self._outbox.clear()
            self._stop_writing()
        else:
            self._stop_writing()

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock.fileno())
