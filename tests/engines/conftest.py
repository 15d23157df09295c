"""One `Machine` per test: a real engine of either kind, and a `DockerEngine` that talks to it."""

import itertools
import secrets
from collections.abc import AsyncIterator

import pytest
from msgspec import Struct

from roheletd.cluster.container import Container
from roheletd.cluster.reconcile import InstanceSpec
from roheletd.engines.docker import DockerEngine
from roheletd.model import PortBinding
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.network import free_port

BOTH = [
    pytest.param("dockerd", marks=[pytest.mark.docker, pytest.mark.root]),
    pytest.param("podman", marks=[pytest.mark.podman, pytest.mark.root]),
]
_NUMBERS = itertools.count()


def make_spec(cluster: str, *command: str, **changes: object) -> InstanceSpec:
    """An instance of the busybox image that sleeps, unless told otherwise."""
    fields = {
        "cluster": cluster,
        "node": "n1",
        "service": "web",
        "instance": f"web-{next(_NUMBERS)}",
        "revision": 1,
        "digest": "d1",
        "image": BUSYBOX,
        "command": command,
        "env": {},
        "cores": (),
        "quota_millicores": 0,
        "memory_mib": 0,
        "gpus": (),
        "ports": (),
        "labels": {},
        "stop_grace_s": 1.0,
    }
    return InstanceSpec(**(fields | changes))


class Machine(Struct):
    """What a test of the Docker engine works with."""

    real: RealEngine
    engine: DockerEngine
    cluster: str

    def spec(self, *command: str, **changes: object) -> InstanceSpec:
        return make_spec(self.cluster, *command, **changes)

    async def only(self) -> Container:
        (container,) = await self.engine.list()
        return container

    def port(self, container_port: int) -> PortBinding:
        return PortBinding(container_port=container_port, host_port=free_port())


async def open_machine(real: RealEngine) -> AsyncIterator[Machine]:
    """A connected engine in a cluster of its own; removes what the test leaves."""
    cluster = f"c{secrets.token_hex(4)}"
    engine = DockerEngine(str(real.socket), cluster=cluster, node="n1", pull_stall_s=5)
    await engine.open()
    try:
        yield Machine(real=real, engine=engine, cluster=cluster)
        for container in await engine.list():
            await engine.remove(container.id, 0)
    finally:
        await engine.close()


@pytest.fixture(params=BOTH)
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    async for opened in open_machine(request.getfixturevalue(request.param)):
        yield opened
