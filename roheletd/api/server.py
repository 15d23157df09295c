"""The only HTTP server: a unix socket for this machine's administrators, a loopback port for reads.

aiohttp's low-level server, without its application layer: the table in `routes` is the router and
`Door` the handler. With nobody connected it has neither a timer nor a task.
"""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

from roheletd.api.access import is_loopback
from roheletd.api.door import TOO_LARGE, Answer, BadBody, Door, Head, problem_answer, refusal
from roheletd.api.flow import Flow
from roheletd.api.lean_aiohttp import (
    BaseRequest,
    RequestHandler,
    RequestPayloadError,
    Response,
    Server,
    StreamResponse,
)
from roheletd.api.operations import Operations
from roheletd.api.views import Problem
from roheletd.documents.bounds import SIZE_MAX_BYTES
from roheletd.errors import Refused, RoheletError, Unavailable

logger = logging.getLogger(__name__)

CONNECTIONS_MAX = 64
"""Per door. Each costs about 10 kB, and up to 1 MiB more while an authorised body arrives."""

IDLE_S: Final = 20.0
"""From the connection, or the last answer, to a complete request head; also ends slow senders."""

BODY_S: Final = 10.0
SEND_S: Final = 30.0
LINGER_S: Final = 5.0
"""How long an unread body is drained, so that its sender gets to read why it was refused."""

STOP_S: Final = 0.4
SOCKET_MODE: Final = 0o660

_Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]


class ApiServer:
    """Serves `operations`. `port` None: no TCP."""

    name = "api"

    def __init__(
        self,
        operations: Operations,
        *,
        socket_path: Path,
        listen: str,
        port: int | None,
        token: str,
    ) -> None:
        self._door = Door(
            operations,
            token=token,
            data_dir=socket_path.parent,
            open_reads=is_loopback(listen),
        )
        self._socket_path = socket_path
        self._listen = listen
        self._port = port
        self.failure = ""
        self._listeners: list[asyncio.Server] = []
        self._protocols: list[_Protocols] = []

    @property
    def port(self) -> int | None:
        """The TCP port that is listened on; differs from what was asked where that was 0."""
        bound = [
            at.getsockname()[1]
            for listener in self._listeners
            for at in listener.sockets
            if at.family != socket.AF_UNIX
        ]
        return bound[0] if bound else self._port

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.stop()

    async def start(self) -> None:
        """Listening on the unix socket when this returns, or `Refused` with the key to change.

        A TCP port that cannot be had does not keep a node from its work: `failure` says why.
        """
        await self._listen_unix()
        if self._port is None:
            return
        try:
            await self._listen_tcp(self._port)
        except Refused as error:
            self.failure = str(error)
            logger.warning("%s; only the unix socket is served", error)

    async def stop(self) -> None:
        """Takes less than a second, whatever the clients do."""
        if not self._listeners:
            return
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._socket_path.unlink(missing_ok=True)
        self._door.close()
        for protocols in self._protocols:
            protocols.pre_shutdown()
        await asyncio.gather(*(protocols.shutdown(STOP_S) for protocols in self._protocols))
        self._protocols.clear()

    async def _listen_unix(self) -> None:
        loop = asyncio.get_running_loop()
        bound = _bound_socket(self._socket_path)
        self._listeners.append(
            await loop.create_unix_server(self._accepting(trusted=True), sock=bound)
        )

    async def _listen_tcp(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            listener = await loop.create_server(self._accepting(trusted=False), self._listen, port)
        except OSError as error:
            raise _cannot_listen(self._listen, port, error) from error
        self._listeners.append(listener)

    def _accepting(self, *, trusted: bool) -> Callable[[], asyncio.Protocol]:
        protocols = _Protocols(partial(self._handle, trusted=trusted))
        self._protocols.append(protocols)
        return protocols

    async def _handle(self, request: BaseRequest, *, trusted: bool) -> StreamResponse:
        head = _head_of(request, trusted=trusted)
        return await _send(request, await self._door.serve(head, partial(_body_of, request)))


class _Protocols(Server):
    """Makes one door's connections and counts them."""

    def __init__(self, handler: _Handler) -> None:
        # A client that hangs up no longer waits for an event. A command that was proposed stands
        # all the same, as if only its answer had been lost.
        super().__init__(handler, handler_cancellation=True)

    def __call__(self) -> RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            auto_decompress=False,  # a packed body is refused: 1 MiB of it may be 1 GiB unpacked
            access_log=None,  # type: ignore[arg-type] # None is its documented way to say no log
            logger=logger,
        )

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > CONNECTIONS_MAX:
            transport.write(_FULL)
            transport.close()


