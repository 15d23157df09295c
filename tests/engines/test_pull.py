"""Images from a registry: found, missing, unreachable, and a registry that falls silent."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roheletd.engines import EngineError, ImageRefused, docker_images
from roheletd.engines.archive import ImageFile, image_archive
from roheletd.engines.docker import DockerEngine
from roheletd.engines.pulling import Login, authorization
from tests.engines.conftest import Machine
from tests.testbed.engines import BUSYBOX
from tests.testbed.network import free_port
from tests.testbed.registry import PASSWORD, USER, Registry, registry

SLEEP = ("/bin/sleep", "1000")


@asynccontextmanager
async def another(machine: Machine, **more: object) -> AsyncIterator[DockerEngine]:
    """An engine of the same cluster that is configured in another way."""
    settings = {"cluster": machine.cluster, "node": "n1", "pull_stall_s": 5, **more}
    engine = DockerEngine(str(machine.real.socket), **settings)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
def hub(machine: Machine) -> Iterator[Registry]:
    with registry(machine.real) as opened:
        yield opened


async def test_missing_image_is_pulled_and_run(machine: Machine, hub: Registry):
    image = f"{hub.address}/busybox:1"
    machine.real.push(BUSYBOX, image)
    assert not await machine.engine.has_image(image)
    await machine.engine.run(machine.spec(*SLEEP, image=image))
    assert (await machine.only()).state == "running"
    assert await machine.engine.has_image(image)


async def test_image_that_is_nowhere_is_told_so(machine: Machine, hub: Registry):
    with pytest.raises(EngineError, match="image not found in its registry") as refused:
        await machine.engine.run(machine.spec(image=f"{hub.address}/nonesuch:1"))
    assert refused.value.retry, "it may be pushed later"
    assert await machine.engine.list() == []


async def test_image_of_another_processor_is_told_so_before_it_is_fetched(
    machine: Machine, hub: Registry
):
    digest = machine.real.push(BUSYBOX, f"{hub.address}/busybox:1")
    hub.offer("busybox", "far", digest, "s390x")
    with pytest.raises(ImageRefused, match="not made for this node's processor"):
        await machine.engine.run(machine.spec(image=f"{hub.address}/busybox:far"))


async def test_registry_that_is_down_is_told_so(machine: Machine):
    with pytest.raises(EngineError, match="registry unreachable"):
        await machine.engine.run(machine.spec(image=f"127.0.0.1:{free_port()}/busybox:1"))


@pytest.fixture
async def closed_hub(machine: Machine) -> AsyncIterator[Registry]:
    """A registry that wants a login, with an image."""
    with registry(machine.real, closed=True) as opened:
        auth = authorization(Login(username=USER, password_file=""), PASSWORD, opened.address)
        machine.real.push(BUSYBOX, f"{opened.address}/busybox:1", auth["X-Registry-Auth"])
        yield opened


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (PASSWORD, ""),
        ("wrong", "pi of `engine.registries` was tried at 127.0.0.1:"),
        (None, "this node has no login for 127.0.0.1:"),
    ],
)
async def test_a_registry_that_wants_a_login_gets_the_one_of_the_configuration(
    machine: Machine, closed_hub: Registry, tmp_path: Path, password: str | None, reason: str
):
    image = f"{closed_hub.address}/busybox:1"
    (tmp_path / "password").write_text(f"{password}\n")
    login = Login(username=USER, password_file=str(tmp_path / "password"))
    logins = {} if password is None else {closed_hub.address: login}
    async with another(machine, logins=logins) as engine:
        if not reason:
            await engine.run(machine.spec(*SLEEP, image=image))
            assert (await machine.only()).state == "running"
            return
        with pytest.raises(ImageRefused, match=reason) as refused:
            await engine.run(machine.spec(*SLEEP, image=image))
        assert "login" in str(refused.value)
        assert "wrong" not in str(refused.value)


async def test_a_password_file_that_is_gone_is_named(machine: Machine, tmp_path: Path):
    address = f"127.0.0.1:{free_port()}"
    login = Login(username=USER, password_file=str(tmp_path / "none"))
    async with another(machine, logins={address: login}) as engine:
        with pytest.raises(ImageRefused, match="password file of registry"):
            await engine.run(machine.spec(image=f"{address}/busybox:1"))


async def test_an_image_is_pulled_when_the_service_says_so(machine: Machine, hub: Registry):
    image = f"{hub.address}/busybox:1"
    machine.real.push(BUSYBOX, image)
    told: list[str] = []

    async def run(pull: str) -> list[str]:
        told.clear()
        spec = machine.spec(*SLEEP, image=image, pull=pull)
        await machine.engine.run(spec, lambda kind, _reason: told.append(kind))
        await machine.engine.remove((await machine.only()).id, 0)
        return told

    with pytest.raises(ImageRefused, match="is not on this node, and `pull` is never"):
        await run("never")
    assert await run("missing") == ["pulling image", "pulled image"]
    assert await run("missing") == await run("never") == []
    assert await run("always") == ["pulling image", "pulled image"]
    hub.kill()
    assert await run("missing") == []
    if machine.real.kind == "docker":  # Podman tries for 3 s
        with pytest.raises(ImageRefused, match="registry unreachable"):
            await run("always")


async def test_an_image_by_digest_is_pulled_once(machine: Machine, hub: Registry):
    digest = machine.real.push(BUSYBOX, f"{hub.address}/busybox:1")
    image = f"{hub.address}/busybox@{digest}"
    told: list[str] = []
    for _ in range(2):
        spec = machine.spec(*SLEEP, image=image, pull="always")
        await machine.engine.run(spec, lambda kind, _reason: told.append(kind))
        await machine.engine.remove((await machine.only()).id, 0)
    # Podman knows the one that was pushed by its digest, whatever its name.
    assert told in (["pulling image", "pulled image"], [])


async def test_a_registry_that_dies_in_the_middle_of_a_pull_is_given_up_and_told(
    machine: Machine, hub: Registry, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(docker_images, "_SAY_S", 0.0)
    image = f"{hub.address}/large:1"
    large = ImageFile(path="noise", data=random.Random(1).randbytes(20_000_000))
    machine.real.load(image_archive(image, [large], command=("/noise",)))
    machine.real.push(image, image)
    async with another(machine, pull_stall_s=1) as engine:
        running = asyncio.create_task(engine.run(machine.spec(image=image, instance="big.1")))
        said = await until_said(engine, running)
        hub.kill()
        with pytest.raises(ImageRefused, match=r"stalled|registry broke|registry unreachable"):
            await running
        assert said.startswith("pulling")
        assert engine.doing() == {}


async def until_said(engine: DockerEngine, running: asyncio.Task[None]) -> str:
    """How far the pull has come once the engine says that there is something to fetch."""
    while not running.done():
        said = engine.doing().get("big.1", "")
        if said not in ("", "pulling"):
            return said
        await asyncio.sleep(0.001)
    raise AssertionError("it was faster than we could look")


async def test_pull_without_progress_is_given_up(machine: Machine, hub: Registry):
    engine = DockerEngine(
        str(machine.real.socket), cluster=machine.cluster, node="n1", pull_stall_s=1
    )
    await engine.open()
    hub.freeze()
    started = time.monotonic()
    with pytest.raises(EngineError, match="stalled: no progress for 1 s"):
        await engine.run(machine.spec(image=f"{hub.address}/busybox:1"))
    assert time.monotonic() - started < 4
    hub.thaw()
    await asyncio.sleep(0)
    assert not engine._client.connector._acquired, "the engine must see that we left"
    await engine.close()
