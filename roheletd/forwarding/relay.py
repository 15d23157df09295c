"""Two sockets made one: what comes out of either goes into the other, and so does its end.

One buffer serves all relays, for only one callback runs at a time: a connection holds memory only
while its receiver is slower than its sender, and then its sender is not read from. Copying through
a large buffer was as fast as `splice` through pipes and spares two pipes per connection.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

READ_BYTES_MIN = 1 << 16
READ_BYTES_MAX = 1 << 20
"""Of one turn; the more, the fewer wakeups of the receiver. Where that is slow, it is less."""

LOOK_S = 15.0
"""How often to look whether an end is gone that is not read from, as it has said all or more than
the other one takes."""

_NO_LINGER = struct.pack("ii", 1, 0)


class Buffer:
    """Memory that is taken with the first connection."""

    def __init__(self) -> None:
        self._view: memoryview | None = None

    def view(self) -> memoryview:
        if self._view is None:
            self._view = memoryview(bytearray(READ_BYTES_MAX))
        return self._view


class Relay:
    """Runs from `start` until both ends have said all, or one of them is gone."""

    def __init__(
        self, one: socket.socket, other: socket.socket, buffer: Buffer, on_end: Callable[[], None]
    ) -> None:
        self._sockets = (one, other)
        self._flows = (_Flow(self, one, other, buffer), _Flow(self, other, one, buffer))
        self._on_end = on_end
        self._open = True
        self._looking: asyncio.TimerHandle | None = None

    def start(self) -> None:
        for flow in self._flows:
            flow.start()

    def ended(self) -> None:
        """One direction is through; the other one may go on for as long as it likes."""
        if all(flow.over for flow in self._flows):
            self._close()
        else:
            self.look_soon()

    def look_soon(self) -> None:
        """One of the ends is not read from now."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = None
        if any(it.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for it in self._sockets):
            self.abort()
        elif not all(flow.reads for flow in self._flows):
            self.look_soon()

    def abort(self) -> None:
        """What one end did not take is an error to the other one as well, and not an end."""
        if self._open:
            for it in self._sockets:
                reset(it)
            self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            if self._looking is not None:
                self._looking.cancel()
            for flow in self._flows:
                flow.stop()
            for it in self._sockets:
                it.close()
            self._on_end()


class _Flow:
    """One direction: either its source is read from, or `rest` waits for its sink."""

    def __init__(
        self, relay: Relay, source: socket.socket, sink: socket.socket, buffer: Buffer
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._relay = relay
        self._source = source
        self._sink = sink
        # Numbers, and not sockets: the loop writes out a socket with each it does not know yet.
        self._from, self._to = source.fileno(), sink.fileno()
        self._buffer = buffer
        self._size = READ_BYTES_MIN
        self._rest = memoryview(b"")
        self.over = False

    @property
    def reads(self) -> bool:
        return not (self.over or self._rest)

    def start(self) -> None:
        self._loop.add_reader(self._from, self._read)

    def stop(self) -> None:
        if self._rest:
            self._loop.remove_writer(self._to)
        elif not self.over:
            self._loop.remove_reader(self._from)
        self._rest = memoryview(b"")

    def _read(self) -> None:
        view = self._buffer.view()
        try:
            count = self._source.recv_into(view, self._size)
            sent = self._sent(view[:count]) if count else 0
        except BlockingIOError:
            return
        except OSError:
            self._relay.abort()
            return
        if not count:
            self._end()
        elif sent < count:
            self._rest = memoryview(bytes(view[sent:count]))
            self._size = max(READ_BYTES_MIN, self._size // 2)
            self._loop.remove_reader(self._from)
            self._loop.add_writer(self._to, self._write)
            self._relay.look_soon()
        elif count == self._size:
            self._size = min(READ_BYTES_MAX, 2 * self._size)

    def _sent(self, data: memoryview) -> int:
        try:
            return self._sink.send(data)
        except BlockingIOError:
            return 0

    def _write(self) -> None:
        try:
            sent = self._sent(self._rest)
        except OSError:
            self._relay.abort()
            return
        self._rest = self._rest[sent:]
        if not self._rest:
            self._loop.remove_writer(self._to)
            self.start()

    def _end(self) -> None:
        """Its source has said all: so is its sink told, and what that says goes on."""
        self.over = True
        self._loop.remove_reader(self._from)
        with suppress(OSError):  # gone already
            self._sink.shutdown(socket.SHUT_WR)
        self._relay.ended()


def reset(sock: socket.socket) -> None:
    """Let its peer see a broken connection when it is closed, and not the end of an answer."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
