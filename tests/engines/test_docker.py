"""Everything the Docker engine promises, on a real dockerd and on a real Podman."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roheletd.cluster.streams import ExecWanted
from roheletd.engines import EngineError, PortTaken
from roheletd.engines.docker import DockerEngine
from roheletd.errors import Unavailable
from roheletd.model import Gpu, PortBinding
from tests.engines.conftest import BOTH, Machine, open_machine
from tests.engines.waiting import fetched, until
from tests.testbed import engines
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.network import free_ports
from tests.testbed.unix_http import request

SLEEP = ("/bin/sleep", "1000")


async def exited(machine: Machine):
    container = await machine.only()
    return container if container.state == "exited" else None


async def test_engine_says_what_it_is(machine: Machine):
    info = await machine.engine.open()
    assert (info.kind, info.name.lower()) == ("docker", machine.real.kind)
    assert info.address == str(machine.real.socket)
    assert info.unenforced == ()


async def test_pin_quota_and_memory_are_seen_from_inside(machine: Machine):
    script = (
        "grep Cpus_allowed_list /proc/self/status; nproc;"
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max;"
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max; exit 3"
    )
    port = machine.port(80)
    await machine.engine.run(
        machine.spec(
            *("sh", "-c", f"({script}) > /www/index.html 2>/dev/null; httpd -f -p 80 -h /www"),
            cores=(1,),
            quota_millicores=500,
            memory_mib=64,
            ports=(port,),
        )
    )
    words = (await fetched(machine, port.host_port)).split()
    assert words[:3] == ["Cpus_allowed_list:", "1", "1"]
    assert str(64 * 2**20) in words
    assert "50000" in words


async def test_published_port_answers_http(machine: Machine):
    port = machine.port(80)
    await machine.engine.run(machine.spec("httpd", "-f", "-p", "80", "-h", "/www", ports=(port,)))
    assert await fetched(machine, port.host_port) == "ok\n"


async def test_host_ports_that_stand_side_by_side_are_all_listed(machine: Machine):
    first, second = free_ports(2)
    ports = (
        PortBinding(container_port=80, host_port=first),
        PortBinding(container_port=81, host_port=second),
        PortBinding(container_port=82, host_port=second, protocol="udp"),
    )
    await machine.engine.run(machine.spec(*SLEEP, ports=ports))
    assert (await machine.only()).host_ports == (first, second)


async def test_instance_learns_its_port_and_environment(machine: Machine):
    port = machine.port(80)
    await machine.engine.run(
        machine.spec(
            *("sh", "-c", "env > /www/index.html; httpd -f -p $ROHE_PORT_80 -h /www"),
            env={"GREETING": "a=b c"},
            ports=(port,),
        )
    )
    assert "GREETING=a=b c\n" in await fetched(machine, port.host_port)


async def test_list_shows_each_copy_once_and_only_ours(machine: Machine):
    specs = [machine.spec(*SLEEP), machine.spec(*SLEEP, digest="d2")]
    for spec in specs:
        await machine.engine.run(spec)
    stranger = DockerEngine(
        str(machine.real.socket), cluster=machine.cluster, node="n2", pull_stall_s=5
    )
    await stranger.open()
    assert await stranger.list() == []
    await stranger.close()
    seen = {(c.instance, c.digest, c.state) for c in await machine.engine.list()}
    assert seen == {(spec.instance, spec.digest, "running") for spec in specs}
    assert await machine.engine.list() == await machine.engine.list()


async def test_second_copy_of_an_instance_is_refused(machine: Machine):
    spec = machine.spec(*SLEEP)
    await machine.engine.run(spec)
    with pytest.raises(EngineError, match="still being removed"):
        await machine.engine.run(spec)
    assert (await machine.only()).state == "running"


async def test_name_held_by_a_stranger_is_told_with_the_remedy(machine: Machine):
    spec = machine.spec(*SLEEP)
    name = f"{spec.instance}.n1.{machine.cluster}"
    machine.real.create(name, {"Image": spec.image})
    with pytest.raises(EngineError, match=f"rm -f {name}"):
        await machine.engine.run(spec)


async def test_killed_process_is_listed_with_its_exit_code(machine: Machine):
    await machine.engine.run(machine.spec(*SLEEP))
    container = await machine.only()
    os.kill(machine.real.inspect(container.id)["State"]["Pid"], signal.SIGKILL)
    ended = await until(lambda: exited(machine))
    assert ended.exit_code == 137
    assert ended.reason == "killed (137)"


async def test_exit_reason_is_the_last_line_it_said(machine: Machine):
    await machine.engine.run(
        machine.spec("sh", "-c", "echo fine >&2; echo no such model >&2; exit 3")
    )
    ended = await until(lambda: exited(machine))
    assert (ended.exit_code, ended.reason) == (3, "ended with exit code 3: no such model")


async def test_out_of_memory_is_named_as_far_as_the_engine_tells(machine: Machine):
    # `tail` keeps the endless line in memory.
    await machine.engine.run(machine.spec("sh", "-c", "tail /dev/zero", memory_mib=16))
    ended = await until(lambda: exited(machine), 30)
    assert ended.exit_code == 137
    assert "out of memory" in ended.reason


async def test_ended_copy_starts_again(machine: Machine):
    await machine.engine.run(machine.spec("sh", "-c", "exec sleep 1000"))
    container = await machine.only()
    os.kill(machine.real.inspect(container.id)["State"]["Pid"], signal.SIGKILL)
    await until(lambda: exited(machine))
    await machine.engine.start(container.id)
    again = await machine.only()
    assert (again.id, again.state) == (container.id, "running")
    assert again.id in machine.engine.usage()


async def test_removal_is_complete_and_repeatable(machine: Machine):
    await machine.engine.run(machine.spec(*SLEEP))
    container = await machine.only()
    started = time.monotonic()
    await machine.engine.remove(container.id, 10)
    assert time.monotonic() - started < 8, "SIGTERM did not reach the process"
    assert await machine.engine.list() == []
    await machine.engine.remove(container.id, 10)


async def test_a_copy_that_somebody_paused_is_removed_nevertheless(machine: Machine):
    await machine.engine.run(machine.spec(*SLEEP))
    container = await machine.only()
    request(machine.real.socket, "POST", f"/containers/{container.id}/pause")
    await machine.engine.remove(container.id, 0)
    assert await machine.engine.list() == []


@pytest.mark.podman
@pytest.mark.root
async def test_a_name_that_only_podmans_storage_remembers_is_freed():
    """As a power cut leaves it: the storage has a container, and the database has none."""
    with engines.podman() as real:
        async for machine in open_machine(real):
            spec = machine.spec(*SLEEP)
            real.create(f"{spec.instance}.n1.{machine.cluster}", {"Image": spec.image})
            real.kill()
            (real.folder / "root/libpod/bolt_state.db").unlink()
            real.start()
            await machine.engine.open()
            await machine.engine.run(spec)
            assert (await machine.only()).state == "running"


async def test_taken_port_is_named_and_leaves_nothing(machine: Machine):
    port = machine.port(80)
    await machine.engine.run(machine.spec(*SLEEP, ports=(port,)))
    with pytest.raises(EngineError, match=f"port {port.host_port} of this node is in use"):
        await machine.engine.run(machine.spec(*SLEEP, ports=(port,)))
    assert len(await machine.engine.list()) == 1


@pytest.mark.docker
@pytest.mark.root
async def test_port_that_another_program_of_the_host_holds_is_named(dockerd: RealEngine):
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        async for machine in open_machine(dockerd):
            held = (PortBinding(container_port=80, host_port=port),)
            with pytest.raises(PortTaken, match=f"port {port} of this node is in use"):
                await machine.engine.run(machine.spec(*SLEEP, ports=held))
            assert await machine.engine.list() == []


async def test_core_beyond_the_machine_is_refused(machine: Machine):
    with pytest.raises(EngineError, match=r"(?i)requested CPUs are not available"):
        await machine.engine.run(machine.spec(*SLEEP, cores=(4000,)))
    assert await machine.engine.list() == []


async def test_command_that_the_image_lacks_is_the_reason(machine: Machine):
    await machine.engine.run(machine.spec("nonesuch"))

    async def reason_with_log() -> bool:
        # Podman may show the exit a moment before the last line that was written.
        return "No such file or directory" in (await machine.only()).reason

    await until(reason_with_log, 30)


async def test_invalid_image_name_is_not_tried_again(machine: Machine):
    with pytest.raises(EngineError, match="image name is not valid") as refused:
        await machine.engine.run(machine.spec(image="Not A Name"))
    assert not refused.value.retry


async def test_service_with_no_image_is_not_tried_again(machine: Machine):
    with pytest.raises(EngineError, match="names no image") as refused:
        await machine.engine.run(machine.spec(image=""))
    assert not refused.value.retry


async def test_gpu_that_cannot_be_given_is_refused_and_leaves_nothing(machine: Machine):
    with pytest.raises(EngineError, match="GPU"):
        await machine.engine.run(machine.spec(*SLEEP, gpus=(Gpu(id="0"),)))
    assert await machine.engine.list() == []


async def test_tiny_quota_is_granted(machine: Machine):
    await machine.engine.run(machine.spec(*SLEEP, quota_millicores=5))
    limits = machine.real.inspect((await machine.only()).id)["HostConfig"]
    assert limits["CpuQuota"] / limits["CpuPeriod"] == 0.005


async def test_log_is_bounded(machine: Machine):
    printing = f"yes {'x' * 500} | head -n 10000; exit 1"
    await machine.engine.run(machine.spec("sh", "-c", printing))
    await until(lambda: exited(machine), 30)
    log = Path(machine.real.inspect((await machine.only()).id)["LogPath"])
    written = [file.stat().st_size for file in log.parent.glob(f"{log.name}*")]
    assert 0 < sum(written) < 2.2e6, "1 MB, and Docker may keep the one before"


async def test_usage_is_plausible(machine: Machine):
    await machine.engine.run(machine.spec("sh", "-c", "while true; do true; done"))
    container = await machine.only()
    before = machine.engine.usage()[container.id]
    await asyncio.sleep(1)
    after = machine.engine.usage()[container.id]
    assert 0.2 < after.cpu_s - before.cpu_s < 2.2
    assert 0 <= after.memory_mib < 32


async def test_each_thread_is_told_apart(machine: Machine):
    await machine.engine.run(machine.spec("sh", "-c", "while true; do true; done & sleep 1000"))
    container = await machine.only()

    async def burnt() -> bool:
        return max(machine.engine.threads(container.id).values(), default=0.0) > 0.1

    await until(burnt)
    used_s = sorted(machine.engine.threads(container.id).values())
    assert len(used_s) >= 3  # an init, the shell or what it became, its child
    assert used_s[-2] < 0.1 < used_s[-1]
    machine.real.stop_container(container.id)
    assert machine.engine.threads(container.id) == {}


async def test_usage_forgets_what_has_ended(machine: Machine):
    await machine.engine.run(machine.spec(*SLEEP))
    container = await machine.only()
    assert container.id in machine.engine.usage()
    machine.real.stop_container(container.id)
    assert machine.engine.usage() == {}


async def test_death_is_told_and_shown_within_a_second(machine: Machine):
    await machine.engine.run(machine.spec(*SLEEP))
    container = await machine.only()
    changes = machine.engine.changes()
    async with contextlib.aclosing(changes):
        await anext(changes)
        os.kill(machine.real.inspect(container.id)["State"]["Pid"], signal.SIGKILL)
        async with asyncio.timeout(1):
            while (await machine.only()).state == "running":
                await anext(changes)


async def test_changes_are_silent_while_nothing_happens(machine: Machine):
    await machine.engine.run(machine.spec(*SLEEP))
    await asyncio.sleep(2.1)  # the stream begins with what happened just before it
    changes = machine.engine.changes()
    async with contextlib.aclosing(changes):
        await anext(changes)
        if machine.real.kind == "podman":
            await anext(changes)  # listens only now, perhaps
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await anext(changes)


@pytest.mark.parametrize("ahead_s", [-86_400, 86_400])
async def test_a_clock_that_is_set_does_not_make_us_deaf(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, ahead_s: int
):
    """Another clock when the stream is opened is one that has been set since then."""
    await machine.engine.run(machine.spec(*SLEEP))
    container = await machine.only()
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + ahead_s)
    changes = machine.engine.changes()
    async with contextlib.aclosing(changes), asyncio.timeout(5):
        await anext(changes)
        os.kill(machine.real.inspect(container.id)["State"]["Pid"], signal.SIGKILL)
        while (await machine.only()).state == "running":
            await anext(changes)


@pytest.fixture(params=BOTH)
async def mortal(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    """A machine whose engine is this test's own and may be killed."""
    start = {"dockerd": engines.dockerd, "podman": engines.podman}[request.param]
    with start() as real:
        async for opened in open_machine(real):
            yield opened


