"""Where a message from a broker goes: to the log, to membership, to the desk of commands.

Nothing here waits. What is not authentic, or not new, is counted and goes nowhere.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from roheletd import frames
from roheletd.clock import Clock
from roheletd.cluster.exchange import Answer, Forward
from roheletd.cluster.exchange import decode as decode_speech
from roheletd.cluster.membership import Membership
from roheletd.cluster.soft import SoftState
from roheletd.errors import InvalidInput
from roheletd.loops.elector import Elector
from roheletd.loops.forwards import Forwards
from roheletd.loops.inbox import Inbox
from roheletd.loops.openers import Copy, Openers
from roheletd.loops.proposer import Proposer
from roheletd.messages import (
    Dropped,
    InstancesNotice,
    LeaderNotice,
    NodeStatus,
    Opened,
    Topics,
)
from roheletd.model import node_of
from roheletd.telemetry import Telemetry


class Receiver:
    """Routes by topic. `link` is the number of the link that a message came over."""

    def __init__(
        self,
        *,
        node: str,
        topics: Topics,
        cluster_key: bytes,
        frames_in: frames.Frames,
        elector: Elector,
        proposer: Proposer,
        forwards: Forwards,
        inbox: Inbox,
        membership: Membership,
        soft: SoftState,
        clock: Clock,
        on_peer: Callable[[int], None],
        links_up: Callable[[], int],
    ) -> None:
        self._node = node
        self._topics = topics
        self._frames = frames_in
        self._openers = Openers(cluster_key)
        self._elector = elector
        self._proposer = proposer
        self._forwards = forwards
        elector.on_leader.append(forwards.catch_up)
        self._inbox = inbox
        self._membership = membership
        self._soft = soft
        self._clock = clock
        self._on_peer = on_peer
        self._links_up = links_up
        self.boots: dict[str, int] = {}
        """Member id to its start that was heard last."""
        self.on_dropped: Callable[[frames.Dropped], None] = lambda _found: None
        self.on_instances: Callable[[str], None] = lambda _node: None
        self._stream = topics.stream(node)
        self.on_stream: Callable[[str, bytes, int], None] = lambda *_: None
        self._framed = {topics.log, topics.raft(node), topics.snapshot(node)}

    def receive(self, topic: str, payload: bytes, link: int) -> None:
        if topic in self._framed:
            self._on_frame(topic, payload, link)
        elif topic == self._stream:
            self.on_stream(topic, payload, link)
        elif topic == self._topics.command:
            if self._proposer.leads:  # others have no say, and another nonce
                self._inbox.receive(topic, payload)
        elif (found := self._news(topic, payload, link)) is None:
            return
        elif topic == self._topics.leader:
            self._on_leader(found)
        elif found.stamp.sender != self._node:
            self._on_node(topic, found, link)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Reason to count of what was not acted on."""
        counts = Counter[str](self._frames.dropped)
        counts.update(self._openers.dropped)
        return {reason: count for reason, count in counts.items() if count}

    def _on_frame(self, topic: str, payload: bytes, link: int) -> None:
        found = self._frames.open(topic, payload, link)
        if isinstance(found, frames.Dropped):
            self.on_dropped(found)
            return
        core = self._elector.core
        if found.sender == core.me:  # a namesake that asks to join has another id
            return
        if core.role == "leader" or found.sender == core.leader:
            # A link is of use where the leader is heard. Two nodes that hear but each other would
            # else be content, each side of a partition on brokers of its own, long after it.
            self._on_peer(link)
        if isinstance(found, frames.Duplicate):
            return
        self.boots[found.sender] = found.boot
        self._heard(node_of(found.sender))
        try:
            speech = decode_speech(found.body)
        except msgspec.MsgspecError:
            self._soft.count_dropped("not understood")
            return
        match speech:
            case Forward():
                self._forwards.receive(found.sender, speech)
            case Answer():
                self._proposer.on_answer(speech)
            case _ if speech.sender == found.sender:
                self._elector.receive(speech)
            case _:
                self._soft.count_dropped("said for somebody else")

    def _news(self, topic: str, payload: bytes, link: int) -> Opened | None:
        found = self._openers.open(topic, payload, link)
        return None if isinstance(found, Dropped | Copy) else found

    def _on_node(self, topic: str, found: Opened, link: int) -> None:
        sender = found.stamp.sender
        try:
            if topic == self._topics.telemetry(sender):
                self._heard(sender)
                self._soft.heard_telemetry(replace(found.read(Telemetry), node=sender))
                self.on_instances(sender)
            elif topic == self._topics.instances(sender):
                self._on_instances(sender, found.read(InstancesNotice))
            elif topic == self._topics.status(sender):
                self._on_status(sender, found.read(NodeStatus), link, will=found.stamp.will)
        except InvalidInput:
            self._soft.count_dropped("not understood")

    def _on_instances(self, node: str, notice: InstancesNotice) -> None:
        self._soft.heard_address(node, notice.address)
        self._soft.heard_instances(node, notice.instances)
        self.on_instances(node)

    def _on_status(self, node: str, status: NodeStatus, link: int, *, will: bool) -> None:
        if status.state == "online":
            self._membership.fit(node, is_fit=not status.failure)
            if status.beat:  # what a broker kept may be of a node that has long been dead
                self._heard(node)
            return
        links = self._links_up() if will else 1  # a farewell is the node's own word
        leader = self._elector.core.leader
        gone = self._membership.doubted(node, link=link, links=links)
        if gone and leader is not None and node_of(leader) == node:
            self._elector.hint(leader)

    def _on_leader(self, found: Opened) -> None:
        try:
            notice = found.read(LeaderNotice)
        except InvalidInput:
            self._soft.count_dropped("not understood")
        else:
            self._soft.leader_said(notice.term, found.stamp.nonce)

    def _heard(self, node: str) -> None:
        self._membership.heard(node, self._clock.now_s())
