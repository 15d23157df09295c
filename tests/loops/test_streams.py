"""Conversations between nodes whose network loses, doubles and plays back; in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest

from roheletd.api.collaborators import Conversation
from roheletd.cluster import flow
from roheletd.cluster.streams import (
    End,
    ExecWanted,
    Exit,
    Input,
    Lines,
    LogLine,
    LogsWanted,
    Output,
    Piece,
)
from roheletd.errors import Unavailable
from roheletd.frames import Framer, Frames
from roheletd.loops.instance_streams import InstanceStreams
from roheletd.loops.streams import OPEN_S, Streams
from roheletd.testing import LoopClock
from roheletd.vault import Veil
from tests.loops.crew import CLUSTER_ID, KEY, TOPICS, frame_identity, member_id
from tests.loops.stage import in_virtual_time

Told = Callable[[Conversation], Any]


class Local(InstanceStreams):
    """What a test lets this node do with what is wanted of it."""

    def __init__(self) -> None:
        self.wanted: list[Piece] = []
        self.tell: Told = echo

    async def serve(self, talk: Conversation, *, remote: bool) -> None:
        assert remote
        self.wanted.append(await talk.receive())
        await self.tell(talk)


async def echo(talk: Conversation) -> None:
    while isinstance(piece := await talk.receive(), Input) and piece.data:
        await talk.send(Output(piece.data))
    await talk.send(Exit(5))
    await talk.send(End())


class Net:
    """Two links, one slower, that lose what the dice say; and a copy of all that was said."""

    def __init__(self, *, seed: int = 1, loss: float = 0.0) -> None:
        self.rng = Random(seed)
        self.loss = loss
        self.nodes: dict[str, Streams] = {}
        self.carried: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, **_more: object) -> bool:
        self.carried.append((topic, payload))
        for link, delay_s in enumerate((0.002, 0.02)):
            if self.rng.random() >= self.loss:
                loop = asyncio.get_running_loop()
                loop.call_later(delay_s, self.deliver, topic, payload, link)
        return True

    def deliver(self, topic: str, payload: bytes, link: int = 0) -> None:
        node = topic.rpartition("/")[2]
        if node in self.nodes:
            self.nodes[node].receive(topic, payload, link)


class World:
    """`a` asks `b`."""

    def __init__(self, net: Net, *, open_max: int = 4) -> None:
        self.net = net
        self.dead: set[str] = set()
        self.local = Local()
        self.open_max = open_max
        self.a = self.started("a", boot=1)
        self.b = self.started("b", boot=1)

    def started(self, name: str, *, boot: int) -> Streams:
        made = Streams(
            node=name,
            topics=TOPICS,
            framer=Framer(KEY, frame_identity(name, boot=boot)),
            frames=Frames(KEY, CLUSTER_ID, 1),
            veil=Veil(KEY),
            local=self.local,
            is_member=lambda member: member in {member_id("a"), member_id("b")},
            lost=lambda node: f"node {node} is lost" if node in self.dead else "",
            open_max=self.open_max,
            clock=LoopClock(),
        )
        made.linked(self.net)
        self.net.nodes[name] = made
        return made


@asynccontextmanager
async def world(**more: Any) -> AsyncIterator[World]:
    open_max = more.pop("open_max", 4)
    made = World(Net(**more), open_max=open_max)
    tasks = [asyncio.create_task(node.run()) for node in (made.a, made.b)]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


CAT = ExecWanted(instance="web.1", command=("cat",), stdin=True)


async def typed(talk: Conversation, texts: Iterable[bytes]) -> bytes:
    async def feed() -> None:
        for text in texts:
            await talk.send(Input(text))
        await talk.send(Input())

    feeding = asyncio.create_task(feed())
    said = b""
    while True:
        match await talk.receive():
            case Output(data=data):
                said += data
            case Exit(code=code):
                assert code == 5
            case End():
                await feeding
                return said


@pytest.mark.parametrize("loss", [0.0, 0.3])
@pytest.mark.parametrize("seed", [1, 2, 3])
@in_virtual_time
async def test_what_is_typed_arrives_once_and_in_order(seed: int, loss: float) -> None:
    texts = [f"{number} ".encode() * 50 for number in range(200)]
    async with world(seed=seed, loss=loss) as made, made.a.talk("b", CAT) as talk:
        assert await typed(talk, texts) == b"".join(texts)
        assert made.local.wanted == [CAT]


@in_virtual_time
async def test_nothing_that_was_said_can_be_read_by_others() -> None:
    async with world() as made, made.a.talk("b", CAT) as talk:
        await typed(talk, [b"a very secret word"])
        assert made.net.carried
        assert not any(b"secret" in payload or b"cat" in payload for _, payload in made.net.carried)


@in_virtual_time
async def test_a_conversation_that_is_played_back_starts_nothing() -> None:
    """To the same daemon, and to the one that was started after it and knows nothing."""
    async with world() as made:
        async with made.a.talk("b", CAT) as talk:
            await typed(talk, [b"rm -rf"])
        before = list(made.net.carried)
        for fresh in (False, True):
            if fresh:
                made.b = made.started("b", boot=2)
                running = asyncio.create_task(made.b.run())
                await asyncio.sleep(0.1)
            for topic, payload in before:
                made.net.deliver(topic, payload)
            await asyncio.sleep(5)
        assert made.local.wanted == [CAT]
        running.cancel()


@in_virtual_time
async def test_who_does_not_read_stops_the_writer_at_a_window() -> None:
    sent = 0

    async def flood(talk: Conversation) -> None:
        nonlocal sent
        while True:
            await talk.send(Lines((LogLine("x" * 1000),)))
            sent += 1

    async with world() as made:
        made.local.tell = flood
        wanted = LogsWanted(instance="web.1", follow=True)
        async with made.a.talk("b", wanted) as talk:
            await asyncio.sleep(3600)
            assert 0 < sent * 1000 < flow.WINDOW_BYTES
            before = sent
            for _ in range(before):
                await talk.receive()
            await asyncio.sleep(1)
            assert sent > before


@in_virtual_time
async def test_a_reader_that_goes_away_ends_the_writer() -> None:
    ended = asyncio.Event()

    async def wait(talk: Conversation) -> None:
        try:
            await talk.receive()
        finally:
            ended.set()

    async with world() as made:
        made.local.tell = wait
        async with made.a.talk("b", CAT):
            await asyncio.sleep(1)
            assert not ended.is_set()
        await asyncio.wait_for(ended.wait(), 1)


@pytest.mark.parametrize("heard", [True, False])
@in_virtual_time
async def test_a_node_that_is_gone_ends_it_with_the_reason(heard: bool) -> None:  # noqa: FBT001
    """As membership says, or by silence where that hears nothing either."""
    async with world() as made, made.a.talk("b", CAT) as talk:
        await asyncio.sleep(1)
        made.net.loss = 1.0
        if heard:
            made.dead.add("b")
        with pytest.raises(Unavailable, match="b is lost" if heard else "no word from b for 30 s"):
            await asyncio.wait_for(talk.receive(), 32)


@in_virtual_time
async def test_a_daemon_that_was_restarted_ends_what_it_does_not_know() -> None:
    async with world() as made, made.a.talk("b", CAT) as talk:
        await asyncio.sleep(1)
        made.b = made.started("b", boot=2)
        with pytest.raises(Unavailable, match="the daemon was restarted"):
            await asyncio.wait_for(talk.receive(), 10)


@in_virtual_time
async def test_a_node_that_does_not_answer_is_given_up_soon() -> None:
    async with world() as made:
        del made.net.nodes["b"]
        with pytest.raises(Unavailable, match="b does not answer within 5 s"):
            async with asyncio.timeout(OPEN_S + 1), made.a.talk("b", CAT):
                pass


@in_virtual_time
async def test_more_streams_than_a_node_takes_are_refused_with_the_key_to_change() -> None:
    async with world(open_max=1) as made, made.a.talk("b", CAT):
        await asyncio.sleep(1)
        with pytest.raises(Unavailable, match=r"1 streams .*streams\.open_max"):
            async with made.a.talk("b", CAT) as second:
                await second.receive()


@in_virtual_time
async def test_whoever_is_no_member_is_not_heard() -> None:
    async with world() as made:
        stranger = Framer(KEY, frame_identity("c"))
        topic = TOPICS.stream("b")
        before = len(made.net.carried)
        made.net.deliver(topic, stranger.seal(topic, flow.encode(flow.Open(b"12345678"))))
        made.net.deliver(topic, b"nonsense")
        await asyncio.sleep(1)
        assert len(made.net.carried) == before


@in_virtual_time
async def test_an_idle_conversation_costs_a_word_each_five_seconds() -> None:
    async with world() as made, made.a.talk("b", CAT):
        await asyncio.sleep(10)
        before = len(made.net.carried)
        await asyncio.sleep(100)
        assert 30 <= len(made.net.carried) - before <= 45


@in_virtual_time
async def test_of_a_conversation_that_ends_as_soon_as_it_begins_nothing_is_left() -> None:
    async with world() as made:
        for _ in range(3):
            async with made.a.talk("b", CAT):
                pass
            await asyncio.sleep(1.0)
        assert not made.b._sessions