async def to_the_end(changes: AsyncIterator[None]):
    async for _ in changes:
        pass


async def test_engine_killed_and_back_is_survived(mortal: Machine):
    engine = mortal.engine
    await engine.run(mortal.spec(*SLEEP))
    container = await mortal.only()
    changes = engine.changes()
    await anext(changes)
    mortal.real.kill()
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await to_the_end(changes)
        for call in (
            engine.list(),
            engine.run(mortal.spec()),
            engine.start(container.id),
            engine.remove(container.id, 0),
            engine.has_image("x"),
            engine.open(),
        ):
            with pytest.raises(Unavailable):
                await call
    assert container.id in engine.usage(), "the container lives on and so does its measure"
    mortal.real.start()
    await engine.open()
    assert await engine.list() == [container]
    await engine.run(mortal.spec(*SLEEP))


async def test_an_engine_that_dies_just_after_it_told_of_images_is_survived(mortal: Machine):
    images = mortal.engine.images()
    await anext(images)
    nobody = asyncio.ensure_future(anext(images))
    await asyncio.sleep(0.2)  # Podman listens a moment after it answers
    mortal.real.tag(BUSYBOX, "localhost/other")
    await asyncio.sleep(0.5)  # the engine goes while the rest of what it tells is waited for
    mortal.real.kill()
    with pytest.raises(Unavailable):
        await nobody
    mortal.real.start()
    await mortal.engine.open()


