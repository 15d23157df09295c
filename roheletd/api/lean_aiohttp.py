"""The parts of aiohttp that a server needs, for 4 MB less memory as long as the daemon lives.

At its import aiohttp makes two TLS contexts and loads every CA certificate into them (2.6 MB). We
speak HTTP on unix sockets and to loopback only, and aiohttp supports Pythons that have no `ssl`,
so it is shown such a one while it is imported. And `aiohttp.web` brings an application layer with
static files and a command line (1.3 MB), so its server is taken from its own module.

Import this module before anything else of aiohttp.
"""

import sys

_ssl = sys.modules.get("ssl")
# None makes `import ssl` raise ImportError.
sys.modules["ssl"] = None  # type: ignore[assignment]
try:
    from aiohttp.web_protocol import RequestHandler, RequestPayloadError
    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import Response, StreamResponse
    from aiohttp.web_server import Server
finally:
    if _ssl is None:
        del sys.modules["ssl"]
    else:
        sys.modules["ssl"] = _ssl

__all__ = [
    "BaseRequest",
    "RequestHandler",
    "RequestPayloadError",
    "Response",
    "Server",
    "StreamResponse",
]
