"""Our own mosquitto, as a child that dies, is left behind, or finds its port taken."""

import asyncio
import contextlib
import os
import pwd
import signal
import stat
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import uvloop

import roheletd.broker.managed as managed_module
from roheletd.broker.managed import ManagedBroker, find_mosquitto
from roheletd.errors import Unavailable
from tests.broker.brokers import links, session
from tests.testbed import requirements
from tests.testbed.network import free_port

pytestmark = pytest.mark.mosquitto

PASSWORD = "an-unusual-password"


def broker(directory: Path, **changes) -> ManagedBroker:
    requirements.need("mosquitto")
    binary = find_mosquitto()
    assert binary
    settings = {"listen": "127.0.0.1", "port": free_port(), **changes}
    return ManagedBroker(
        binary, directory, username="rohe", password=PASSWORD, rng=Random(1), **settings
    )


@contextlib.asynccontextmanager
async def running(managed: ManagedBroker):
    await managed.start()
    supervising = asyncio.create_task(managed.run())
    try:
        yield managed
    finally:
        supervising.cancel()
        await asyncio.wait({supervising})
        await managed.close()


def pid_of(managed: ManagedBroker) -> int:
    assert managed._process
    return managed._process.pid


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def alive(pid: int) -> bool:
    try:
        return "mosquitto" in command_line(pid)
    except FileNotFoundError:
        return False


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a plain attribute tells nobody
            await asyncio.sleep(0.01)


async def test_who_knows_the_password_is_let_in_and_nobody_else(tmp_path):
    async with running(broker(tmp_path / "broker")) as managed:
        assert managed.reason == ""
        async with session(managed.url, username="rohe", password=PASSWORD) as owner:
            await owner.linked()
            owner.session.publish("t/a", b"x" * (1 << 20), qos=1)
            await owner.until(lambda: owner.messages)
        for credentials in ({}, {"username": "rohe", "password": "wrong"}):
            async with session(managed.url, **credentials) as owner:
                await owner.unlinked("refuses the user name or the password")


async def test_the_password_is_on_no_command_line_and_in_no_readable_file(tmp_path):
    directory = tmp_path / "broker"
    async with running(broker(directory)) as managed:
        assert PASSWORD not in command_line(pid_of(managed))
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for path in directory.iterdir():
            assert PASSWORD not in path.read_text()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_closing_leaves_nothing_behind(tmp_path):
    managed = broker(tmp_path / "broker")
    await managed.start()
    pid = pid_of(managed)
    started_s = time.monotonic()
    await managed.close()
    assert time.monotonic() - started_s < 1
    assert not alive(pid)
    assert not list(tmp_path.iterdir())


async def test_a_frozen_mosquitto_is_ended_too(tmp_path):
    managed = broker(tmp_path / "broker")
    await managed.start()
    os.kill(pid_of(managed), signal.SIGSTOP)
    await asyncio.wait_for(managed.close(), 2)


async def test_it_is_started_again_when_it_dies(tmp_path):
    async with running(broker(tmp_path / "broker")) as managed:
        async with links(managed.url, username="rohe", password=PASSWORD) as owner:
            await owner.linked()
            first = pid_of(managed)
            os.kill(first, signal.SIGKILL)
            await owner.until(lambda: owner.links.links[0].reconnects == 1)
        assert pid_of(managed) != first
        assert managed.reason == ""


async def test_while_it_cannot_be_started_again_the_reason_is_told(tmp_path, caplog):
    managed = broker(tmp_path / "broker")
    async with running(managed):
        (tmp_path / "broker" / "passwords").unlink()
        os.kill(pid_of(managed), signal.SIGTERM)
        await eventually(lambda: "password file" in managed.reason)
    assert "ended with 0" in caplog.text


async def test_a_port_that_is_taken_names_the_setting(tmp_path):
    async with running(broker(tmp_path / "one")) as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port} is taken.*broker\.port"):
            await broker(tmp_path / "two", port=port).start()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"files cannot be written: .*file/broker"):
        await broker(tmp_path / "file" / "broker").start()


def test_it_works_on_uvloop_too(tmp_path):
    access = {"username": "rohe", "password": PASSWORD}

    async def die_once():
        async with (
            running(broker(tmp_path / "broker")) as managed,
            links(managed.url, **access) as owner,
        ):
            await owner.linked()
            os.kill(pid_of(managed), signal.SIGKILL)
            await owner.until(lambda: owner.links.links[0].reconnects == 1)

    uvloop.run(die_once())


async def test_an_address_that_is_not_ours_names_the_setting(tmp_path):
    with pytest.raises(Unavailable, match=r"broker\.listen"):
        await broker(tmp_path / "broker", listen="192.0.2.1").start()
    with pytest.raises(Unavailable, match=r"broker\.listen"):
        await broker(tmp_path / "broker", listen="no such name").start()


async def test_a_mosquitto_that_fails_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setattr(managed_module, "_CONFIGURATION", "no_such_option 1\n")
    with pytest.raises(Unavailable, match=r"mosquitto ended with \d+: .*no_such_option"):
        await broker(tmp_path / "broker").start()


DAEMON = """
    import asyncio, sys
    from pathlib import Path
    from random import Random
    from roheletd.broker.managed import ManagedBroker

    async def main():
        binary, directory, port = sys.argv[1:]
        managed = ManagedBroker(binary, Path(directory), listen="127.0.0.1", port=int(port),
                                username="rohe", password="other", rng=Random(1))
        await managed.start()
        print(managed._process.pid, flush=True)
        await managed.run()

    asyncio.run(main())
"""


@pytest.mark.parametrize("frozen", [False, True])
async def test_the_mosquitto_of_a_daemon_that_was_killed_is_ended_by_the_next(tmp_path, frozen):
    requirements.need("mosquitto")
    directory, port = tmp_path / "broker", free_port()
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(DAEMON),
        find_mosquitto(), str(directory), str(port),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert daemon.stdout
    orphan = int(await daemon.stdout.readline())
    daemon.kill()
    await daemon.communicate()
    assert alive(orphan)
    if frozen:
        os.kill(orphan, signal.SIGSTOP)
    async with running(broker(directory, port=port)) as managed:
        assert not alive(orphan)
        async with session(managed.url, username="rohe", password=PASSWORD) as owner:
            await owner.linked()


async def test_the_mosquitto_of_another_directory_is_left_alone(tmp_path):
    async with running(broker(tmp_path / "one")) as first, running(broker(tmp_path / "two")):
        assert alive(pid_of(first))


@pytest.mark.root
@pytest.mark.parametrize(("mode", "account"), [(0o755, "mosquitto"), (0o700, "root")])
async def test_root_gives_mosquitto_its_own_account_where_that_can_reach_its_files(mode, account):
    requirements.need("mosquitto", root=True)
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, mode)  # noqa: PTH101
        async with running(broker(Path(above, "broker"))) as managed:
            owner = os.stat(f"/proc/{pid_of(managed)}").st_uid  # noqa: PTH116
            assert pwd.getpwuid(owner).pw_name == account
