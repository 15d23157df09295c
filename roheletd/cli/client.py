"""One request to the daemon, over its unix socket or TCP.

HTTP/1.0 on a bare socket and not `http.client`, which loads `ssl` and `email`: 40 ms of the 85 ms
that `roheletd status` took with it, several times that on a Pi. To a 1.0 client a server may send
neither chunks nor anything after the body, so the whole protocol is: one head, then read to the
end (RFC 9112, 6.1 and 6.3).
"""

import errno
import json
import os
import socket
from collections.abc import Mapping
from typing import Any, NoReturn

from roheletd.cli import REFUSED, UNREACHABLE
from roheletd.cli.options import API_PORT, DATA_DIR, TIMEOUT_S
from roheletd.errors import InvalidInput, RoheletError

ANSWER_BYTES_MAX = 64 << 20
"""A thousand nodes are 1 MB; what is longer is not our daemon."""

SOCKET_NAME = "roheletd.sock"

_OK = range(200, 300)
_ABSENT = (FileNotFoundError, ConnectionRefusedError)
_UNAUTHORIZED = 401
_HINTS = {
    errno.ENOENT: "is not there: start the daemon (`systemctl start roheletd` or `roheletd run`), "
    "or name its directory with --data-dir or ROHELETD_DATA_DIR",
    errno.ECONNREFUSED: "is not answered: the daemon has ended; start it again (`systemctl start "
    "roheletd` or `roheletd run`)",
    errno.EACCES: "may not be opened by this user: use the daemon's user or sudo",
    errno.ENOTDIR: "is not below a directory: correct --data-dir",
}


class Unreachable(RoheletError):  # noqa: N818 - reads as what it is
    """Nobody answers, or somebody else does."""

    exit_code = UNREACHABLE


class NoDaemon(Unreachable):
    """Nobody listens at all, so nothing that was asked has happened."""


class Problem(RoheletError):  # noqa: N818 - the word of the API
    """The daemon answered no; `kind` is one of the API's words for why."""

    exit_code = REFUSED

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind


class Address:
    """Where a daemon listens: a path, or a host and a port."""

    def __init__(self, *, path: str = "", host: str = "", port: int = 0, tls: bool = False) -> None:
        self.path = path
        self.host = host
        self.port = port
        self.tls = tls

    def __str__(self) -> str:
        return (
            self.path or f"{'https' if self.tls else 'http'}://{_bracketed(self.host)}:{self.port}"
        )


class Answer:
    """What the daemon said: `text` as it came, `value` as plain values."""

    def __init__(self, text: bytes, address: Address) -> None:
        self.text = text
        try:
            self.value: Any = json.loads(text)
        except ValueError:
            raise Unreachable(f"{address} answers, but not like roheletd does") from None


