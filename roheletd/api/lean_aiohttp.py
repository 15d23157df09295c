"""The parts of aiohttp that a server needs, for 4 MB less memory as long as the daemon lives.

At its import aiohttp makes two TLS contexts and loads every CA certificate into them (2.6 MB). We
speak HTTP on unix sockets and to loopback only, and aiohttp supports Pythons that have no `ssl`,
so it is shown such a one while it is imported. And `aiohttp.web` brings an application layer with
static files and a command line (1.3 MB), so its server is taken from its own module.

Import this module before anything else of aiohttp.
"""

from roheletd.absent import absent

with absent("ssl"):
    from aiohttp.web_protocol import RequestHandler, RequestPayloadError
    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import Response, StreamResponse
    from aiohttp.web_server import Server

__all__ = [
    "BaseRequest",
    "RequestHandler",
    "RequestPayloadError",
    "Response",
    "Server",
    "StreamResponse",
]
