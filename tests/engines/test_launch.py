"""Local processes in the folder and as the user that their service names."""

import asyncio
import os
import pwd
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roheletd.cluster.reconcile import Files, InstanceSpec
from roheletd.engines import EngineError
from roheletd.engines.process import ProcessEngine
from tests.engines.conftest import make_spec
from tests.engines.test_process import (
    REPOSITORY,
    all_ended,
    exited,
    first_log,
    living,
    only,
    says,
    start_and_kill_a_daemon,
)
from tests.engines.test_streams import said, wanted
from tests.engines.waiting import until

SOMEBODY = pwd.getpwnam("daemon")
GROUPS = sorted({SOMEBODY.pw_gid, *os.getgrouplist("daemon", SOMEBODY.pw_gid)})


@pytest.fixture
def cluster(tmp_path: Path) -> str:
    return f"l{os.getpid()}-{abs(hash(tmp_path)) % 10**6}"


@pytest.fixture
async def engine(tmp_path: Path, cluster: str) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(tmp_path / "run", cluster=cluster, node="n1")
    await engine.open()
    yield engine
    for container in await engine.list():
        await engine.remove(container.id, 0)
    await engine.close()
    await all_ended(cluster)


async def output(engine: ProcessEngine, spec: InstanceSpec) -> list[str]:
    """What a process says, to its end."""
    await engine.run(spec)
    await until(lambda: exited(engine))
    log = await first_log(engine)
    return log.read_text().splitlines()


