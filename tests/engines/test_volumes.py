"""Volumes, files of the node and memory, mounted by a real dockerd and by a real Podman."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roheletd.cluster.volumes import StoredVolume
from roheletd.engines import EngineError
from roheletd.engines.docker import DockerEngine
from roheletd.engines.mounts import host_sources
from roheletd.engines.process import ProcessEngine
from roheletd.errors import Unavailable
from roheletd.upkeep import Volume
from tests.engines.conftest import Machine, make_spec
from tests.engines.waiting import until
from tests.testbed.unix_http import request


@pytest.fixture
async def engine(machine: Machine, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    """An engine that may mount what is below `tmp_path`/allowed."""
    (tmp_path / "allowed").mkdir()
    opened = DockerEngine(
        str(machine.real.socket),
        cluster=machine.cluster,
        node="n1",
        pull_stall_s=5,
        host_paths=(str(tmp_path / "allowed"),),
    )
    await opened.open()
    yield opened
    await opened.close()


async def ends(machine: Machine) -> str:
    """How the only container ended: its last line where that was not well."""

    async def ended() -> str | None:
        container = await machine.only()
        return container.reason if container.state == "exited" else None

    return await until(ended)


async def test_what_is_mounted_is_there_as_it_was_asked_for(
    machine: Machine, engine: DockerEngine, tmp_path: Path
):
    (tmp_path / "allowed" / "greeting").write_text("hello")
    script = (
        "grep -q hello /host/greeting && ! echo x 2>/dev/null >/host/new && echo kept >/data/f"
        " && grep '^tmpfs /scratch tmpfs.*size=2048k' /proc/mounts && echo x >/scratch/f && exit 7"
    )
    volumes = (
        Volume(path="/data", name="data"),
        Volume(path="/host", host_path=str(tmp_path / "allowed"), read_only=True),
        Volume(path="/scratch", tmpfs_mib=2),
    )
    await engine.run(machine.spec("sh", "-c", script, volumes=volumes))
    assert "exit code 7" in await ends(machine)


async def test_a_named_volume_outlives_its_instance_and_is_of_no_other(
    machine: Machine, engine: DockerEngine
):
    volumes = (Volume(path="/data", name="data"),)
    first = ("sh", "-c", "test ! -e /data/f && echo x >/data/f && exit 7")
    again = ("sh", "-c", "test -e /data/f && exit 8")
    for instance, command, code in (
        ("web.1", first, 7),
        ("web.1", again, 8),
        ("web.2", first, 7),
    ):
        await engine.run(machine.spec(*command, volumes=volumes, instance=instance))
        assert f"exit code {code}" in await ends(machine)
        await engine.remove((await machine.only()).id, 0)
    kept = request(machine.real.socket, "GET", "/volumes")["Volumes"]
    ours = {it["Name"]: it["Labels"] for it in kept if it["Name"].startswith(machine.cluster)}
    assert ours.keys() == {f"{machine.cluster}.web.1.data", f"{machine.cluster}.web.2.data"}
    assert ours[f"{machine.cluster}.web.2.data"]["rohe.instance"] == "web.2"
    for name in ours:
        request(machine.real.socket, "DELETE", f"/volumes/{name}")


def make(machine: Machine, name: str, **labels: str) -> None:
    """A volume that somebody else makes."""
    body = json.dumps({"Name": name, "Labels": labels}).encode()
    request(machine.real.socket, "POST", "/volumes/create", body=body)


async def test_volumes_of_our_instances_are_listed_and_nobody_elses(
    machine: Machine, engine: DockerEngine
):
    mine, other = machine.cluster, f"{machine.cluster}x"
    await engine.run(machine.spec(volumes=(Volume(path="/d", name="data"),), instance="web.1"))
    make(machine, f"{mine}.old.3.data")
    make(machine, f"{mine}-restored", **{"rohe.cluster": mine, "rohe.instance": "web.2"})
    make(machine, f"{mine}.web.2.theirs", **{"rohe.cluster": other, "rohe.instance": "web.2"})
    make(machine, f"{other}.web.1.data")
    make(machine, f"{mine}.web.1")
    try:
        assert set(await engine.volumes()) == {
            StoredVolume(f"{mine}.web.1.data", "web.1", "data"),
            StoredVolume(f"{mine}.old.3.data", "old.3", "data"),
            StoredVolume(f"{mine}-restored", "web.2"),
        }
    finally:
        await engine.remove((await machine.only()).id, 0)
        for it in request(machine.real.socket, "GET", "/volumes")["Volumes"]:
            if it["Name"].startswith(mine):
                request(machine.real.socket, "DELETE", f"/volumes/{it['Name']}")
    assert await engine.volumes() == ()


async def test_a_volume_that_a_container_has_is_not_removed_and_then_it_is_gone_for_good(
    machine: Machine, engine: DockerEngine
):
    name = f"{machine.cluster}.web.1.data"
    volumes = (Volume(path="/d", name="data"),)
    await engine.run(machine.spec("sh", "-c", "echo x >/d/f", volumes=volumes, instance="web.1"))
    await ends(machine)
    with pytest.raises(EngineError, match="a container has it"):
        await engine.remove_volume(name)
    assert [it.name for it in await engine.volumes()] == [name], "ended, and has it all the same"
    await engine.remove((await machine.only()).id, 0)
    await engine.remove_volume(name)
    assert await engine.volumes() == ()
    await engine.remove_volume(name)
    script = "test ! -e /d/f && exit 7"
    await engine.run(machine.spec("sh", "-c", script, volumes=volumes, instance="web.1"))
    assert "exit code 7" in await ends(machine)
    await engine.remove((await machine.only()).id, 0)
    await engine.remove_volume(name)


async def test_an_engine_that_is_not_connected_says_so(machine: Machine):
    closed = DockerEngine(
        str(machine.real.socket), cluster=machine.cluster, node="n1", pull_stall_s=5
    )
    for asking in (closed.volumes(), closed.remove_volume("x")):
        with pytest.raises(Unavailable, match="is not connected"):
            await asking


async def test_a_host_path_outside_the_list_is_never_mounted(
    machine: Machine, engine: DockerEngine, tmp_path: Path
):
    (tmp_path / "secret").mkdir()
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "secret")
    for path in (tmp_path / "secret", tmp_path / "allowed" / "link", tmp_path / "allowedly"):
        path.mkdir(exist_ok=True)
        volumes = (Volume(path="/host", host_path=str(path)),)
        with pytest.raises(EngineError, match=r"not below any of this node's `node.host_paths`"):
            await engine.run(machine.spec(volumes=volumes))
    assert await engine.list() == []


async def test_a_host_path_that_is_not_there_is_not_made(
    machine: Machine, engine: DockerEngine, tmp_path: Path
):
    missing = tmp_path / "allowed" / "disk"
    volumes = (Volume(path="/host", host_path=str(missing)),)
    with pytest.raises(EngineError, match="no such file") as refused:
        await engine.run(machine.spec(volumes=volumes))
    assert refused.value.retry, "a disk may be mounted later"
    assert not missing.exists()


def test_a_loop_of_links_is_refused(tmp_path: Path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    volumes = (Volume(path="/host", host_path=str(tmp_path / "loop")),)
    with pytest.raises(EngineError, match="host path"):
        host_sources(volumes, (str(tmp_path),))


def test_a_list_that_names_a_link_allows_what_it_leads_to(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "srv").symlink_to(tmp_path / "disk")
    volumes = (Volume(path="/host", host_path=str(tmp_path / "srv")),)
    found = host_sources(volumes, (str(tmp_path / "srv"),))
    assert found == {str(tmp_path / "srv"): str(tmp_path / "disk")}


async def test_processes_get_no_volumes_and_are_told_so(tmp_path: Path):
    engine = ProcessEngine(tmp_path, cluster="c", node="n1")
    volumes = (Volume(path="/data", name="data"),)
    with pytest.raises(EngineError, match="need a container engine") as refused:
        await engine.run(make_spec("c", "sleep", "1", volumes=volumes))
    assert not refused.value.retry
    assert await engine.volumes() is None
    with pytest.raises(EngineError, match="local processes have no volumes"):
        await engine.remove_volume("c.web.1.data")
