"""This node's own mosquitto: a child with a generated configuration, restarted when it dies.

The password is on no command line: `mosquitto_passwd -U` hashes it in a file that only we, and
the account that mosquitto becomes, can reach. A daemon that was killed leaves its mosquitto
running; the next start knows it by the configuration on its command line, and ends it first.
"""

import asyncio
import logging
import os
import pwd
import shutil
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

from roheletd.broker import pause_s, url_of
from roheletd.broker.listening import START_TIMEOUT_S, require_free, until_accepting
from roheletd.errors import Unavailable
from roheletd.messages import PAYLOAD_BYTES_MAX

logger = logging.getLogger(__name__)

STOP_TIMEOUT_S = 0.7
STEADY_S = 10.0
LOG_LINE_BYTES_MAX = 262_144

# Debian keeps servers out of the PATH of ordinary users.
_SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
# A frozen program points LD_LIBRARY_PATH at libraries of its own, which are not mosquitto's.
_ENVIRONMENT = {"PATH": _SEARCH_PATH, "LANG": "C"}

_CONFIGURATION = """\
# Written by roheletd at each start.
listener {port} {listen}
allow_anonymous false
password_file {passwords}
persistence false
log_dest stderr
log_type error
log_type warning
connection_messages false
sys_interval 0
set_tcp_nodelay true
max_packet_size {packet_bytes_max}
max_queued_messages 1000
memory_limit 67108864
"""


def find_mosquitto() -> str | None:
    return shutil.which("mosquitto", path=_SEARCH_PATH)


class ManagedBroker:
    """One mosquitto. `start`, then `run` beside the rest of the daemon, and at last `close`.

    `directory` is its own: it is made, and what is in it is removed at the end. `reason` says why
    it does not run, and is empty while it does.
    """

    mqtt5 = True

    def __init__(
        self,
        binary: str,
        directory: Path,
        *,
        listen: str,
        port: int,
        username: str,
        password: str,
        rng: Random,
    ) -> None:
        self.url = url_of(listen, port)
        self.reason = "not started yet"
        self._binary = binary
        self._directory = directory.absolute()
        self._config = self._directory / "mosquitto.conf"
        self._passwords = self._directory / "passwords"
        self._listen = listen
        self._port = port
        self._credentials = f"{username}:{password}\n"
        self._rng = rng
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last_words: deque[str] = deque(maxlen=3)
        self._closed = False

    async def start(self) -> None:
        """Return when it accepts connections; raise `Unavailable` with the reason it does not."""
        await self._end_leftovers()
        try:
            await self._write_files()
        except OSError as error:
            raise Unavailable(f"the broker's files cannot be written: {error}") from None
        await self._spawn()

    async def run(self) -> None:
        """Start it again whenever it dies, until `close`."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            since_s = loop.time()
            death = await self._death()
            if self._closed:
                return
            failures = 0 if loop.time() - since_s >= STEADY_S else failures + 1
            self._complain(death)
            while self.reason:
                await asyncio.sleep(pause_s(failures, refused=False, rng=self._rng))
                failures += 1
                try:
                    await self._spawn()
                except Unavailable as error:
                    self._complain(str(error))

    async def close(self) -> None:
        self._closed = True
        await self._stop()
        for path in (self._config, self._passwords):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # absent, or somebody else put a file there
            self._directory.rmdir()

    async def _write_files(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        configuration = _CONFIGURATION.format(
            listen=self._listen,
            port=self._port,
            passwords=self._passwords,
            packet_bytes_max=PAYLOAD_BYTES_MAX + 65_536,
        )
        account = _account(self._directory)
        if account:
            configuration += f"user {account}\n"
        self._write(self._config, configuration)
        self._write(self._passwords, self._credentials)
        await self._hash_password()
        if account:
            for path in (self._directory, self._config, self._passwords):
                shutil.chown(path, account)

    def _write(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)

    async def _hash_password(self) -> None:
        binary = shutil.which("mosquitto_passwd", path=_SEARCH_PATH)
        if binary is None:
            raise Unavailable("mosquitto_passwd was not found; reinstall the package mosquitto")
        hashing = await asyncio.create_subprocess_exec(
            binary,
            "-U",
            str(self._passwords),
            env=_ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await hashing.communicate()
        if hashing.returncode:
            raise Unavailable(f"mosquitto_passwd: {said.decode(errors='replace').strip()}")

    async def _spawn(self) -> None:
        await require_free(self._listen, self._port)
        self._last_words.clear()
        self._process = process = await asyncio.create_subprocess_exec(
            self._binary,
            "-c",
            str(self._config),
            env=_ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=LOG_LINE_BYTES_MAX,
            # Ctrl-C in a terminal is for us: we still have something to say to the broker.
            start_new_session=True,
        )
        assert process.stderr
        self._reading = asyncio.create_task(self._read_log(process.stderr))
        try:
            await self._until_ready()
        except BaseException:
            await self._stop()
            raise
        self.reason = ""

    async def _until_ready(self) -> None:
        accepting = asyncio.ensure_future(until_accepting(self._listen, self._port))
        dead = asyncio.ensure_future(self._death())
        try:
            await asyncio.wait(
                (accepting, dead), timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if dead.done():
                raise Unavailable(dead.result())
            if not accepting.done():
                raise Unavailable(f"mosquitto accepts no connection on {self.url}")
            accepting.result()
        finally:
            accepting.cancel()
            dead.cancel()

    async def _death(self) -> str:
        """Wait for the end of the process; why it ended, in its own words where it had any."""
        assert self._process
        assert self._reading
        code = await self._process.wait()
        await asyncio.wait({self._reading})
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return ": ".join((f"mosquitto {how}", *self._last_words))

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            # It starts each line with the seconds since 1970, which the journal knows already.
            said = line.decode(errors="replace").strip().lstrip("0123456789: ")
            self._last_words.append(said)
            logger.warning("mosquitto: %s", said)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading:
            await asyncio.wait({self._reading})

    def _complain(self, reason: str) -> None:
        if reason != self.reason:
            logger.warning("%s; it is started again", reason)
        self.reason = reason

    async def _end_leftovers(self) -> None:
        for pid in _running_with(self._config):
            logger.warning("ending mosquitto (process %d) of an earlier run", pid)
            await _end(pid, self._config)


def _account(directory: Path) -> str | None:
    """Whom a mosquitto started by root is to become: itself, if it can then reach its files.

    It reads its password file only after it has given up root, and a data directory is often
    closed to others.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("mosquitto")
    except KeyError:
        return "root"
    reachable = all(parent.stat().st_mode & 0o001 for parent in directory.resolve().parents)
    return "mosquitto" if reachable else "root"


def _runs_with(pid: int, config: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return arguments[1:3] == [b"-c", os.fsencode(config)]


def _running_with(config: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _runs_with(int(entry.name), config):
            yield int(entry.name)


async def _end(pid: int, config: Path) -> None:
    """End a process that is not our child; its descriptor keeps us from hitting another one."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            if _runs_with(pid, config):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, sent)
                await _end_of(process)
    finally:
        os.close(process)


async def _end_of(process: int) -> None:
    """Wait for it, but not for ever: a descriptor of a process is readable when it has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process, ended.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), STOP_TIMEOUT_S)
    finally:
        loop.remove_reader(process)