def person_of(pid: int) -> tuple[list[int], list[int], list[int]]:
    """Its uids, its gids and its groups, as the kernel has them."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    uid, gid, groups = (lines[key].split() for key in ("Uid", "Gid", "Groups"))
    return [*map(int, uid)], [*map(int, gid)], sorted(map(int, groups))


async def test_an_entrypoint_goes_before_the_command(engine: ProcessEngine, cluster: str) -> None:
    spec = make_spec(cluster, "a b", "c", entrypoint=("printf", "%s.%s\\n"))
    assert await output(engine, spec) == ["a b.c"]


async def test_an_entrypoint_alone_is_a_program(engine: ProcessEngine, cluster: str) -> None:
    assert await output(engine, make_spec(cluster, entrypoint=("echo", "alone"))) == ["alone"]


async def test_it_begins_in_its_working_directory(
    engine: ProcessEngine, cluster: str, tmp_path: Path
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "tool").chmod(0o755)
    before = Path.cwd()
    assert await output(engine, make_spec(cluster, "./tool", working_dir=str(tmp_path))) == [
        str(tmp_path)
    ]
    assert Path.cwd() == before


@pytest.mark.parametrize("missing", ["gone", "a-file"])
async def test_a_working_directory_that_is_not_there_is_named(
    engine: ProcessEngine, cluster: str, tmp_path: Path, missing: str
) -> None:
    (tmp_path / "a-file").touch()
    with pytest.raises(EngineError, match=rf"working_dir .*/{missing} is no folder of this node"):
        await engine.run(make_spec(cluster, "pwd", working_dir=str(tmp_path / missing)))
    assert await engine.list() == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("user", "groups"),
    [
        ("daemon", [1, 5, 44]),
        (str(SOMEBODY.pw_uid), [1, 5, 44]),
        ("daemon:tty", [5]),
        (f"{SOMEBODY.pw_uid}:5", [5]),
        ("54321:54322", [54322]),
    ],
)
async def test_root_starts_it_as_its_user_with_its_groups_and_none_of_ours(
    engine: ProcessEngine,
    cluster: str,
    user: str,
    groups: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [gid, 5, 44])
    await engine.run(make_spec(cluster, "sleep", "1000", user=user))
    (pid,) = living(cluster)
    uid = int(user.partition(":")[0]) if user[0].isdecimal() else SOMEBODY.pw_uid
    gid = groups[0] if ":" in user else SOMEBODY.pw_gid
    assert person_of(pid) == ([uid] * 4, [gid] * 4, groups)
    assert person_of(os.getpid())[0] == [0] * 4


@pytest.mark.root
async def test_its_home_is_that_of_its_user(engine: ProcessEngine, cluster: str) -> None:
    spec = make_spec(cluster, "sh", "-c", "echo $USER $HOME; echo >&2 fault", user="daemon")
    assert await output(engine, spec) == [f"daemon {SOMEBODY.pw_dir}", "fault"]


@pytest.mark.root
@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("nosuch", "user nosuch: this node has no user nosuch"),
        ("daemon:nosuch", "user daemon:nosuch: this node has no group nosuch"),
        ("54321", "user 54321: this node does not know its group; expected UID:GID"),
    ],
)
async def test_a_user_that_this_node_does_not_know_is_named(
    engine: ProcessEngine, cluster: str, user: str, reason: str
) -> None:
    with pytest.raises(EngineError, match=reason):
        await engine.run(make_spec(cluster, "id", user=user))
    assert await engine.list() == []


@pytest.mark.root
async def test_files_that_it_could_not_reach_are_refused(
    engine: ProcessEngine, cluster: str
) -> None:
    files = (Files(source="/run/x", path="/x", variables=()),)
    with pytest.raises(EngineError, match=r"user daemon: files .* include them as variables"):
        await engine.run(make_spec(cluster, "id", user="daemon", files=files))


@pytest.mark.root
async def test_a_command_beside_it_is_as_it_is(engine: ProcessEngine, cluster: str) -> None:
    await engine.run(make_spec(cluster, "sleep", "1000", user="daemon", working_dir="/usr"))
    own = (await only(engine)).id
    look = "id -un; id -G; pwd; (: </dev/tty) 2>&- && echo terminal"
    for tty in (False, True):
        session = await engine.exec_session(own, wanted("sh", "-c", look, tty=tty))
        written, errors, end = await said(session)
        expected = ["daemon", " ".join(map(str, GROUPS)), "/usr", *(["terminal"] * tty)]
        assert (written.decode().split("\r\n" if tty else "\n"), errors) == ([*expected, ""], b"")
        assert (end[0] == 0, end[1]) == (tty, "")


@pytest.mark.root
async def test_a_command_beside_an_adopted_one_is_as_it_is(
    engine: ProcessEngine, cluster: str
) -> None:
    spec = make_spec(cluster, "sleep", "1000", user="daemon", working_dir="/usr")
    await asyncio.to_thread(start_and_kill_a_daemon, engine._run_dir, spec)
    await engine.open()
    own = (await only(engine)).id
    written, _errors, end = await said(
        await engine.exec_session(own, wanted("sh", "-c", "id -un; id -G; pwd"))
    )
    assert (written.decode(), end) == (f"daemon\n{' '.join(map(str, GROUPS))}\n/usr\n", (0, ""))


@pytest.mark.parametrize("adopted", [False, True])
async def test_it_is_stopped_with_its_own_signal(
    engine: ProcessEngine,
    cluster: str,
    adopted: bool,  # noqa: FBT001 - by a later daemon
) -> None:
    script = (
        "trap 'echo heard; exit 0' INT; trap '' TERM; echo ready; while true; do sleep .1; done"
    )
    spec = make_spec(cluster, "sh", "-c", script, stop_signal="SIGINT")
    if adopted:
        await asyncio.to_thread(start_and_kill_a_daemon, engine._run_dir, spec)
        await engine.open()
    else:
        await engine.run(spec)
    log = await until(lambda: first_log(engine))
    await until(lambda: says(log, b"ready\n"))
    begun_s = time.monotonic()
    await engine.stop((await only(engine)).id, 20)
    assert time.monotonic() - begun_s < 10, "it heard another signal"
    assert log.read_text() == "ready\nheard\n"


@pytest.mark.parametrize(("field", "value"), [("hostname", "cam-1"), ("read_only", True)])
async def test_what_takes_a_container_is_refused_by_its_name(
    engine: ProcessEngine, cluster: str, field: str, value: object
) -> None:
    with pytest.raises(EngineError, match=f"`{field}`, which needs a container engine") as refused:
        await engine.run(make_spec(cluster, "true", **{field: value}))
    assert not refused.value.retry


def open_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def test_a_command_with_a_nul_leaves_nothing_open(
    engine: ProcessEngine, cluster: str
) -> None:
    await engine.run(make_spec(cluster, "sleep", "1000"))
    own = (await only(engine)).id
    before = open_descriptors()
    for tty in (False, True):
        with pytest.raises(EngineError, match="cannot start"):
            await engine.exec_session(own, wanted("sh", "a\0b", tty=tty, stdin=True))
    assert open_descriptors() == before


# As somebody who is not root: asked for itself, and for another.
_UNPRIVILEGED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from roheletd.engines import EngineError, launch
os.setgroups([]); os.setgid(1); os.setuid(1)
assert launch.place_of(working_dir="", user="daemon").person is None
try:
    launch.place_of(working_dir="", user="nobody")
except EngineError as refusal:
    print(refusal)
"""


@pytest.mark.root
def test_a_daemon_that_is_not_root_starts_its_own_alone() -> None:
    assert (SOMEBODY.pw_uid, SOMEBODY.pw_gid) == (1, 1)
    argv = [sys.executable, "-B", "-c", _UNPRIVILEGED, str(REPOSITORY)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == (
        "user nobody: processes of this node run as its daemon does, daemon; "
        "a daemon of root's could start others"
    ), done.stderr
