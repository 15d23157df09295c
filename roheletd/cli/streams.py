"""The commands that look into instances: their logs, and a command or a shell within them."""

import argparse
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any
from urllib.parse import urlencode

from roheletd.cli import UNREACHABLE, failed
from roheletd.cli.client import Unreachable, quoted
from roheletd.cli.options import Command
from roheletd.cli.tables import Style, clean
from roheletd.cli.terminal import client_of, note, style_of, write_lines

_COLOURS = ("green", "yellow", "red")
_READ_BYTES = 1 << 16
_FOLLOWED_TAIL = 100


def _logs(args: argparse.Namespace) -> int:
    asked: dict[str, Any] = {"follow": "true"} if args.follow else {}
    tail = args.tail
    if tail is None and args.follow:
        tail = _FOLLOWED_TAIL
    if tail is not None and tail != "all":
        asked["tail"] = tail
    if args.since is not None:
        asked["since_s"] = args.since
    if args.node is not None:
        asked["node"] = args.node
    path = f"/api/v1/logs/{quoted(args.name)}?{urlencode(asked)}"
    connection, rest = client_of(args).opened("GET", path)
    with connection:
        return _Shown(args, style_of(sys.stdout)).all(records_of(connection, rest))


def records_of(connection: socket.socket, received: bytes) -> Iterator[list[bytes]]:
    """Whole lines of the answer, as many at once as have come."""
    while True:
        *whole, received = received.split(b"\n")
        if whole:
            yield whole
        chunk = connection.recv(_READ_BYTES)
        if not chunk:
            raise Unreachable("the daemon broke off in the middle of its answer")
        received += chunk


class _Shown:
    """How lines look: the instance before each where there may be several."""

    def __init__(self, args: argparse.Namespace, style: Style) -> None:
        self._args = args
        self._style = style
        self._one = args.name.rpartition(".")[2].isdigit()
        self._colours: dict[str, str] = {}
        self._is_json = args.output == "json"

    def all(self, batches: Iterator[list[bytes]]) -> int:
        for batch in batches:
            records = [json.loads(record) for record in batch]
            end = next((record["end"] for record in records if "end" in record), None)
            lines = [record for record in records if "end" not in record]
            if self._is_json:
                write_lines([json.dumps(record) for record in lines])
            else:
                self._show(lines)
            sys.stdout.flush()
            if end is not None:
                return failed(RuntimeError(end)) if end else 0
        return UNREACHABLE

    def _show(self, records: list[Mapping[str, Any]]) -> None:
        shown = []
        for record in records:
            if record["source"] == "note":
                note(f"{record['instance']} on {record['node']}: {record['line']}")
            else:
                shown.append(self._line(record))
        write_lines(shown)

    def _line(self, record: Mapping[str, Any]) -> str:
        text = _safe(record["line"]) if self._style.width else record["line"]
        if self._args.timestamps and record["at"]:
            text = f"{record['at']} {text}"
        if self._one:
            return text
        return f"{self._prefix(record['instance'])} {text}"

    def _prefix(self, instance: str) -> str:
        colour = self._colours.setdefault(instance, _COLOURS[len(self._colours) % len(_COLOURS)])
        return self._style.paint(f"{instance} |", colour)


def _safe(text: str) -> str:
    """Colours of the instance's own are kept out as well: they could hide or forge lines."""
    return clean(text.replace("\t", "    "))


def _exec(args: argparse.Namespace) -> int:
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    in_terminal = is_terminal if args.tty is None else args.tty
    reads = (not sys.stdin.isatty() or in_terminal) if args.stdin is None else args.stdin
    rows, columns = _size()
    begin = {
        "command": args.cmd,
        "tty": in_terminal,
        "stdin": reads,
        "rows": rows,
        "columns": columns,
    }
    connection, rest = client_of(args).opened(
        "POST",
        f"/api/v1/exec/{quoted(args.name)}",
        headers={"Transfer-Encoding": "chunked"},
        body=_chunk(_framed(b"b", json.dumps(begin).encode())),
        version="1.1",
    )
    with connection, _raw(on=in_terminal and is_terminal):
        code, reason = _Attached(connection, rest, reads=reads, resizes=in_terminal).run()
    if reason:
        note(reason)
    return code


class _Attached:
    """Passes on what is typed and what is written, until the command has ended."""

    def __init__(
        self, connection: socket.socket, rest: bytes, *, reads: bool, resizes: bool
    ) -> None:
        self._connection = connection
        self._chunks = _Chunks(rest)
        self._reads = reads
        self._frames = bytearray(self._chunks.take())
        self._wake, self._resized = socket.socketpair()
        self._wake.settimeout(0)
        if resizes:
            signal.signal(signal.SIGWINCH, self._on_resize)

    def _on_resize(self, _number: int, _frame: FrameType | None) -> None:
        with suppress(BlockingIOError):
            self._wake.send(b"r")

    def run(self) -> tuple[int, str]:
        while True:
            if (end := self._pass_frames()) is not None:
                return end
            sources = [self._connection, self._resized, *([sys.stdin] if self._reads else [])]
            ready, _, _ = select.select(sources, [], [])
            if self._resized in ready:
                self._resized.recv(64)
                rows, columns = _size()
                self._send(b"r", json.dumps({"rows": rows, "columns": columns}).encode())
            if sys.stdin in ready:
                typed = os.read(sys.stdin.fileno(), 1 << 14)
                self._send(b"i", typed)
                self._reads = bool(typed)
            if self._connection in ready:
                chunk = self._connection.recv(_READ_BYTES)
                if not chunk:
                    raise Unreachable("the daemon broke off: whether the command runs is unknown")
                self._frames += self._chunks.take(chunk)

    def _pass_frames(self) -> tuple[int, str] | None:
        frames = self._frames
        while len(frames) >= 5 and len(frames) >= 5 + (size := int.from_bytes(frames[1:5])):  # noqa: PLR2004
            kind, body = bytes(frames[:1]), bytes(frames[5 : 5 + size])
            del frames[: 5 + size]
            if kind == b"x":
                end = json.loads(body)
                return end["exit_code"], end["reason"]
            stream = sys.stderr if kind == b"e" else sys.stdout
            stream.buffer.write(body)
            stream.buffer.flush()
        return None

    def _send(self, kind: bytes, body: bytes) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # its last words are still to come
            self._connection.sendall(_chunk(_framed(kind, body)))


class _Chunks:
    """Takes HTTP's chunks off what they hold."""

    def __init__(self, begun: bytes) -> None:
        self._left = begun

    def take(self, received: bytes = b"") -> bytes:
        self._left += received
        found = b""
        while (end := self._left.find(b"\r\n")) >= 0:
            size = int(self._left[:end].partition(b";")[0] or b"0", 16)
            if len(self._left) < end + 4 + size:
                break
            found += self._left[end + 2 : end + 2 + size]
            self._left = self._left[end + 4 + size :]
            if not size:
                break
        return found


def _framed(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4) + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _size() -> tuple[int, int]:
    with suppress(OSError):
        packed = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
        rows, columns = struct.unpack("HHHH", packed)[:2]
        if rows and columns:
            return rows, columns
    return 24, 80


@contextmanager
def _raw(*, on: bool) -> Iterator[None]:
    """Every key goes inside, Ctrl-C too; afterwards the terminal is as it was."""
    if not on:
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is kept
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


COMMANDS: dict[str, Command] = {"logs": _logs, "exec": _exec}
