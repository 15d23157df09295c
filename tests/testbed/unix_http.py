"""HTTP over a unix socket with nothing but the standard library: what the test bed itself uses."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(
    path: Path,
    method: str,
    target: str,
    *,
    body: bytes | None = None,
    content_type: str = "application/json",
    auth: str = "",
    timeout_s: float = 60,
) -> Any:
    """The decoded JSON answer (or its text); raises `OSError` where nobody answers."""
    connection = _Connection(path, timeout_s)
    try:
        headers = {"Content-Type": content_type} if body else {}
        if auth:
            headers["X-Registry-Auth"] = auth
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {target}: {answer.status} {text}")
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
