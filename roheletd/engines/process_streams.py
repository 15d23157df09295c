"""Logs of local processes, and commands beside them.

The output of an instance is one file, which is cut when it grows too long. Whoever follows it keeps
a place in all that was ever written; `Cuts` says how much of that is no more. A file has no events
that would be worth their price: it is looked at several times a second, as long as somebody reads.

A command is started with the environment, on the cores, as the user and in the folder of the
instance, as if it were within.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import shutil
import signal
import struct
import termios
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from roheletd.cluster.streams import LINE_CHARS_MAX, Batch, ExecWanted, LogLine
from roheletd.engines import launch

_LOOK_S = 0.25
_READ_BYTES = 1 << 18
_CHUNK_BYTES = 1 << 14
_END_S = 2.0
_NONE = -1

NOT_THE_INSTANCE = {"ROHE_DIGEST": "exec"}
"""Should the daemon be killed and the instance end, the next daemon would take the command for it;
with another digest it replaces that."""

# The first terminal that the leader of a session opens controls it.
_TAKE_TERMINAL = 'exec "$@" <>"$0" >&0 2>&0'


class Cuts:
    """How many bytes of each log are no more, since it was begun."""

    def __init__(self) -> None:
        self._gone: dict[Path, int] = {}
        self._ends: dict[Path, int] = {}

    def cut(self, path: Path, gone_bytes: int) -> None:
        self._gone[path] = self.gone(path) + gone_bytes

    def begun(self, path: Path) -> None:
        self._gone.pop(path, None)
        self._ends.pop(path, None)

    def ended(self, path: Path) -> None:
        """The process has ended: what follows is of its next run."""
        with contextlib.suppress(OSError):
            self._ends[path] = self.gone(path) + path.stat().st_size

    def end(self, path: Path) -> int:
        """Where the last run has ended."""
        return self._ends.get(path, self.gone(path))

    def gone(self, path: Path) -> int:
        return self._gone.get(path, 0)


async def logs(
    path: Path,
    cuts: Cuts,
    *,
    running: Callable[[], bool],
    follow: bool,
    since: bool,
    tail: int | None,
    again: bool,
) -> AsyncIterator[Batch]:
    """The lines in batches; where they are followed, until the process has ended."""
    if since:
        yield [LogLine("local processes stamp no lines: all that is kept is shown", "note")]
    place, left = cuts.end(path) if again else _beginning(path, cuts, tail), b""
    while True:
        last_look = not (follow and running())
        data, place, lost = _read(path, cuts, place)
        if lost:
            left = b""
            yield [LogLine(f"{lost} bytes left out: the log was cut meanwhile", "note")]
        if data:
            *whole, left = (left + data).split(b"\n")
            if len(left) > LINE_CHARS_MAX:
                whole, left = [*whole, left], b""
            if whole:
                yield [_line(text) for text in whole]
        elif last_look:
            break
        if len(data) < _READ_BYTES and not last_look:
            await asyncio.sleep(_LOOK_S)
    if left:
        yield [_line(left)]


def _line(text: bytes) -> LogLine:
    return LogLine(text.decode(errors="replace").removesuffix("\r"))


def _beginning(path: Path, cuts: Cuts, tail: int | None) -> int:
    gone = cuts.gone(path)
    if tail is None:
        return gone
    with contextlib.suppress(FileNotFoundError):
        data = path.read_bytes()  # its length is bounded
        at = len(data) - data.endswith(b"\n")
        for _ in range(tail):
            at = data.rfind(b"\n", 0, at)
            if at < 0:
                return gone
        return gone + (at + 1 if tail else len(data))
    return gone


def _read(path: Path, cuts: Cuts, place: int) -> tuple[bytes, int, int]:
    """What was written since `place`, where that ends, and how much of it is no more."""
    gone = cuts.gone(path)
    lost = max(0, gone - place)
    place += lost
    try:
        with path.open("rb") as log:
            log.seek(place - gone)
            data = log.read(_READ_BYTES)
    except FileNotFoundError:
        data = b""
    return data, place + len(data), lost


class ProcessExec:
    """A command beside an instance: a session of its own, ended when it is closed."""

    def __init__(
        self, pid: int, own: list[int], *, given: int, output: dict[int, bool], tty: bool
    ) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._own = own
        self._tty = tty
        self._input = given
        self._pending: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._output = dict(output)
        self._ended = asyncio.Event()
        self._code: int | None = None
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._reap)
        for descriptor in self._output:
            os.set_blocking(descriptor, False)
            loop.add_reader(descriptor, self._arrived, descriptor)

    def _arrived(self, descriptor: int) -> None:
        """One chunk at a time: until it is read, the command waits."""
        try:
            data = os.read(descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the terminal has nobody on its other side any more
            data = b""
        asyncio.get_running_loop().remove_reader(descriptor)
        self._pending.put_nowait((descriptor, data))

    async def read(self) -> tuple[bytes, bool] | None:
        while self._output:
            descriptor, data = await self._pending.get()
            if data:
                asyncio.get_running_loop().add_reader(descriptor, self._arrived, descriptor)
                return data, self._output[descriptor]
            del self._output[descriptor]
        return None

    async def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left and self._input != _NONE:
            try:
                left = left[os.write(self._input, left) :]
            except BlockingIOError:
                await self._writable()
            except OSError:  # it has closed its input, or ended
                return

    async def _writable(self) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._input, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._input)

    async def end_input(self) -> None:
        if self._tty:
            await self.write(b"\x04")
        elif self._input != _NONE:
            self._own.remove(self._input)
            os.close(self._input)
            self._input = _NONE

    async def resize(self, rows: int, columns: int) -> None:
        if self._tty:
            _set_size(self._input, rows, columns)

    async def exit_code(self) -> tuple[int, str]:
        await self._ended.wait()
        assert self._code is not None
        return self._code, ""

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        for descriptor in self._output:
            loop.remove_reader(descriptor)
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._ended.wait()
        for descriptor in self._own:
            os.close(descriptor)
        self._own.clear()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        assert ended is not None
        exited = ended.si_code == os.CLD_EXITED
        self._code = ended.si_status if exited else 128 + ended.si_status
        self._ended.set()


def start_exec(wanted: ExecWanted, environment: dict[str, str], place: launch.Place) -> ProcessExec:
    """Started on the cores of this thread. Raises `OSError` for what cannot be."""
    run = _in_terminal if wanted.tty else _with_pipes
    return run(wanted, environment, place)


def _in_terminal(
    wanted: ExecWanted, environment: dict[str, str], place: launch.Place
) -> ProcessExec:
    program = wanted.command[0]
    if "/" not in program and shutil.which(program, path=environment.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    ours, theirs = pty.openpty()
    with contextlib.ExitStack() as unless_started:
        unless_started.callback(os.close, ours)
        try:
            _set_size(ours, wanted.rows, wanted.columns)
            if place.person is not None:
                os.fchown(theirs, place.person.uid, -1)
            pid = launch.start(
                ("/bin/sh", "-c", _TAKE_TERMINAL, os.ttyname(theirs), *wanted.command),
                {"TERM": "xterm", **environment},
                place=place,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
            )
        finally:
            os.close(theirs)
        unless_started.pop_all()
    return ProcessExec(pid, [ours], given=ours, output={ours: False}, tty=True)


def _with_pipes(
    wanted: ExecWanted, environment: dict[str, str], place: launch.Place
) -> ProcessExec:
    out, out_end = os.pipe()
    error, error_end = os.pipe()
    theirs, ours, given, in_end = [out_end, error_end], [out, error], _NONE, launch.NOTHING
    if wanted.stdin:
        in_end, given = os.pipe()
        os.set_blocking(given, False)
        theirs.append(in_end)
        ours.append(given)
    with contextlib.ExitStack() as unless_started:
        for descriptor in ours:
            unless_started.callback(os.close, descriptor)
        try:
            pid = launch.start(
                wanted.command,
                environment,
                place=place,
                stdin=in_end,
                stdout=out_end,
                stderr=error_end,
            )
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        unless_started.pop_all()
    return ProcessExec(pid, ours, given=given, output={out: False, error: True}, tty=False)


def _set_size(descriptor: int, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def environment_of(pid: int) -> dict[str, str]:
    """As it was when the process was started, and for a command beside it."""
    found = {}
    for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, separator, value = variable.partition(b"=")
        if separator:
            found[os.fsdecode(name)] = os.fsdecode(value)
    return found | NOT_THE_INSTANCE
