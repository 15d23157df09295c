"""Local processes: pinned, found again after the daemon was killed, and never left behind."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from roheletd.cluster.reconcile import InstanceSpec
from roheletd.engines import EngineError
from roheletd.engines.process import ProcessEngine
from roheletd.model import PortBinding
from tests.engines.conftest import make_spec
from tests.engines.waiting import until
from tests.testbed.network import free_port

SLEEP = ("sleep", "1000")
CORE = min(os.sched_getaffinity(0))
REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture
def cluster(tmp_path: Path) -> str:
    """A name that no other test run has."""
    return f"c{os.getpid()}-{abs(hash(tmp_path)) % 10**6}"


@pytest.fixture
async def engine(tmp_path: Path, cluster: str) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(tmp_path / "run", cluster=cluster, node="n1")
    await engine.open()
    yield engine
    await engine.open()
    for container in await engine.list():
        await engine.remove(container.id, 0)
    await engine.close()
    await all_ended(cluster)


def living(cluster: str) -> list[int]:
    """Every process of a cluster, as anybody can see them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"ROHE_CLUSTER={cluster}\0".encode() in _environ(entry):
                    found.append(int(entry.name))
    return sorted(found)


async def all_ended(cluster: str) -> None:
    """Who was killed takes a moment to die, also after its parent has."""

    async def none_lives() -> bool:
        return not living(cluster)

    await until(none_lives, 1.0)


def _environ(process: Path) -> bytes:
    """What a process was started with. In the middle of its exec it has none for some moments."""
    deadline_s = time.monotonic() + 0.2
    while not (found := (process / "environ").read_bytes()):
        (process / "exe").readlink()  # kernel threads and zombies have none: `OSError`
        if time.monotonic() > deadline_s:
            break
    return found


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


async def only(engine: ProcessEngine):
    (container,) = await engine.list()
    return container


async def exited(engine: ProcessEngine):
    container = await only(engine)
    return container if container.state == "exited" else None


async def test_engine_says_what_it_cannot_enforce(engine: ProcessEngine):
    info = await engine.open()
    assert (info.kind, info.unenforced) == ("process", ("quota", "memory"))


async def test_instance_is_pinned_and_we_are_not(engine: ProcessEngine, cluster: str):
    before = os.sched_getaffinity(0)
    await engine.run(make_spec(cluster, *SLEEP, cores=(CORE,)))
    assert os.sched_getaffinity(0) == before
    (pid,) = living(cluster)
    assert os.sched_getaffinity(pid) == {CORE}


async def test_core_beyond_the_machine_is_refused(engine: ProcessEngine, cluster: str):
    before = os.sched_getaffinity(0)
    for cores in ((CORE, 900), (900,)):
        with pytest.raises(EngineError, match="not all of the cores"):
            await engine.run(make_spec(cluster, *SLEEP, cores=cores))
    assert os.sched_getaffinity(0) == before
    await all_ended(cluster)


async def test_sample_service_answers_on_its_port(engine: ProcessEngine, cluster: str):
    port = PortBinding(container_port=8080, host_port=free_port())
    command = (sys.executable, "-m", "roheletd.sample")
    spec = make_spec(cluster, *command, env={"PYTHONPATH": str(REPOSITORY)}, ports=(port,))
    await engine.run(spec)

    async def answer() -> dict | None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.host_port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            assert head.startswith(b"HTTP/1.1 200 ")
            return json.loads(body)
        return None

    facts = await until(answer)
    assert (facts["instance"], facts["node"]) == (spec.instance, "n1")
    started = time.monotonic()
    await engine.remove((await only(engine)).id, 10)
    assert time.monotonic() - started < 2, "SIGTERM did not end the sample"


