"""Tells MQTT what is retained about this node and its leadership, whenever that has changed."""

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec
from msgspec.structs import replace

from roheletd.api.collaborators import Log
from roheletd.cluster.events import Event
from roheletd.cluster.state import ClusterState
from roheletd.instance_use import InstanceUse, lasting, without_use
from roheletd.messages import (
    Challenge,
    InstancesNotice,
    LeaderNotice,
    NodeStatus,
    Sealer,
    Topics,
)
from roheletd.repetition import Repetition
from roheletd.telemetry import Telemetry


class Publisher(Protocol):
    """The links as a sender sees them: never waits, False where there is none.

    What is said `once` goes to one broker, all else to each that is linked.
    """

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        once: bool = False,
    ) -> bool: ...


class Announcer:
    """This node's voice. Status, leadership and instances are retained; nothing else is.

    `instances` gives those of this node as they are now, `address` where others reach it.
    """

    name = "announcer"

    def __init__(
        self,
        *,
        node: str,
        version: str,
        topics: Topics,
        sealer: Sealer,
        challenge: Challenge,
        log: Log,
        state: ClusterState,
        address: Callable[[], str] = str,
    ) -> None:
        self._node = node
        self._address = address
        self._version = version
        self._topics = topics
        self._sealer = sealer
        self._challenge = challenge
        self._log = log
        self._state = state
        self._link: Publisher | None = None
        self._said: tuple[NodeStatus, str] | None = None
        self._said_instances: InstancesNotice | None = None
        self.instances: Callable[[], tuple[InstanceUse, ...]] = tuple
        self._repetition = Repetition()
        self._wake = asyncio.Event()

    def linked(self, link: Publisher | None) -> None:
        """There is a broker now (say everything again), or there is none."""
        self._link = link
        self._said = self._said_instances = None
        self._repetition = Repetition()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._link is None:
                continue
            news = (self._status("online"), self._challenge.nonce)
            if news != self._said:
                self._said = news if self._announce(self._link) else None
            self._announce_instances(self._link)

    def say(self, topic: str, payload: bytes) -> None:
        """A reply to one command; lost with the link, as its sender is."""
        if self._link is not None:
            self._link.publish(topic, payload, qos=1)

    def telemetry(self, telemetry: Telemetry) -> None:
        if self._link is not None:
            topic = self._topics.telemetry(self._node)
            # On every link: who is to lead next must hear all, whichever brokers it holds.
            self._link.publish(topic, self._sealer.seal(topic, self._repetition.without(telemetry)))
            if self._said is None or self._said_instances is None:
                self._wake.set()

    def beat(self) -> None:
        """A sign of life, where telemetry is too rare to be one."""
        if self._link is not None:
            topic = self._topics.status(self._node)
            status = replace(self._status("online"), beat=True)
            self._link.publish(topic, self._sealer.seal(topic, status))

    def event(self, event: Event) -> None:
        """Events are for people's eyes: nobody acts on them, so they carry no seal."""
        if self._link is not None:
            self._link.publish(self._topics.event, msgspec.json.encode(event), once=True)

    def will(self) -> tuple[str, bytes]:
        """What the broker says of this node when the link breaks."""
        topic = self._topics.status(self._node)
        return topic, self._sealer.will(topic, self._status("offline"))

    def farewell(self) -> tuple[str, bytes]:
        """The last retained word of a clean stop: nothing is said after it."""
        self._link = None
        topic = self._topics.status(self._node)
        return topic, self._sealer.seal(topic, self._status("offline"))

    def _announce_instances(self, link: Publisher) -> None:
        notice = InstancesNotice(
            node=self._node,
            address=self._address(),
            instances=tuple(without_use(use) for use in self.instances()),
        )
        # How long they have been healthy is said with them, and is no news by itself.
        news = replace(notice, instances=tuple(map(lasting, notice.instances)))
        if news != self._said_instances:
            topic = self._topics.instances(self._node)
            sealed = self._sealer.seal(topic, notice)
            said = link.publish(topic, sealed, qos=1, retain=True)
            self._said_instances = news if said else None

    def _announce(self, link: Publisher) -> bool:
        """False where the link does not take it all, and it has to be said again."""
        topic = self._topics.status(self._node)
        status = self._sealer.seal(topic, self._status("online"))
        taken = link.publish(topic, status, qos=1, retain=True)
        if self._log.leads:
            notice = LeaderNotice(name=self._node, term=self._log.term)
            topic = self._topics.leader
            sealed = self._sealer.seal(topic, notice, nonce=self._challenge.nonce)
            taken &= link.publish(topic, sealed, qos=1, retain=True)
        return taken

    def _status(self, state: Literal["online", "offline"]) -> NodeStatus:
        return NodeStatus(
            node=self._node,
            state=state,
            failure=self._log.failure,
            role="leader" if self._log.leads else "follower",
            version=self._version,
            applied=self._state.applied_index,
        )
