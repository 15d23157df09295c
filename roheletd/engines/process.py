"""Supervised local processes, for nodes without a container engine.

There is no state to lose: what belongs to an instance carries its name in its environment, set
at exec, and is found there after the daemon was killed. The kernel tells of an end through a
pidfd, so nothing polls. Each instance is a session of its own; when its leader ends, whatever is
left of it is killed, as in a container.

It runs as the user, and in the folder, that its service names, if the daemon may start it so.

Cores are held by affinity. Memory and CPU quota are not held: that takes cgroups, which belong
to systemd or to a container engine. `EngineInfo.unenforced` says so.
"""

import asyncio
import contextlib
import logging
import os
import platform
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from roheletd.cluster.container import Container
from roheletd.cluster.reconcile import InstanceSpec
from roheletd.cluster.streams import Batch, ExecWanted
from roheletd.engines import (
    EngineError,
    EngineInfo,
    ExecSession,
    Tell,
    Usage,
    file_variables,
    launch,
    port_variables,
    process_streams,
    procfs,
    surrounding_variables,
    to_nobody,
)
from roheletd.engines.failed import NOT_FOUND_CODE, NOT_STARTED_CODE, Failed
from roheletd.engines.signals import signal_number
from roheletd.fields import StopSignal

_log = logging.getLogger(__name__)

_LOG_BYTES_MAX = 1 << 20
_LOG_BYTES_KEPT = 1 << 16
_LAST_LINE_CHARS_MAX = 200
_KILL_S = 10.0
_GONE = -1
_LOOPBACK = "127.0.0.1"

# The daemon's own environment holds what is not an instance's business: NOTIFY_SOCKET,
# credentials, the loader paths of a PyInstaller binary.
_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")


