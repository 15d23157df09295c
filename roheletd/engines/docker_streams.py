"""Logs and commands within containers, over the Docker API: what of it is a stream.

Docker sends the output of a container without a terminal in frames: a byte that says which output,
three zeros, four bytes of length, and so many bytes. A line may end in the middle of any of it, and
Podman's frames end where its reads did.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from roheletd.cluster.streams import LINE_CHARS_MAX, Batch, ExecWanted, LogLine, Source
from roheletd.engines import EngineError, docker_api
from roheletd.engines.cgroup import runs_in
from roheletd.engines.failed import NOT_FOUND_CODE, NOT_STARTED_CODE, Failed
from roheletd.errors import Unavailable

if TYPE_CHECKING:
    from aiodocker import Docker
    from aiodocker.execs import Exec
    from aiodocker.stream import Stream

_HEADER_BYTES = 8
_FRAME_BYTES_MAX = 1 << 20
_STAMP_CHARS_MAX = 40
_SOURCES: dict[int, Source] = {1: "stdout", 2: "stderr"}
UNKNOWN_CODE = 255
_PID_TRIES = 100
_PID_S = 0.05

Asking = Callable[[str], "AbstractAsyncContextManager[Docker]"]
"""The engine's client with its errors turned into ours; what for."""


class Frames:
    """Takes the multiplexed output apart into lines; what is cut anywhere is put together again."""

    def __init__(self) -> None:
        self._left = b""
        self._begun: dict[int, bytes] = {}

    def lines(self, data: bytes) -> Batch:
        """The lines that `data` completes. Raises `EngineError` for what is no such stream."""
        data = self._left + data
        at, end, found = 0, len(data), list[LogLine]()
        while at + _HEADER_BYTES <= end:
            output = data[at]
            length = int.from_bytes(data[at + 4 : at + 8])
            if output > 2 or length > _FRAME_BYTES_MAX:  # noqa: PLR2004 - stdin, stdout, stderr
                raise EngineError("the engine's log is in a format that is not known")
            if at + _HEADER_BYTES + length > end:
                break
            at += _HEADER_BYTES
            self._append(found, output, data[at : at + length])
            at += length
        self._left = data[at:]
        return found

    def rest(self) -> Batch:
        """Lines that had no end when the output had one."""
        found = [_line(output, text) for output, text in self._begun.items() if text]
        self._begun.clear()
        return found

    def _append(self, found: Batch, output: int, payload: bytes) -> None:
        if output not in self._begun and payload.find(b"\n") == len(payload) - 1:
            found.append(_line(output, payload[:-1]))  # by far the most frequent
            return
        *whole, begun = (self._begun.pop(output, b"") + payload).split(b"\n")
        found += [_line(output, text) for text in whole]
        if len(begun) > LINE_CHARS_MAX:
            found.append(_line(output, begun))
        elif begun:
            self._begun[output] = begun


def _line(output: int, text: bytes) -> LogLine:
    at, separator, said = text.decode(errors="replace").partition(" ")
    if not separator or len(at) > _STAMP_CHARS_MAX or not at[:4].isdigit():
        at, said = "", f"{at}{separator}{said}"
    return LogLine(said.removesuffix("\r"), _SOURCES.get(output, "stdout"), at)


def unix_s(stamp: str) -> int:
    """The whole second of an engine's stamp; 0: from the beginning."""
    try:
        return int(datetime.fromisoformat(f"{stamp[:19]}+00:00").timestamp())
    except ValueError:
        return 0


async def logs(
    asking: Asking,
    container_id: str,
    *,
    follow: bool,
    since_unix_s: int,
    tail: int | None,
) -> AsyncIterator[Batch]:
    """The lines in batches, as they come; ends with the container where they are followed."""
    from aiohttp import ClientError, ClientTimeout  # noqa: PLC0415

    parameters = {
        "stdout": "1",
        "stderr": "1",
        "timestamps": "1",
        "follow": "1" if follow else "0",
        "tail": "all" if tail is None else str(tail),
    }
    if since_unix_s:
        parameters["since"] = str(since_unix_s)
    async with asking("logs") as client:
        answer = await client.session.get(
            docker_api.url(client, f"containers/{container_id}/logs"),
            params=parameters,
            timeout=ClientTimeout(total=None, sock_read=None),
        )
    with contextlib.closing(answer):
        frames = Frames()
        try:
            if answer.status >= HTTPStatus.BAD_REQUEST:
                raise EngineError(f"no logs: {(await answer.text())[:200].strip()}")
            while data := await answer.content.readany():
                if found := frames.lines(data):
                    yield found
        except (ClientError, OSError) as error:
            raise Unavailable(f"the engine is gone (logs): {error}") from error
        if found := frames.rest():
            yield found