async def test_environment_is_the_services_and_not_the_daemons(
    engine: ProcessEngine, cluster: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/daemons/own")
    await engine.run(make_spec(cluster, *SLEEP, env={"GREETING": "a=b c"}))
    (pid,) = living(cluster)
    variables = environment_of(pid)
    assert "GREETING=a=b c\0" in variables
    assert "NOTIFY_SOCKET" not in variables


async def test_killed_process_is_listed_with_its_exit_code(engine: ProcessEngine, cluster: str):
    await engine.run(make_spec(cluster, *SLEEP))
    (pid,) = living(cluster)
    changes = engine.changes()
    await anext(changes)
    async with asyncio.timeout(1):
        await anext(changes)
        os.kill(pid, signal.SIGKILL)
        await anext(changes)
    ended = await only(engine)
    assert (ended.state, ended.exit_code) == ("exited", 137)
    assert ended.reason == "killed by SIGKILL (137)"
    assert engine.usage() == {}


async def test_exit_reason_is_the_last_line_it_said(engine: ProcessEngine, cluster: str):
    await engine.run(make_spec(cluster, "sh", "-c", "echo fine; echo no such model >&2; exit 3"))
    ended = await until(lambda: exited(engine))
    assert (ended.exit_code, ended.reason) == (3, "ended with exit code 3: no such model")


async def test_end_of_the_leader_ends_the_whole_instance(engine: ProcessEngine, cluster: str):
    stray = "sleep 1000 & setsid sleep 1001 & sleep 0.3; exit 5"
    await engine.run(make_spec(cluster, "sh", "-c", stray))
    assert (await until(lambda: exited(engine))).exit_code == 5
    await all_ended(cluster)


async def test_ended_copy_starts_again_under_its_id(engine: ProcessEngine, cluster: str):
    await engine.run(make_spec(cluster, *SLEEP))
    before = await only(engine)
    os.kill(living(cluster)[0], signal.SIGKILL)
    await until(lambda: exited(engine))
    await engine.start(before.id)
    again = await only(engine)
    assert (again.id, again.state, again.exit_code) == (before.id, "running", None)
    assert len(living(cluster)) == 1


async def test_process_that_ignores_sigterm_is_killed_after_its_grace(
    engine: ProcessEngine, cluster: str
):
    script = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
    await engine.run(make_spec(cluster, "sh", "-c", script))
    log = await until(lambda: first_log(engine))
    await until(lambda: says(log, b"ready\n"))
    started = time.monotonic()
    await engine.remove((await only(engine)).id, 0.5)
    assert 0.5 <= time.monotonic() - started < 5
    await all_ended(cluster)
    assert not log.exists()


async def first_log(engine: ProcessEngine) -> Path | None:
    return next(engine._run_dir.glob("*.log"), None)


async def says(path: Path, end: bytes) -> bool:
    with path.open("rb") as log:
        return log.read().endswith(end)


async def test_removal_of_what_is_not_there_is_no_error(engine: ProcessEngine):
    await engine.remove("1.2", 1)


async def test_second_copy_of_an_instance_is_refused(engine: ProcessEngine, cluster: str):
    spec = make_spec(cluster, *SLEEP)
    await engine.run(spec)
    with pytest.raises(EngineError, match="earlier copy"):
        await engine.run(spec)
    assert len(living(cluster)) == 1


async def test_service_with_no_command_is_not_tried_again(engine: ProcessEngine, cluster: str):
    with pytest.raises(EngineError, match="names no command") as refused:
        await engine.run(make_spec(cluster))
    assert not refused.value.retry


async def test_program_that_is_not_there_is_named(engine: ProcessEngine, cluster: str):
    with pytest.raises(EngineError, match="cannot start nonesuch on this node: no such file"):
        await engine.run(make_spec(cluster, "nonesuch"))
    assert await engine.list() == []


async def test_log_is_bounded_and_keeps_its_end(engine: ProcessEngine, cluster: str):
    await engine.run(make_spec(cluster, "sh", "-c", "yes | head -c 5000000; echo last; sleep 1000"))
    log = await until(lambda: first_log(engine))
    await until(lambda: says(log, b"last\n"))
    engine.usage()
    assert log.stat().st_size <= 1 << 20
    assert log.read_bytes().endswith(b"y\ny\nlast\n")


async def test_usage_counts_children_and_threads(engine: ProcessEngine, cluster: str):
    burn = "import threading, time; b = b'x' * 50_000_000; [None for _ in iter(int, 1)]"
    code = (
        f"import subprocess, sys, threading;"
        f"threading.Thread(target=subprocess.run, args=([sys.executable, '-c', {burn!r}],)).start()"
    )
    await engine.run(make_spec(cluster, sys.executable, "-c", code))
    container = await only(engine)

    async def burning() -> bool:
        return engine.usage()[container.id].memory_mib > 55

    await until(burning)
    before = engine.usage()[container.id]
    await asyncio.sleep(1)
    used_s = engine.usage()[container.id].cpu_s - before.cpu_s
    assert 0.2 < used_s < 1.2


async def test_each_thread_and_each_child_is_told_apart(engine: ProcessEngine, cluster: str):
    await engine.run(make_spec(cluster, "sh", "-c", "while true; do true; done & sleep 1000"))
    container = await only(engine)

    async def burnt() -> bool:
        return max(engine.threads(container.id).values(), default=0.0) > 0.1

    await until(burnt)
    used_s = sorted(engine.threads(container.id).values())
    assert len(used_s) == 3  # the shell, its child, and sleep
    assert used_s[1] < 0.1 < used_s[2]
    await engine.remove(container.id, 0)
    assert engine.threads(container.id) == {}


# A daemon of its own: it runs what it is told and then lives until it is killed.
DAEMON = """
import asyncio, msgspec, pathlib, sys
from roheletd.cluster.reconcile import InstanceSpec
from roheletd.engines.process import ProcessEngine
async def main():
    spec = msgspec.json.decode(sys.argv[2], type=InstanceSpec)
    engine = ProcessEngine(pathlib.Path(sys.argv[1]), cluster=spec.cluster, node=spec.node)
    await engine.open()
    await engine.run(spec)
    print("running", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def start_and_kill_a_daemon(run_dir: Path, spec: InstanceSpec) -> None:
    argv = [sys.executable, "-c", DAEMON, str(run_dir), msgspec.json.encode(spec).decode()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=REPOSITORY) as daemon:
        assert daemon.stdout.readline() == b"running\n"
        daemon.kill()


async def test_instance_of_a_killed_daemon_is_adopted(engine: ProcessEngine, cluster: str):
    spec = make_spec(cluster, "sh", "-c", "sleep 1000 & wait")
    await asyncio.to_thread(start_and_kill_a_daemon, engine._run_dir, spec)
    before = living(cluster)
    await engine.open()
    await engine.open()
    adopted = await only(engine)
    assert (adopted.instance, adopted.digest, adopted.state) == (spec.instance, "d1", "running")
    assert abs(adopted.created_s - time.time()) < 30
    assert adopted.id in engine.usage()
    assert living(cluster) == before, "nothing was started and nothing killed"
    await engine.remove(adopted.id, 2)
    await all_ended(cluster)


async def test_adopted_instance_that_dies_is_made_anew(engine: ProcessEngine, cluster: str):
    spec = make_spec(cluster, "sh", "-c", "sleep 1000 & wait")
    await asyncio.to_thread(start_and_kill_a_daemon, engine._run_dir, spec)
    await engine.open()
    os.kill(int((await only(engine)).id.split(".")[0]), signal.SIGKILL)

    async def gone() -> bool:
        return await engine.list() == []

    await until(gone)
    await all_ended(cluster)
    await engine.run(spec)
    assert (await only(engine)).state == "running"


async def test_rest_of_an_instance_that_died_unwatched_is_killed(
    engine: ProcessEngine, cluster: str
):
    spec = make_spec(cluster, "sh", "-c", "sleep 1000 & wait")
    await asyncio.to_thread(start_and_kill_a_daemon, engine._run_dir, spec)
    leader = next(pid for pid in living(cluster) if os.getsid(pid) == pid)
    os.kill(leader, signal.SIGKILL)
    await until(lambda: has_left(leader, cluster))
    assert living(cluster) != []
    await engine.open()
    assert await engine.list() == []
    await all_ended(cluster)


async def has_left(pid: int, cluster: str) -> bool:
    return pid not in living(cluster)


async def test_instances_outlive_a_closed_engine_and_are_found_again(
    engine: ProcessEngine, cluster: str
):
    await engine.run(make_spec(cluster, *SLEEP))
    before = await only(engine)
    await engine.close()
    assert await engine.list() == []
    await engine.open()
    assert (await only(engine)).id == before.id


async def test_other_nodes_processes_are_not_ours(
    engine: ProcessEngine, cluster: str, tmp_path: Path
):
    await engine.run(make_spec(cluster, *SLEEP))
    other = ProcessEngine(tmp_path / "run", cluster=cluster, node="n2")
    await other.open()
    assert await other.list() == []
    assert len(living(cluster)) == 1
    await other.close()


async def test_old_output_is_deleted_at_the_start(engine: ProcessEngine, cluster: str):
    old = engine._run_dir / f"gone.1.n1.{cluster}.log"
    foreign = engine._run_dir / f"gone.1.n2.{cluster}.log"
    old.touch()
    foreign.touch()
    await engine.open()
    assert (old.exists(), foreign.exists()) == (False, True)
