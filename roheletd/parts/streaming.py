"""The way to the instances of all nodes, and for others to those of this one.

The doors ask the log reader, which asks the streams for a conversation with the node of an
instance. Here it is the local end that answers, for the doors of this node as for other nodes.
"""

from roheletd.loops.event_reader import EventReader
from roheletd.loops.event_streams import EventStreams
from roheletd.loops.instance_logs import InstanceLogs
from roheletd.loops.instance_streams import InstanceStreams
from roheletd.loops.log_reader import LogReader
from roheletd.loops.stored_volumes import StoredVolumes
from roheletd.loops.streams import Streams
from roheletd.parts.basis import Basis
from roheletd.vault import Veil


class Streaming:
    """Both ends of a conversation. `linking` gives it a link, and what comes over that."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        self.instance_logs = InstanceLogs(
            engine=basis.found.engine.engine,
            node=basis.me.node,
            state=basis.state,
            clock=basis.clock,
        )
        self.streams = self._make_streams()
        self.log_reader = LogReader(streams=self.streams, state=basis.state)
        self.event_reader = EventReader(node=basis.me.node, streams=self.streams, state=basis.state)

    def _make_streams(self) -> Streams:
        basis, config = self._basis, self._basis.config.streams
        return Streams(
            node=basis.me.node,
            topics=basis.topics,
            # Of their own: what is said here by the hundred must not push those of the log aside.
            framer=basis.framer(),
            frames=basis.frames(),
            veil=Veil(basis.found.keys.cluster),
            local=InstanceStreams(
                logs=self.instance_logs,
                events=EventStreams(events=basis.events, clock=basis.clock),
                volumes=self._make_volumes(),
                node=basis.me.node,
                clock=basis.clock,
                bytes_per_s_max=config.bytes_per_s_max,
            ),
            is_member=lambda member: basis.state.member_by_id(member) is not None,
            lost=self._why_lost,
            open_max=config.open_max,
            clock=basis.clock,
        )

    def _make_volumes(self) -> StoredVolumes:
        basis = self._basis
        return StoredVolumes(
            engine=basis.found.engine.engine,
            cluster=basis.me.cluster,
            node=basis.me.node,
            state=basis.state,
            events=basis.events,
        )

    def _why_lost(self, node: str) -> str:
        lost = self._basis.membership.liveness(node, self._basis.clock.now_s()) == "lost"
        return f"node {node} is lost" if lost else ""