async def test_a_command_whose_engine_dies_is_let_go(mortal: Machine):
    await mortal.engine.run(mortal.spec(*SLEEP))
    container = await mortal.only()
    asked = ExecWanted(instance=container.instance, command=("cat",), stdin=True)
    session = await mortal.engine.exec_session(container.id, asked)
    mortal.real.kill()
    with contextlib.suppress(Unavailable):
        assert await session.read() is None
    await session.write(b"x")
    await session.close()
    with pytest.raises(Unavailable):
        await mortal.engine.exec_session(container.id, asked)
    mortal.real.start()
    await mortal.engine.open()


@pytest.mark.podman
@pytest.mark.root
async def test_a_podman_that_tells_of_nothing_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
):
    silent = engines._CONTAINERS_CONF.replace('events_logger = "file"', 'events_logger = "none"')
    monkeypatch.setattr(engines, "_CONTAINERS_CONF", silent)
    with engines.podman() as real:
        async for machine in open_machine(real):
            with pytest.raises(Unavailable, match='with `events_logger = "none"` it has none'):
                await to_the_end(machine.engine.changes())


@pytest.mark.docker
@pytest.mark.root
async def test_frozen_engine_is_given_up_within_its_deadline(dockerd: RealEngine):
    engine = DockerEngine(
        str(dockerd.socket), cluster="frozen", node="n1", pull_stall_s=5, answer_s=0.3
    )
    await engine.open()
    dockerd.freeze()
    try:
        with pytest.raises(Unavailable, match=r"did not answer within 0\.3 s"):
            await engine.list()
    finally:
        dockerd.thaw()
    assert await engine.list() == []
    await engine.close()


