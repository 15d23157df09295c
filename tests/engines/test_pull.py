"""Images from a registry: found, missing, unreachable, and a registry that falls silent."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from roheletd.engines import EngineError
from roheletd.engines.docker import DockerEngine
from tests.engines.conftest import Machine
from tests.testbed.engines import BUSYBOX
from tests.testbed.network import free_port
from tests.testbed.registry import Registry, registry

SLEEP = ("/bin/sleep", "1000")


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


async def test_registry_that_is_down_is_told_so(machine: Machine):
    with pytest.raises(EngineError, match="registry unreachable"):
        await machine.engine.run(machine.spec(image=f"127.0.0.1:{free_port()}/busybox:1"))


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
