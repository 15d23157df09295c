"""Nodes whose engines are in memory, for verbs that ask the nodes themselves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from roheletd.api.collaborators import Conversation
from roheletd.cluster.events import Events
from roheletd.cluster.state import ClusterState
from roheletd.cluster.streams import VolumesWanted, VolumeUnwanted
from roheletd.cluster.volumes import StoredVolume, stored_volume
from roheletd.engines import Engine
from roheletd.errors import Unavailable
from roheletd.loops.event_streams import EventStreams
from roheletd.loops.instance_logs import InstanceLogs
from roheletd.loops.instance_streams import InstanceStreams
from roheletd.loops.pipe import Pipe
from roheletd.loops.stored_volumes import StoredVolumes
from roheletd.testing import ManualClock, MemoryEngine

CLUSTER = "edge"


class Engines:
    """By node. One that is in `silent` does not answer, for that reason."""

    def __init__(self, state: ClusterState, clock: ManualClock) -> None:
        self._state = state
        self._clock = clock
        self.by_node: dict[str, Engine | None] = {}
        self.silent: dict[str, str] = {}
        self.events: dict[str, Events] = {}

    def memory(self, node: str, *volumes: str) -> MemoryEngine:
        """Give a node an engine that has these volumes."""
        self.by_node[node] = engine = MemoryEngine()
        engine.stored = {name: _volume(name) for name in volumes}
        return engine

    @asynccontextmanager
    async def talk(
        self, node: str, wanted: VolumesWanted | VolumeUnwanted
    ) -> AsyncIterator[Conversation]:
        if node in self.silent:
            raise Unavailable(self.silent[node])
        ours, theirs = Pipe.pair()
        serving = asyncio.create_task(self._local(node).serve(theirs, remote=False))
        await ours.send(wanted)
        yield ours
        serving.cancel()

    def _local(self, node: str) -> InstanceStreams:
        engine, state, clock = self.by_node.get(node), self._state, self._clock
        events = self.events.setdefault(node, Events(node=node, wall_s=clock.wall_s))
        return InstanceStreams(
            logs=InstanceLogs(engine=engine, node=node, state=state, clock=clock),
            events=EventStreams(events=events, clock=clock),
            volumes=StoredVolumes(
                engine=engine, cluster=CLUSTER, node=node, state=state, events=events
            ),
            node=node,
            clock=clock,
            bytes_per_s_max=1 << 20,
        )


def _volume(name: str) -> StoredVolume:
    found = stored_volume(CLUSTER, name)
    assert found is not None, name
    return found
