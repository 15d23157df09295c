"""HTTP over a daemon's socket, with the id of the command and the status of the answer."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from tests.testbed.hosts import Host

TIMEOUT_S = 15.0
"""More than a node waits for the outcome of a command."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    host: Host, method: str, target: str, body: object = None, *, key: str = ""
) -> tuple[int, dict[str, Any]]:
    """Status and answer; raises `OSError` where there is none."""
    connection = _Connection(host.daemon.data_dir / "roheletd.sock")
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key:
        headers["Idempotency-Key"] = key
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, target, data, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def add(host: Host, *services: dict[str, Any], key: str = "") -> tuple[int, dict[str, Any]]:
    return ask(host, "POST", "/api/v1/services", {"services": list(services)}, key=key)
