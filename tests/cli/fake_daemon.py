"""A daemon that says what a test tells it to: stdlib HTTP on a unix socket or TCP.

Its answers are the daemon's own structs, so the pages are tested on what is really sent.
"""

import contextlib
import http.server
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec


class Request(NamedTuple):
    """What arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FakeDaemon:
    """`answers` maps `METHOD /path` to a struct, or to a status and a struct, or to bytes.

    Of a list each request gets the next one, and the last one stays.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, Any] = {}
        self.requests: list[Request] = []

    def answer(self, request: Request) -> tuple[int, bytes]:
        self.requests.append(request)
        found = self.answers[f"{request.method} {request.path}"]
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        status, body = found if isinstance(found, tuple) else (200, found)
        return status, body if isinstance(body, bytes) else msgspec.json.encode(body)


def _handler(daemon: FakeDaemon) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = msgspec.json.decode(text) if text else None
            status, answer = daemon.answer(Request(self.command, self.path, headers, body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names are the library's

        def log_message(self, *_: object) -> None: ...

    return Handler


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    def get_request(self) -> tuple[Any, Any]:
        connection, _ = super().get_request()
        return connection, ("local", 0)


@contextlib.contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def on_socket(path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(str(path))
    with _served(_UnixServer(str(path), _handler(daemon))):
        yield daemon


@contextlib.contextmanager
def on_tcp() -> Iterator[FakeDaemon]:
    daemon = FakeDaemon("")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(daemon))
    daemon.address = f"http://127.0.0.1:{server.server_address[1]}"
    with _served(server):
        yield daemon