class _Copy(Struct):
    """One copy of an instance; `spec` is None if an earlier daemon started it.

    `pidfd` tells when it ends and `stat` reads its use; both are `_GONE` once it has ended.
    """

    id: str
    instance: str
    digest: str
    spec: InstanceSpec | None
    stop_signal: StopSignal
    ended: asyncio.Event
    pid: int = _GONE
    pidfd: int = _GONE
    stat: int = _GONE
    created_s: float = 0.0
    exit_code: int | None = None
    reason: str = ""

    def follow(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd
        self.stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self.created_s = procfs.started_s(procfs.read_stat(pid))
        self.ended.clear()

    def let_go(self) -> None:
        for descriptor in (self.pidfd, self.stat):
            if descriptor != _GONE:
                os.close(descriptor)
        self.pidfd = self.stat = _GONE

    @property
    def running(self) -> bool:
        return self.pidfd != _GONE


class ProcessEngine:
    """Runs the command of a service as a local process.

    Output goes to one bounded file per instance in `run_dir`, which is best a tmpfs. `changes()`
    has one reader at a time.
    """

    def __init__(self, run_dir: Path, *, cluster: str, node: str) -> None:
        self._run_dir = run_dir
        self._suffix = f".{node}.{cluster}.log"
        self._markers = {"ROHE_CLUSTER": cluster, "ROHE_NODE": node}
        self._copies: dict[str, _Copy] = {}
        self._changed = asyncio.Event()
        self._cuts = process_streams.Cuts()

    async def open(self) -> EngineInfo:
        _check_kernel()
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._adopt()
        self._delete_old_logs()
        return EngineInfo(
            kind="process",
            name="process",
            version=platform.release(),
            address=f"local processes, output in {self._run_dir}",
            unenforced=("quota", "memory"),
        )

    async def close(self) -> None:
        """Let go; the processes live on and are adopted by the next `open`."""
        for copy in self._copies.values():
            if copy.running:
                asyncio.get_running_loop().remove_reader(copy.pidfd)
                copy.let_go()
        self._copies.clear()

    def _adopt(self) -> None:
        """Take over what an earlier daemon started: of each instance the oldest session leader.

        An instance without a leader ended while nobody watched; its rest is killed.
        """
        with procfs.marked(self._markers) as processes:
            for process in processes:
                leads = process.pid == process.session
                if leads and self._copy_of(process.instance) is None:
                    self._take_over(process)
            orphans = {process.instance for process in processes if not self._runs(process)}
        for instance in orphans:
            _log.warning("%s ended while no daemon watched: killing what is left of it", instance)
            self._sweep(instance)

    def _copy_of(self, instance: str) -> _Copy | None:
        return next((copy for copy in self._copies.values() if copy.instance == instance), None)

    def _runs(self, process: procfs.Marked) -> bool:
        copy = self._copy_of(process.instance)
        return copy is not None and copy.running

    def _take_over(self, process: procfs.Marked) -> None:
        copy = _Copy(
            id=f"{process.pid}.{process.start_ticks}",
            instance=process.instance,
            digest=process.digest,
            spec=None,
            stop_signal=process.stop_signal,
            ended=asyncio.Event(),
        )
        try:
            self._supervise(copy, process.pid, os.dup(process.pidfd))
        except OSError:  # ended just now
            copy.let_go()

    def _supervise(self, copy: _Copy, pid: int, pidfd: int) -> None:
        copy.follow(pid, pidfd)
        self._copies[copy.id] = copy
        asyncio.get_running_loop().add_reader(pidfd, self._on_end, copy)
        self._changed.set()

    def _sweep(self, instance: str) -> None:
        procfs.kill_marked(self._markers | {"ROHE_INSTANCE": instance})

    def _delete_old_logs(self) -> None:
        kept = {self._log_of(copy.instance) for copy in self._copies.values()}
        for path in self._run_dir.glob(f"*{self._suffix}"):
            if path not in kept:
                path.unlink()

    def _log_of(self, instance: str) -> Path:
        return self._run_dir / f"{instance}{self._suffix}"

    async def list(self) -> list[Container]:
        return [
            Container(
                id=copy.id,
                instance=copy.instance,
                digest=copy.digest,
                state="running" if copy.running else "exited",
                created_s=copy.created_s,
                exit_code=copy.exit_code,
                reason=copy.reason,
                host_ports=tuple(port.host_port for port in copy.spec.ports) if copy.spec else (),
            )
            for copy in self._copies.values()
        ]

    async def run(self, spec: InstanceSpec, tell: Tell = to_nobody) -> None:  # noqa: ARG002
        _refuse_what_takes_a_container(spec)
        if self._copy_of(spec.instance) is not None:
            raise EngineError(f"an earlier copy of {spec.instance} is still being removed")
        self._log_of(spec.instance).unlink(missing_ok=True)
        self._cuts.begun(self._log_of(spec.instance))
        pid = self._spawn(spec)
        copy = _Copy(
            id=f"{pid}.{procfs.read_stat(pid).start_ticks}",
            instance=spec.instance,
            digest=spec.digest,
            spec=spec,
            stop_signal=spec.stop_signal or "SIGTERM",
            ended=asyncio.Event(),
        )
        self._supervise(copy, pid, os.pidfd_open(pid))

    async def start(self, container_id: str) -> None:
        copy = self._copies.get(container_id)
        if copy is None or copy.spec is None:
            raise EngineError(f"process {container_id} is gone")
        if not copy.running:
            pid = self._spawn(copy.spec)
            copy.exit_code, copy.reason = None, ""
            self._supervise(copy, pid, os.pidfd_open(pid))

    def _spawn(self, spec: InstanceSpec) -> int:
        """The pid of a new session that runs the program; it is ours to reap."""
        program, place = _program(spec), _place(spec)
        if spec.files and place.person is not None:
            raise EngineError(
                f"user {spec.user}: files of config maps and secrets are for this node's daemon "
                "alone; include them as variables, without `path`"
            )
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            log = os.open(self._log_of(spec.instance), flags, 0o600)
            try:
                with launch.pinned(spec.cores):
                    return launch.start(
                        program,
                        _environment(spec, place),
                        place=place,
                        stdin=launch.NOTHING,
                        stdout=log,
                        stderr=log,
                    )
            finally:
                os.close(log)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise EngineError(f"cannot start {program[0]} on this node: {reason}") from error

    def _on_end(self, copy: _Copy) -> None:
        asyncio.get_running_loop().remove_reader(copy.pidfd)
        copy.exit_code = _reap(copy)
        self._sweep(copy.instance)
        self._cuts.ended(self._log_of(copy.instance))
        copy.reason = _exit_reason(copy.exit_code, _last_line(self._log_of(copy.instance)))
        copy.let_go()
        copy.ended.set()
        if copy.spec is None:
            # Nothing to start it again with: gone, so that it is made anew.
            _log.warning("%s (started by an earlier daemon) %s", copy.instance, copy.reason)
            self._copies.pop(copy.id, None)
        self._changed.set()

    async def stop(self, container_id: str, grace_s: float) -> None:
        copy = self._copies.get(container_id)
        if copy is not None and not await _ends(copy, signal_number(copy.stop_signal), grace_s):
            self._sweep(copy.instance)
            if not await _ends(copy, signal.SIGKILL, _KILL_S):
                raise EngineError(f"{copy.instance} (pid {copy.pid}) cannot be killed")

    async def remove(self, container_id: str, grace_s: float) -> None:
        copy = self._copies.get(container_id)
        if copy is None:
            return
        await self.stop(container_id, grace_s)
        self._copies.pop(container_id, None)
        self._log_of(copy.instance).unlink(missing_ok=True)
        self._cuts.begun(self._log_of(copy.instance))
        self._changed.set()

    def doing(self) -> dict[str, str]:
        """What there is to be made ready takes no time."""
        return {}

    def usage(self) -> dict[str, Usage]:
        """Also cuts the logs, since nothing else here runs each second."""
        found = {}
        for copy in self._copies.values():
            if copy.running:
                with contextlib.suppress(OSError):  # ended, and we are about to be told
                    found[copy.id] = procfs.usage(copy.stat)
                    log = self._log_of(copy.instance)
                    self._cuts.cut(log, _cut(log))
        return found

    def threads(self, container_id: str) -> dict[int, float]:
        copy = self._copies.get(container_id)
        if copy is None or not copy.running:
            return {}
        return procfs.thread_cpu_s(procfs.threads(copy.pid))

    def logs(
        self,
        container_id: str,
        *,
        follow: bool,
        since_unix_s: int = 0,
        tail: int | None = None,
        again: bool = False,
    ) -> AsyncIterator[Batch]:
        copy = self._copies.get(container_id)
        if copy is None:
            raise EngineError(f"process {container_id} is gone")
        return process_streams.logs(
            self._log_of(copy.instance),
            self._cuts,
            running=lambda: copy.running,
            follow=follow,
            since=since_unix_s > 0,
            tail=tail,
            again=again,
        )

    async def exec_session(self, container_id: str, wanted: ExecWanted) -> ExecSession:
        copy = self._copies.get(container_id)
        if copy is None or not copy.running:
            raise EngineError(f"{wanted.instance} has just ended")
        try:
            with launch.pinned(tuple(os.sched_getaffinity(copy.pid))):
                if copy.spec is None:
                    place = procfs.place_of(copy.pid)
                    environment = process_streams.environment_of(copy.pid)
                else:
                    place = _place(copy.spec)
                    environment = _environment(copy.spec, place) | process_streams.NOT_THE_INSTANCE
                return process_streams.start_exec(wanted, environment, place)
        except OSError as error:
            why = f"cannot start {wanted.command[0]}: {os.strerror(error.errno or 0).lower()}"
            missing = isinstance(error, FileNotFoundError)
            return Failed(NOT_FOUND_CODE if missing else NOT_STARTED_CODE, why)

    async def images(self) -> AsyncIterator[tuple[str, ...]]:
        yield ()

    async def volumes(self) -> None:
        return None

    async def remove_volume(self, name: str) -> None:
        raise EngineError(f"there is no {name}: local processes have no volumes", retry=False)

    async def changes(self) -> AsyncIterator[None]:
        while True:
            yield None
            await self._changed.wait()
            self._changed.clear()


def _check_kernel() -> None:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        raise EngineError(
            f"running local processes needs Linux 5.4 or newer, this is {platform.release()}",
            retry=False,
        ) from error


def _refuse_what_takes_a_container(spec: InstanceSpec) -> None:
    if not _program(spec):
        raise EngineError(
            f"{spec.service} names no command, and this node runs no container images",
            retry=False,
        )
    if spec.volumes:
        raise EngineError(
            f"{spec.service} has volumes, and a process sees the files of its node alone: "
            "they need a container engine",
            retry=False,
        )
    for field in ("hostname", "read_only"):
        if getattr(spec, field):
            raise EngineError(
                f"{spec.service} has `{field}`, which needs a container engine", retry=False
            )


def _program(spec: InstanceSpec) -> tuple[str, ...]:
    return (*(spec.entrypoint or ()), *spec.command)


def _place(spec: InstanceSpec) -> launch.Place:
    return launch.place_of(working_dir=spec.working_dir or "", user=spec.user or "")


def _environment(spec: InstanceSpec, place: launch.Place) -> dict[str, str]:
    """Little of ours, the service's own, and what an instance is found again by."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    inherited |= place.person.variables if place.person else {}
    identity = {
        "ROHE_CLUSTER": spec.cluster,
        "ROHE_NODE": spec.node,
        "ROHE_SERVICE": spec.service,
        "ROHE_INSTANCE": spec.instance,
        "ROHE_DIGEST": spec.digest,
        # For a daemon that takes it over.
        **({"ROHE_STOP_SIGNAL": spec.stop_signal} if spec.stop_signal else {}),
    }
    ports = port_variables({port.container_port: port.host_port for port in spec.ports})
    files = file_variables(spec.files, mounted=False)
    around = surrounding_variables(spec, _LOOPBACK)
    return inherited | around | files | spec.env | identity | ports


def _reap(copy: _Copy) -> int | None:
    """The exit code, 128 + n for signal n; None for a process that is not our child."""
    try:
        os.waitid(os.P_PIDFD, copy.pidfd, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(copy.pid, signal.SIGKILL)  # while the zombie still holds the number
    ended = os.waitid(os.P_PIDFD, copy.pidfd, os.WEXITED)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def _exit_reason(code: int | None, last_line: str) -> str:
    if code is None:
        return "ended; its exit code is unknown, since an earlier daemon had started it"
    if code > 128 and code - 128 in signal.valid_signals():  # noqa: PLR2004 - the shell's rule
        return f"killed by {signal.Signals(code - 128).name} ({code})"
    said = f": {last_line}" if code and last_line else ""
    return f"ended with exit code {code}{said}"


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES_KEPT))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    said = (line.strip() for line in reversed(lines))
    return next((line for line in said if line), "")[:_LAST_LINE_CHARS_MAX]


async def _ends(copy: _Copy, number: int, within_s: float) -> bool:
    """Signal the whole group and wait for its leader's end."""
    if copy.running:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(copy.pidfd, 0)  # still that process, so the number is its
            os.killpg(copy.pid, number)
    else:
        return True
    try:
        async with asyncio.timeout(within_s):
            await copy.ended.wait()
    except TimeoutError:
        return False
    return True


def _cut(path: Path) -> int:
    """Keep the end of a log that has grown too long; a line written meanwhile may be lost.

    How many bytes went.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:  # deleted behind our back; the process writes on, to nobody
        return 0
    if size <= _LOG_BYTES_MAX:
        return 0
    with path.open("r+b") as log:
        gone = log.seek(-_LOG_BYTES_KEPT, os.SEEK_END)
        kept = log.read()
        log.truncate(0)
    with path.open("ab") as log:
        log.write(kept)
    return gone
