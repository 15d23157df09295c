"""One node's operations on a log in memory, and a real server before them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import pytest

from roheletd.allocation.algorithm import Algorithm
from roheletd.allocation.schedule import schedule
from roheletd.allocation.snapshot import Profile
from roheletd.allocation.view import look
from roheletd.api.collaborators import Conversation, Emit
from roheletd.api.operations import Operations
from roheletd.api.server import ApiServer
from roheletd.api.views import MemberView
from roheletd.cluster.commands import (
    AddNodes,
    AddServices,
    Place,
    Proposal,
    SetConfigMap,
    SetSecret,
)
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import ClusterState
from roheletd.cluster.streams import (
    Begun,
    ExecWanted,
    Exit,
    LogLine,
    LogQuery,
    Output,
    VolumesWanted,
    VolumeUnwanted,
    Wanted,
)
from roheletd.instance_use import InstanceUse
from roheletd.loops.pipe import Pipe
from roheletd.model import Capacity, Gpu, Node, Placement, Port, Service
from roheletd.telemetry import CpuUse, GpuUse, MemoryUse, Telemetry, ThermalZone
from roheletd.testing import ManualClock, MemoryCluster, MemoryLog
from roheletd.vault import Vault
from tests.api.engines import Engines
from tests.api.rumours import Rumours

TOKEN = "f" * 64


RUNNING = InstanceUse(instance="web.0", state="running", cpu_millicores=125, memory_mib=32)


class Whispers:
    """Where every log has one line, and every command writes one and ends with 3."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    async def read(self, query: LogQuery, emit: Emit) -> None:
        at = Placement(instance=f"{query.service}.0", service=query.service, node="pi", revision=1)
        await emit(at, (LogLine("hello", "stdout", "2026-01-01T00:00:00Z"),))

    @asynccontextmanager
    async def talk(self, node: str, wanted: Wanted) -> AsyncIterator[Conversation]:
        if isinstance(wanted, VolumesWanted | VolumeUnwanted):
            async with self._engines.talk(node, wanted) as talk:
                yield talk
            return
        ours, theirs = Pipe.pair()
        assert isinstance(wanted, ExecWanted)
        for piece in (Begun(), Output(b"out\n"), Output(b"err\n", error=True), Exit(3)):
            await theirs.send(piece)
        yield ours


class World:
    """A node `pi` with a service `web`, of which one of two replicas is placed and runs."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.state = ClusterState()
        self.soft = SoftState(
            broker=BrokerLink(mode="managed", connected=True, reconnects=3, dropped=5),
            engine=EngineLink(kind="docker", name="Docker", version="20.10", reachable=True),
        )
        self.membership = Membership(me="pi", limits=thresholds(1.0))
        self.events = Events(node="pi", wall_s=self.clock.wall_s)
        self.log = MemoryLog(self.state, leader="pi")
        self.cluster = MemoryCluster(node="pi", cluster="edge", wall_s=self.clock.wall_s)
        self.cluster.members["old"] = MemberView(
            name="old", id="old.00000002", role="learner", liveness="lost"
        )
        self.algorithm = Algorithm("sample:Sample", lambda: {"score": lambda *_: (0.5, 0.0)})
        self.vault = Vault(bytes(32))
        self.operations = Operations(
            node="pi",
            cluster="edge",
            version="0.1.0",
            profile=Profile(),
            algorithm=self.algorithm,
            state=self.state,
            soft=self.soft,
            membership=self.membership,
            events=self.events,
            log=self.log,
            cluster_control=self.cluster,
            clock=self.clock,
            challenge=lambda: "c0ffee",
            vault=self.vault,
            own_instances=lambda: (RUNNING,),
        )
        self.engines = Engines(self.state, self.clock)
        self.engines.memory("pi", "edge.gone.1.data")
        self.operations.streams = Whispers(self.engines)
        self.operations.all_events = self.rumours = Rumours()
        self._populate()

    def _populate(self) -> None:
        cores = {0: 1000, 1: 1000, 3: 1000}
        gpu = Gpu(id="gpu0", memory_mib=4096, shares_memory=True)
        here = Node(name="pi", capacity=Capacity(cores=cores, memory_mib=4096, gpus=(gpu,)))
        away = Node(name="old", capacity=Capacity(cores={0: 1000}, memory_mib=512))
        web = Service(
            name="web", image="nginx", replicas=2, cores=(500,), ports=(Port(container_port=80),)
        )
        placed = Placement(
            instance="web.0", service="web", node="pi", revision=2, cores={0: 500}, memory_mib=64
        )
        for command in (
            AddNodes(nodes=(here, away)),
            AddServices(services=(web,)),
            Place(placements=(placed,)),
            SetConfigMap(name="web", values={"nginx.conf": b"worker_processes 1;"}),
            SetSecret(name="web", values={"user": self.vault.seal("web", "user", b"shop")}),
        ):
            index = self.state.applied_index + 1
            self.state.apply(index, 1, Proposal(id=f"seed{index}", command=command))
        self.soft.telemetry["pi"] = Telemetry(
            node="pi",
            at_s=self.clock.wall_s(),
            interval_s=1.0,
            cpu=CpuUse(used_millicores={0: 250, 1: 1000, 3: 0}),
            memory=MemoryUse(total_mib=4096, available_mib=3000),
            thermal=(
                ThermalZone(name="cpu-thermal", celsius=48.5),
                ThermalZone(name="GPU-therm", celsius=None),
            ),
            throttled=("under-voltage",),
            gpus=(GpuUse(id="gpu0", model="GV11B", used_percent=25.0, shares_memory=True),),
            instances=(RUNNING,),
            sick={"disk": "statvfs: no such file"},
        )
        self.soft.waiting["web"] = "no node of 2 fits (memory: 2)"
        self.soft.dropped_messages["replayed"] = 7
        self.events.add("service added", "web")

    def change(self) -> None:
        """Something to go back from."""
        web = msgspec.structs.replace(self.state.services["web"].service, image="nginx:2")
        index = self.state.applied_index + 1
        command = AddServices(services=(web,))
        self.state.apply(index, 1, Proposal(id=f"change{index}", command=command))

    def settle(self) -> None:
        """Place what is missing, as the leader would."""
        view = look(self.state, self.soft, self.membership, self.clock.now_s())
        found = schedule(self.state, view, Profile(), Random(0))
        index = self.state.applied_index + 1
        self.state.apply(index, 1, Proposal(id=f"settle{index}", command=found.place))

    def picture(self) -> bytes:
        """Everything agreed, to be compared before and after."""
        return msgspec.msgpack.encode(self.state.saved())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World, tmp_path: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(
        world.operations,
        socket_path=tmp_path / "roheletd.sock",
        listen="127.0.0.1",
        port=0,
        token=TOKEN,
    )
    await server.start()
    yield server
    await server.stop()
    world.state.check()


@pytest.fixture
async def local(server: ApiServer, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client on the unix socket."""
    connector = aiohttp.UnixConnector(str(tmp_path / "roheletd.sock"))
    async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
        yield session


@pytest.fixture
async def remote(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A client on the TCP port, with no token."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
