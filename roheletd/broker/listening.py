"""What a broker of our own needs of the machine before it listens, and how we see that it does."""

import asyncio
import errno
import socket
from contextlib import suppress

from roheletd.broker import parse_url, url_of
from roheletd.errors import Unavailable

START_TIMEOUT_S = 5.0

_REASONS = {
    errno.EADDRINUSE: "is taken by another program; choose another broker.port",
    errno.EADDRNOTAVAIL: "is no address of this machine; correct broker.listen",
    errno.EACCES: "needs root; choose a broker.port above 1023",
}


async def require_free(listen: str, port: int) -> None:
    """Raise `Unavailable` where nothing could listen on that address now."""
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(asyncio.Protocol, listen or None, port)
    except socket.gaierror:
        raise Unavailable(f"broker.listen {listen!r} is neither address nor known name") from None
    except OSError as error:
        # From Python 3.12 on, asyncio tells of an address that is not ours without a number.
        number = error.errno or errno.EADDRNOTAVAIL
        why = _REASONS.get(number, f"cannot be used: {error.strerror}")
        raise Unavailable(f"the broker's address {listen}:{port} {why}") from None
    server.close()
    await server.wait_closed()


async def until_accepting(listen: str, port: int) -> None:
    """Return once something accepts connections there; polls, which only a start does."""
    address = parse_url(url_of(listen, port))
    pause_s = 0.01
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(address.host, address.port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(pause_s)
        pause_s = min(0.2, pause_s * 2)
