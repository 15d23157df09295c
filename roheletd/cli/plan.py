"""What a quickstart decides before it starts anything: broker, engine, ports, and its sample."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from roheletd.broker import choose
from roheletd.broker.embedded import amqtt_installed
from roheletd.broker.managed import find_mosquitto
from roheletd.cli.cleanup import SAMPLE, STOP_GRACE_S, engine_of
from roheletd.cli.home import Home, Record
from roheletd.cli.options import API_PORT
from roheletd.cli.sample_image import IMAGE
from roheletd.cli.screen import Picked
from roheletd.config import BrokerConfig, EngineConfig
from roheletd.engines.choice import Chosen
from roheletd.errors import Unavailable

REPLICAS = 2


class Setup(Struct, frozen=True, kw_only=True):
    """What is decided before anything is started."""

    record: Record
    engine: Chosen
    broker_mode: str
    picked: Picked

    @property
    def line(self) -> str:
        return f"broker {self.picked.broker}; engine {self.picked.engine}"


def decide(broker: BrokerConfig, engine: EngineConfig, home: Home) -> Setup:
    """Decide on broker and engine as the daemon would, so that the reasons can be told."""
    os.environ["RUNTIME_DIRECTORY"] = str(home.run_dir)  # also the child's: all in one place
    from_where = choose(broker, mosquitto=find_mosquitto(), amqtt=amqtt_installed())
    node = socket.gethostname().partition(".")[0] or "node"
    record = Record(client_pid=os.getpid(), cluster=home.cluster, node=node, engine="process")
    chosen = engine_of(engine, record, home)
    assert chosen.kind != "none", "a quickstart asks for an engine"
    return Setup(
        record=replace(record, engine=chosen.kind),
        engine=chosen,
        broker_mode=from_where.mode,
        picked=Picked(broker=from_where.why, engine=chosen.why),
    )


def configuration(setup: Setup, home: Home) -> dict[str, Any]:
    with _free_ports() as free:
        return {
            "node": {"name": setup.record.node},
            "cluster": {"name": setup.record.cluster},
            "broker": {"mode": setup.broker_mode, "port": free(BrokerConfig().port)},
            "engine": {"kind": setup.engine.kind},
            "api": {"port": free(API_PORT)},
            "data_dir": str(home.data_dir),
        }


@contextmanager
def _free_ports() -> Iterator[Callable[[int], int]]:
    """Gives the port wished for where it is free, else another; held until all are chosen."""
    held: list[socket.socket] = []

    def free(wish: int) -> int:
        for port in (wish, 0):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.append(listener)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
        raise Unavailable("no TCP port is free on 127.0.0.1")

    try:
        yield free
    finally:
        for listener in held:
            listener.close()


def service(engine: str) -> dict[str, Any]:
    runs = {"image": IMAGE} if engine == "docker" else {"command": _sample_command()}
    return {
        "name": SAMPLE,
        "application": "quickstart",
        "replicas": REPLICAS,
        "cores": [50],
        "memory_mib": 64,
        "ports": [{"container_port": 8080}],
        "stop_grace_s": STOP_GRACE_S,
        **runs,
    }


def _sample_command() -> list[str]:
    if getattr(sys, "frozen", False):
        return [sys.executable, "sample"]
    return [sys.executable, "-m", "roheletd.sample"]
