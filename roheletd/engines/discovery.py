"""Where a Docker-compatible engine answers on this machine, and why others do not.

Spoken by hand over the socket, so that a node without an engine never imports aiodocker.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import Mapping

from msgspec import Struct

_PING_S = 2.0


class SocketSearch(Struct, frozen=True, kw_only=True):
    """The first socket that answers, if any; `refusals` says why the ones before it did not."""

    path: str | None
    refusals: tuple[str, ...] = ()


async def find_socket(
    configured: str | None, environ: Mapping[str, str] = os.environ
) -> SocketSearch:
    """Look for an engine.

    What a person has named (configuration, DOCKER_HOST) is not second-guessed: only that is tried.
    """
    refusals: list[str] = []
    for address in _addresses(configured, environ):
        refusal = await _refusal(address)
        if refusal is None:
            return SocketSearch(path=address.removeprefix("unix://"), refusals=tuple(refusals))
        refusals.append(refusal)
    return SocketSearch(path=None, refusals=tuple(refusals))


def _addresses(configured: str | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    named = configured or environ.get("DOCKER_HOST")
    if named:
        return (named,)
    runtime_dir = environ.get("XDG_RUNTIME_DIR")
    rootless = (f"{runtime_dir}/docker.sock", f"{runtime_dir}/podman/podman.sock")
    return (
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/podman/podman.sock",
        *(rootless if runtime_dir else ()),
    )


async def _refusal(address: str) -> str | None:
    """Why no engine answers at `address`; None if one does."""
    path = address.removeprefix("unix://")
    if "://" in path:
        return f"{address}: only unix sockets are used, since instances must run on this node"
    try:
        async with asyncio.timeout(_PING_S):
            answer = await _ping(path)
    except TimeoutError:
        return f"{path}: nothing answered within {_PING_S:g} s"
    except PermissionError:
        return (
            f"{path}: permission denied; add this user to the socket's group "
            "(sudo usermod -aG docker $USER, then log in again) or run as root"
        )
    except OSError as error:
        return f"{path}: {os.strerror(error.errno or errno.EIO)}"
    return None if b" 200 " in answer else f"{path}: not a Docker-compatible engine"


async def _ping(path: str) -> bytes:
    """The first line of the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