class Client:
    """Asks one daemon. Each request is a connection of its own."""

    def __init__(self, address: Address, *, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self._token = token
        self._timeout_s = timeout_s

    def get(self, path: str, *, wait_s: float = 0.0) -> Answer:
        """`wait_s` is how long the daemon itself may hold the answer back."""
        return self._answer("GET", path, b"", {}, self._timeout_s + wait_s, change=False)

    def ask(self, path: str, body: Mapping[str, object]) -> Answer:
        """A question that is too long for an address; nothing is changed."""
        headers = self._headers(has_body=True)
        text = json.dumps(body).encode()
        return self._answer("POST", path, text, headers, self._timeout_s, change=False)

    def opened(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes = b"",
        version: str = "1.0",
    ) -> tuple[socket.socket, bytes]:
        """A connection on which an answer without an end has begun, and what has come of it.

        `body` is only how the body begins, where there is more to say.
        """
        all_headers = {"Connection": "close", **self._headers(has_body=False), **headers}
        try:
            connection = _connected(self.address, self._timeout_s)
            try:
                connection.sendall(self._head(method, path, all_headers, version) + body)
                rest = _begun(connection, self.address)
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            self._fail(error, self._timeout_s, change=False)
        connection.settimeout(None)
        return connection, rest

    def _head(self, method: str, path: str, headers: Mapping[str, str], version: str) -> bytes:
        host = _bracketed(self.address.host) or "localhost"
        lines = [f"{method} {path} HTTP/{version}", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """`body` is left out where the address says it all."""
        return self._change("POST", path, b"" if body is None else json.dumps(body).encode())

    def delete(self, path: str, name: str, query: str = "") -> Answer:
        return self._change("DELETE", f"{path}/{quoted(name)}{query}", b"")

    def _change(self, method: str, path: str, body: bytes) -> Answer:
        headers = {"Idempotency-Key": os.urandom(16).hex(), **self._headers(has_body=bool(body))}
        return self._answer(method, path, body, headers, self._timeout_s, change=True)

    def _headers(self, *, has_body: bool) -> dict[str, str]:
        headers = {"Content-Type": "application/json"} if has_body else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _answer(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        *,
        change: bool,
    ) -> Answer:
        headers = {"Content-Length": str(len(body)), **headers}
        request = self._head(method, path, headers, "1.0") + body
        try:
            received = _exchange(self.address, request, timeout_s)
        except OSError as error:
            self._fail(error, timeout_s, change=change)
        status, text = _parsed(received, self.address)
        answer = Answer(text, self.address)
        if status not in _OK:
            raise _problem(status, answer.value, self.address)
        return answer

    def _fail(self, error: OSError, timeout_s: float, *, change: bool) -> NoReturn:
        if isinstance(error, TimeoutError):
            reason = f"does not answer within {timeout_s:g} s (--timeout)"
        else:
            hint = _HINTS.get(error.errno or 0, "") if self.address.path else ""
            reason = hint or f"cannot be reached: {error.strerror or error}"
        if isinstance(error, FileNotFoundError):
            reason += _quickstart_hint()
        begun = not isinstance(error, (*_ABSENT, PermissionError))
        if change and begun:
            reason += "; the change may or may not have been made, asking again is safe"
        kind = NoDaemon if isinstance(error, _ABSENT) else Unreachable
        raise kind(f"no daemon: {self.address} {reason}") from None


def address_of(*, url: str | None, data_dir: str | None) -> Address:
    """Where to ask; of `url` only scheme, host and port count, as ROHE's had a path as well."""
    if url is None:
        return Address(path=os.path.join(directory(data_dir), SOCKET_NAME))  # noqa: PTH118 - pathlib is 8 ms
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    host, port = _host_and_port(authority)
    if scheme not in ("http", "https") or not host or port is None:
        raise InvalidInput("--url", f"expected http://HOST[:PORT], got {url}")
    return Address(host=host, port=port, tls=scheme == "https")


def directory(data_dir: str | None) -> str:
    """The daemon's directory: the option, the environment, the default."""
    return data_dir or os.environ.get("ROHELETD_DATA_DIR") or DATA_DIR


def token_of(address: Address, *, token_file: str | None, data_dir: str | None) -> str:
    """The token for changes over TCP; empty where there is none to be had."""
    if address.path:
        return ""
    if token_file is None and (given := os.environ.get("ROHELETD_TOKEN")):
        return _checked_token(given, "ROHELETD_TOKEN")
    path = token_file or os.path.join(directory(data_dir), "api.token")  # noqa: PTH118
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123
            return _checked_token(file.readline(4096), path)
    except (OSError, ValueError) as error:
        if token_file is None:
            return ""
        raise InvalidInput(token_file, f"expected a readable token: {error}") from None


def _quickstart_hint() -> str:
    from roheletd.cli.home import place  # noqa: PLC0415 - loads msgspec, for a hint

    beside = place() / "data"
    if not (beside / SOCKET_NAME).exists():
        return ""
    return f"; a quickstart of yours is running: --data-dir {beside}"


def quoted(name: str) -> str:
    """`name` as one segment of a path."""
    safe = "-_.~"
    return "".join(
        char if char.isascii() and (char.isalnum() or char in safe) else _percent(char)
        for char in name
    )


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode(errors="surrogateescape"))


def _checked_token(text: str, source: str) -> str:
    token = text.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput(source, "expected one word of ASCII characters")
    return token


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _host_and_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    if not port:
        return host, API_PORT
    valid = port.isascii() and port.isdigit() and 0 < int(port[:6]) < 1 << 16
    return host, int(port) if valid else None


def _exchange(address: Address, request: bytes, timeout_s: float) -> bytes:
    with _connected(address, timeout_s) as connection:
        connection.sendall(request)
        received = bytearray()
        while len(received) <= ANSWER_BYTES_MAX:
            chunk = connection.recv(1 << 16)
            if not chunk:
                break
            received += chunk
    return bytes(received)


def _begun(connection: socket.socket, address: Address) -> bytes:
    """Of an answer that is in order, what has come beside its head. Raises what else it says."""
    received = b""
    while b"\r\n\r\n" not in received and (chunk := connection.recv(1 << 16)):
        received += chunk
    if received[:7] == b"HTTP/1." and received[9:10] == b"2":
        return received.partition(b"\r\n\r\n")[2]
    while not _is_whole(received) and (chunk := connection.recv(1 << 16)):
        received += chunk
    status, text = _parsed(received, address)
    raise _problem(status, Answer(text, address).value, address)


def _is_whole(received: bytes) -> bool:
    """The daemon keeps the connection a while, for it expects more of us."""
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    lengths = [value.strip() for name, _, value in _fields(lines) if name == "content-length"]
    return bool(lengths) and lengths[0].isdigit() and len(body) >= int(lengths[0])


def _connected(address: Address, timeout_s: float) -> socket.socket:
    if not address.path:
        connection = socket.create_connection((address.host, address.port), timeout=timeout_s)
        return _with_tls(connection, address.host) if address.tls else connection
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address.path)
    except OSError:
        connection.close()
        raise
    return connection


def _with_tls(connection: socket.socket, host: str) -> socket.socket:
    import ssl  # noqa: PLC0415 - 20 ms, for reverse proxies only: the daemon itself has no TLS

    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    except OSError:
        connection.close()
        raise


def _parsed(received: bytes, address: Address) -> tuple[int, bytes]:
    """Status and body; a body that was cut short is not an answer."""
    head, end, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    protocol, _, rest = first.partition(" ")
    status = rest[:3]
    if not end or not protocol.startswith("HTTP/1.") or not status.isdigit():
        raise Unreachable(f"{address} answers, but not like roheletd does")
    headers = {name.strip().lower(): value.strip() for name, _, value in _fields(lines)}
    length = headers.get("content-length", "")
    if length.isdigit() and len(body) < int(length):
        raise Unreachable(f"{address} broke off in the middle of its answer")
    return int(status), body


def _fields(lines: list[str]) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in lines]


def _problem(status: int, body: object, address: Address) -> RoheletError:
    if not isinstance(body, dict) or "reason" not in body:
        return Unreachable(f"{address} answers {status}, but not like roheletd does")
    kind, reason, field = (str(body.get(key, "")) for key in ("error", "reason", "field"))
    if field:
        reason = f"{field}: {reason}"
    if status == _UNAUTHORIZED:
        reason += " (--token-file or ROHELETD_TOKEN)"
    return Problem(kind or str(status), reason)