class _Connection(RequestHandler):
    """Answers in our words where aiohttp would use its own."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """What is not HTTP, and what our own code did not foresee.

        aiohttp's loop around the handler is the one place where any exception ends: a fault in one
        verb costs one request and leaves its traceback in the log, not the node its daemon. Above
        that loop nothing is caught but our own errors, so a test without a socket meets the fault.
        """
        if request.writer.output_size > 0:
            raise ConnectionResetError("half an answer has been sent")
        if status == HTTPStatus.BAD_REQUEST:
            logger.debug("not HTTP: %s", message)
            reason = (message or "").partition("\n")[0][:200]
            problem = Problem(error="invalid", reason=f"expected HTTP: {reason}", field="request")
        else:
            logger.error("fault while answering %s %s", request.method, request.path, exc_info=exc)
            problem = Problem(error="internal", reason="a fault of roheletd, told in its log")
        response = _response_of(problem_answer(problem))
        response.force_close()
        return response


def _head_of(request: BaseRequest, *, trusted: bool) -> Head:
    return Head(
        method=request.method,
        path=request.rel_url.raw_path,
        query=request.rel_url.raw_query_string,
        headers=request.headers,
        trusted=trusted,
    )


async def _body_of(request: BaseRequest) -> bytes:
    """The body, of which never more than a little over the limit is held."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > SIZE_MAX_BYTES:
                    raise BadBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)
    except TimeoutError:
        raise BadBody(HTTPStatus.REQUEST_TIMEOUT, f"expected all of it in {BODY_S:g} s") from None
    except RequestPayloadError as error:
        raise BadBody(HTTPStatus.BAD_REQUEST, f"expected HTTP framing: {error}") from None
    return bytes(body)


async def _send(request: BaseRequest, answer: Answer) -> StreamResponse:
    """Sent here and not by aiohttp, which would wait for ever for a client that does not read."""
    if answer.flow is not None and request.method != "HEAD":
        return await _flow(request, answer, answer.flow)
    response = _response_of(answer)
    try:
        async with asyncio.timeout(SEND_S):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return response


async def _flow(request: BaseRequest, answer: Answer, flow: Flow) -> StreamResponse:
    """A reader may take all the time it likes: it holds up the writer, and nothing piles up."""
    response = StreamResponse(status=answer.status, headers=_headers_of(answer))
    response.force_close()

    async def write(data: bytes) -> None:
        if not response.prepared:
            await response.prepare(request)
        if data:
            await response.write(data)

    async def read(size: int) -> bytes:
        try:
            return await request.content.readexactly(size)
        except asyncio.IncompleteReadError:
            raise EOFError from None

    try:
        await flow.run(read, write)
    except RoheletError as error:
        if not response.prepared:
            return await _send(request, refusal(error))
        await write(flow.closing(error))
    await response.write_eof()
    return response


def _response_of(answer: Answer) -> Response:
    return Response(status=answer.status, body=answer.body, headers=_headers_of(answer))


def _headers_of(answer: Answer) -> dict[str, str]:
    return {
        "Content-Type": answer.media_type,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Server": "roheletd",
        **answer.headers,
    }


def _bound_socket(path: Path) -> socket.socket:
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # On Linux bind() makes the file with the mode of the socket, less the umask: at no moment
        # may more people connect than in the end.
        os.fchmod(bound.fileno(), SOCKET_MODE)
        bound.bind(str(path))
        path.chmod(SOCKET_MODE)
    except OSError as error:
        bound.close()
        raise Refused(
            f"data_dir: cannot make the socket {path}: {error.strerror or error}"
        ) from error
    return bound


def _remove_stale(path: Path) -> None:
    """A socket whose daemon was killed stays behind as a file that nobody answers on."""
    if not path.exists():
        return
    if not path.is_socket():
        raise Refused(f"data_dir: {path} is in the way and no socket: move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # a full backlog must not hold us up either
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise Refused(f"data_dir: another roheletd answers on {path}: stop it first")


def _cannot_listen(listen: str, port: int, error: OSError) -> Refused:
    at = f"{listen}:{port}"
    if error.errno == errno.EADDRINUSE:
        return Refused(
            f"api.port: {at} is taken by another program: choose another api.port, or set "
            "api.enabled to false"
        )
    if error.errno == errno.EACCES:
        return Refused(f"api.port: {at} needs privileges: choose an api.port above 1023")
    return Refused(f"api.listen: cannot listen on {at}: {error.strerror or error}")


def _full() -> bytes:
    """An answer for a connection that no request is read from."""
    answer = refusal(Unavailable(f"{CONNECTIONS_MAX} connections are open already"))
    return (
        f"HTTP/1.1 {HTTPStatus.SERVICE_UNAVAILABLE.value} Service Unavailable\r\n"
        f"Content-Type: {answer.media_type}\r\nContent-Length: {len(answer.body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + answer.body


_FULL = _full()