@pytest.mark.docker
@pytest.mark.root
async def test_containers_killed_with_a_docker_without_live_restore_start_again():
    with engines.dockerd(live_restore=False) as real:
        async for machine in open_machine(real):
            await machine.engine.run(machine.spec("sh", "-c", "sleep 1000"))
            container = await machine.only()
            real.kill()
            real.start()
            await machine.engine.open()
            assert (await machine.only()).state == "exited"
            await machine.engine.start(container.id)
            assert (await machine.only()).state == "running"


@pytest.mark.docker
@pytest.mark.root
async def test_docker_without_its_init_program_still_runs_instances(
    caplog: pytest.LogCaptureFixture,
):
    with engines.dockerd(options=("--init-path", "/nonesuch")) as real:
        await run_without_init(real, caplog)


@pytest.mark.podman
@pytest.mark.root
async def test_podman_without_its_init_program_still_runs_instances(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    hide = 'mount --bind "$0" /usr/libexec/podman && exec "$@"'
    with engines.podman(wrapper=("unshare", "--mount", "sh", "-c", hide, str(tmp_path))) as real:
        await run_without_init(real, caplog)


async def run_without_init(real: RealEngine, caplog: pytest.LogCaptureFixture) -> None:
    async for machine in open_machine(real):
        for _ in range(2):
            await machine.engine.run(machine.spec(*SLEEP))
        assert [container.state for container in await machine.engine.list()] == ["running"] * 2
        assert caplog.text.count("has no init program") == 1
