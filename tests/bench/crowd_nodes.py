"""Speaks for many nodes from one process, as real ones would; started by `tests.bench.crowd`.

Reads one line of JSON: the token they join with, how many they are, and the telemetry and the
registration of a real node that theirs are made from. Says `ready` once all are registered, and
goes on until it is killed.
"""

import asyncio
import secrets
import sys
from random import Random
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from roheletd import token as tokens
from roheletd.broker.links import Links
from roheletd.broker.session import Access
from roheletd.cluster.commands import AddNodes, AnyCommand, Applied, JoinNode, Proposal
from roheletd.cluster.commands import encode as encode_proposal
from roheletd.cluster.exchange import Answer, Forward, decode, encode
from roheletd.frames import Frame, Framer, Frames, Identity
from roheletd.keys import BROKER_USER
from roheletd.messages import NodeStatus, Sealer, Topics, broker_password
from roheletd.model import Capacity, Member, Node, node_of
from roheletd.telemetry import CpuUse, Telemetry
from roheletd.token import Token

CORES = 4
INTERVAL_S = 1.0
AT_ONCE = 25
_ANSWER_S = 5.0
_CONNECT_S = 30.0
_TICKS_PER_S = 100


class Told(Struct, frozen=True):
    """The line that this process is given."""

    token: str
    nodes: int
    telemetry: Telemetry
    node: Node


class SimulatedNode:
    """One member without a machine: its link, its place in the log, and its reports."""

    def __init__(self, name: str, token: Token, *, telemetry: Telemetry, node: Node) -> None:
        self.name = name
        self._rng = Random(name)
        self._telemetry = replace(telemetry, node=name)
        self._node = replace(
            node,
            name=name,
            capacity=Capacity(cores=dict.fromkeys(range(CORES), 1000), memory_mib=4096),
        )
        self._topics = Topics(token.cluster)
        self._member = Member(name=name, id=f"{name}.{secrets.token_hex(4)}", voter="never")
        identity = Identity(
            cluster_id=token.cluster_id, epoch=token.epoch, member=self._member.id, boot=1
        )
        self._framer = Framer(token.key, identity)
        self._frames = Frames(token.key, token.cluster_id, token.epoch)
        self._sealer = Sealer(token.key, name, secrets.token_hex(8))
        self._leader = asyncio.Event()
        self._leader_boot: tuple[str, int] = ("", 0)
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        self._linked = asyncio.Event()
        self.links = Links(
            self._access(token),
            will=lambda: None,
            on_message=self._receive,
            on_link=lambda _connected, _reason: self._linked.set(),
            rng=self._rng,
        )
        self.links.want(token.brokers, 1)

    def _access(self, token: Token) -> Access:
        topics = self._topics
        return Access(
            client_id=f"crowd-{self.name}",
            username=BROKER_USER,
            password=broker_password(token.key),
            subscriptions=(
                topics.leader,
                topics.log,
                topics.raft(self.name),
                topics.snapshot(self.name),
            ),
            keepalive_s=60,
        )

    async def take_part(self) -> None:
        """Link, join, register; as a daemon does."""
        async with asyncio.timeout(_CONNECT_S):
            await self._linked.wait()
            await self._leader.wait()
        topic = self._topics.status(self.name)
        status = NodeStatus(node=self.name, state="online", role="follower")
        self.links.publish(topic, self._sealer.seal(topic, status), qos=1, retain=True)
        await self._command(JoinNode(member=self._member))
        await self._command(AddNodes(nodes=(self._node,)))

    def report(self) -> None:
        """As much as a real report says, and never twice the same."""
        used = {core: self._rng.randrange(1000) for core in range(CORES)}
        topic = self._topics.telemetry(self.name)
        telemetry = replace(self._telemetry, cpu=CpuUse(used_millicores=used))
        self.links.publish(topic, self._sealer.seal(topic, telemetry))

    async def _command(self, command: AnyCommand) -> None:
        proposal = Proposal(id=uuid4().hex, command=command)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[proposal.id] = answered
        while not answered.done():
            leader, boot = self._leader_boot
            topic = self._topics.raft(node_of(leader))
            forward = Forward(boot=boot, proposal=encode_proposal(proposal))
            self.links.publish(topic, self._framer.seal(topic, encode(forward)))
            await asyncio.wait({answered}, timeout=_ANSWER_S)
        del self._answers[proposal.id]
        assert isinstance(answered.result().outcome, Applied), answered.result()

    def _receive(self, topic: str, payload: bytes, link: int) -> None:
        """Nothing is ever missing here, so what the log says needs no answer."""
        self.links.heard(link)
        if self._leader.is_set() and not self._answers:
            return
        if topic == self._topics.leader:
            return
        found = self._frames.open(topic, payload)
        if not isinstance(found, Frame):
            return
        self._leader_boot = (found.sender, found.boot)
        self._leader.set()
        speech = decode(found.body)
        if isinstance(speech, Answer) and speech.id in self._answers:
            self._answers[speech.id].set_result(speech)


def _made(told: Told) -> list[SimulatedNode]:
    token = tokens.decode(told.token)
    names = (f"crowd-{number:04}" for number in range(1, told.nodes + 1))
    return [SimulatedNode(name, token, telemetry=told.telemetry, node=told.node) for name in names]


async def _report(nodes: list[SimulatedNode]) -> None:
    """Each node once an interval, spread evenly over it; their links are kept on the way."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        for tick in range(_TICKS_PER_S):
            for node in nodes[tick::_TICKS_PER_S]:
                node.links.tick()
                node.report()
            due_s += INTERVAL_S / _TICKS_PER_S
            await asyncio.sleep(max(0.0, due_s - loop.time()))


async def _speak(told: Told) -> None:
    nodes = _made(told)
    async with asyncio.TaskGroup() as tasks:
        linked: list[SimulatedNode] = []
        reporting = tasks.create_task(_report(linked))
        for first in range(0, len(nodes), AT_ONCE):
            batch = nodes[first : first + AT_ONCE]
            for node in batch:
                tasks.create_task(node.links.run(), name=node.name)
            await asyncio.gather(*(node.take_part() for node in batch))
            linked += batch
        print("ready", flush=True)
        await reporting


if __name__ == "__main__":
    asyncio.run(_speak(msgspec.json.decode(sys.stdin.readline(), type=Told)))
