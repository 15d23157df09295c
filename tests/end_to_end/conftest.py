"""Daemons on real engines and real brokers."""

from collections.abc import Iterator

import pytest

from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import RealEngine
from tests.testbed.unix_http import request


@pytest.fixture
def on_docker(dockerd: RealEngine) -> Iterator[RealDaemon]:
    """Managed mosquitto and a real dockerd: the normal node."""
    with daemon(
        broker={"mode": "managed"}, engine={"kind": "docker", "socket": str(dockerd.socket)}
    ) as node:
        yield node
        if node.process is None or node.process.poll() is not None:
            node.start()
        for name in [item["service"]["name"] for item in node.get("/api/v1/services")["services"]]:
            node.delete(f"/api/v1/services/{name}")
        node.until(lambda: not containers(dockerd, node))


def containers(engine: RealEngine, node: RealDaemon) -> dict[str, str]:
    """Name to id of every container with the labels of `node`, running or not."""

    label = f'{{"label":["rohe.node=n1","rohe.cluster={node.cluster}"]}}'
    found = request(engine.socket, "GET", f"/containers/json?all=1&filters={label}")
    return {item["Names"][0].strip("/"): item["Id"] for item in found}
