"""aiohttp without TLS, which costs 2.6 MB less memory for as long as the daemon lives.

At its import aiohttp makes two TLS contexts and loads every CA certificate into them. We speak
HTTP on unix sockets and to loopback only, and aiohttp supports Pythons that have no `ssl`, so it
is shown such a one while it is imported. Import this module before anything else of aiohttp.
"""

import sys

_ssl = sys.modules.get("ssl")
# None makes `import ssl` raise ImportError.
sys.modules["ssl"] = None  # type: ignore[assignment]
try:
    from aiohttp import web
finally:
    if _ssl is None:
        del sys.modules["ssl"]
    else:
        sys.modules["ssl"] = _ssl

__all__ = ["web"]