class DockerExec:
    """A command that runs in a container. Closed, it is ended if it has not ended by itself."""

    def __init__(
        self,
        asking: Asking,
        running: "Exec",
        stream: "Stream",
        *,
        container_id: str,
        tty: bool,
    ) -> None:
        self._asking = asking
        self._container_id = container_id
        self._running = running
        self._stream = stream
        self._tty = tty
        self._complaint = ""

    async def read(self) -> tuple[bytes, bool] | None:
        from aiohttp import ClientError  # noqa: PLC0415

        while True:
            try:
                message = await self._stream.read_out()
            except (ClientError, OSError) as error:
                raise Unavailable(f"the engine is gone (exec): {error}") from error
            if message is None:
                return None
            self._complaint = self._complaint or _complaint(message.data)
            if not self._complaint:
                return message.data, message.stream == 2  # noqa: PLR2004

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError, RuntimeError, AssertionError):  # it has just ended
            await self._stream.write_in(data)

    async def end_input(self) -> None:
        transport = self._transport()
        if transport is not None and transport.can_write_eof():
            transport.write_eof()

    def _transport(self) -> asyncio.WriteTransport | None:
        answer = self._stream._resp  # noqa: SLF001 - aiodocker can close, but not half-close
        connection = answer.connection if answer is not None else None
        return connection.transport if connection is not None else None

    async def resize(self, rows: int, columns: int) -> None:
        if self._tty:
            with contextlib.suppress(EngineError):  # it has just ended
                async with self._asking("resize"):
                    await self._running.resize(h=rows, w=columns)

    async def exit_code(self) -> tuple[int, str]:
        """Once there is nothing more to read."""
        async with self._asking("exec"):
            seen = await self._running.inspect()
        if self._complaint:
            return _shell_code(self._complaint), self._complaint
        code = seen.get("ExitCode")
        return (UNKNOWN_CODE if code is None else code), ""

    async def close(self) -> None:
        """Docker lets a command go on whose caller has gone: nobody would ever end it."""
        await self._stream.close()
        with contextlib.suppress(EngineError, Unavailable):
            for _ in range(_PID_TRIES):
                async with self._asking("exec"):
                    seen = await self._running.inspect()
                if not seen.get("Running"):
                    return
                if (pid := seen.get("Pid", 0)) > 1:
                    # The number may be another's by now, or one of the machine that an engine
                    # such as Docker Desktop has to itself.
                    with contextlib.suppress(OSError):
                        if runs_in(pid, self._container_id):
                            os.kill(pid, signal.SIGKILL)
                    return
                await asyncio.sleep(_PID_S)  # it runs, and which process it is is not known yet


async def start_exec(
    asking: Asking, container_id: str, wanted: ExecWanted
) -> "DockerExec | Failed":
    """A command that has been started, or why it cannot be, as a shell would say it."""
    async with asking("exec") as client:
        container = client.containers.container(container_id)
        running = await container.exec(wanted.command, stdin=wanted.stdin, tty=wanted.tty)
    stream = running.start(detach=False)
    session = DockerExec(asking, running, stream, container_id=container_id, tty=wanted.tty)
    try:
        async with asking("exec"):
            await stream._init()  # noqa: SLF001 - else the first read would start it
        await session.resize(wanted.rows, wanted.columns)
    except EngineError as error:
        if "OCI runtime" not in str(error):
            raise
        return Failed(_shell_code(str(error)), str(error))
    except Unavailable:
        await session.close()
        raise
    return session


def _complaint(output: bytes) -> str:
    """What the engine says in place of a command that it cannot start; Docker and Podman."""
    if output.startswith((b"OCI runtime exec failed", b"Error: ")) and b"OCI runtime" in output:
        return output.decode(errors="replace").strip()
    return ""


def _shell_code(complaint: str) -> int:
    missing = "not found" in complaint or "no such file" in complaint
    return NOT_FOUND_CODE if missing else NOT_STARTED_CODE
