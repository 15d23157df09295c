"""The events of several nodes, read over a network that loses; in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roheletd.cluster.events import KEPT_EVENTS, Event, EventNote, EventQuery, Events
from roheletd.cluster.flow import WINDOW_BYTES
from roheletd.cluster.state import ClusterState
from roheletd.errors import Refused, Unavailable
from roheletd.frames import Framer, Frames
from roheletd.loops.event_reader import AGAIN_S, EventReader
from roheletd.loops.event_streams import SILENT_S, EventStreams
from roheletd.loops.instance_streams import InstanceStreams
from roheletd.loops.streams import OPEN_S, Streams
from roheletd.model import Member
from roheletd.testing import LoopClock
from roheletd.vault import Veil
from tests.loops.crew import CLUSTER_ID, KEY, TOPICS, frame_identity, member_id
from tests.loops.stage import in_virtual_time
from tests.loops.test_streams import Net

NOTHING: Any = None


class Skewed(LoopClock):
    """A wall clock that differs from that of others."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s


class World:
    """`a` asks; `b` and `c` are further members."""

    def __init__(self, *, bytes_per_s_max: int = 1 << 20, **net: Any) -> None:
        self.net = Net(**net)
        self.bytes_per_s_max = bytes_per_s_max
        self.dead: set[str] = set()
        self.state = ClusterState()
        self.clocks: dict[str, Skewed] = {}
        self.events: dict[str, Events] = {}
        self.tasks: list[asyncio.Task[None]] = []
        for name in ("a", "b", "c"):
            self.state.members[name] = Member(name=name, id=member_id(name))
            self.start(name)
        self.reader = EventReader(node="a", streams=self.net.nodes["a"], state=self.state)

    def start(self, name: str, *, boot: int = 1) -> None:
        """A daemon, which knows nothing of what was before."""
        clock = self.clocks.setdefault(name, Skewed())
        self.events[name] = events = Events(node=name, wall_s=clock.wall_s)
        local = InstanceStreams(
            logs=NOTHING,
            events=EventStreams(events=events, clock=clock),
            volumes=NOTHING,
            node=name,
            clock=clock,
            bytes_per_s_max=self.bytes_per_s_max,
        )
        streams = Streams(
            node=name,
            topics=TOPICS,
            framer=Framer(KEY, frame_identity(name, boot=boot)),
            frames=Frames(KEY, CLUSTER_ID, 1),
            veil=Veil(KEY),
            local=local,
            is_member=lambda member: member.partition(".")[0] in self.state.members,
            lost=lambda node: f"node {node} is lost" if node in self.dead else "",
            open_max=8,
            clock=clock,
        )
        streams.linked(self.net)
        self.net.nodes[name] = streams
        self.tasks.append(asyncio.create_task(streams.run()))

    async def happen(self, *nodes: str, subject: str = "web.1") -> None:
        """Something, a second apart."""
        for node in nodes:
            self.events[node].add("running", subject)
            await asyncio.sleep(1)

    @property
    def listeners(self) -> int:
        return sum(len(events.listeners) for events in self.events.values())


@asynccontextmanager
async def world(**more: Any) -> AsyncIterator[World]:
    made = World(**more)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


class Read:
    """What a reader is told; as long as a test looks on, if it is followed."""

    def __init__(self, made: World, **asked: Any) -> None:
        self.told: list[Event] = []
        self.notes: list[EventNote] = []
        self.held: asyncio.Event | None = None
        self.task = asyncio.create_task(made.reader.read(EventQuery(**asked), self.emit))

    async def emit(self, records: Sequence[Event | EventNote]) -> None:
        if self.held is not None:
            await self.held.wait()
        for record in records:
            if isinstance(record, Event):
                self.told.append(record)
            else:
                self.notes.append(record)

    @property
    def seen(self) -> list[tuple[str, int]]:
        return [(event.node, event.seq) for event in self.told]

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def read(made: World, **asked: Any) -> Read:
    found = Read(made, **asked)
    await found.task
    return found


@pytest.mark.parametrize("loss", [0.0, 0.3])
@in_virtual_time
async def test_all_nodes_are_told_of_in_order_of_time(loss: float) -> None:
    async with world(loss=loss) as made:
        await made.happen("b", "a", "c", "b", "a")
        found = await read(made)
        assert found.seen == [("b", 1), ("a", 1), ("c", 1), ("b", 2), ("a", 2)]
        assert (found.notes, made.listeners) == ([], 0)


@in_virtual_time
async def test_time_is_that_of_the_node_that_saw_it() -> None:
    async with world() as made:
        made.clocks["b"].ahead_s = 100.0
        await made.happen("b", "a", "c")
        assert (await read(made)).seen == [("a", 1), ("c", 1), ("b", 1)]
        assert (await read(made, since_s=2.5)).seen == [("a", 1), ("c", 1)]


@in_virtual_time
async def test_only_what_is_about_a_subject_is_told_and_only_that_of_one_node() -> None:
    async with world() as made:
        await made.happen("a", "b", subject="web.1")
        await made.happen("b", subject="db.1")
        await made.happen("a", subject="web")
        assert (await read(made, subject="web")).seen == [("a", 1), ("b", 1), ("a", 2)]
        assert (await read(made, subject="web.1")).seen == [("a", 1), ("b", 1)]
        assert (await read(made, node="b")).seen == [("b", 1), ("b", 2)]
        assert (await read(made, node="b", after=1)).seen == [("b", 2)]
        assert (await read(made, subject="nobody")).seen == []


@in_virtual_time
async def test_a_node_that_does_not_answer_is_named_and_hides_nothing_of_the_others() -> None:
    async with world() as made:
        await made.happen("a", "b", "c")
        del made.net.nodes["b"]
        async with asyncio.timeout(OPEN_S + 1):
            found = await read(made)
        assert found.seen == [("a", 1), ("c", 1)]
        reason = "its events are not all shown: b does not answer within 5 s"
        assert found.notes == [EventNote("b", reason)]


@in_virtual_time
async def test_a_node_that_is_lost_is_not_waited_for() -> None:
    async with world() as made:
        await made.happen("a", "c")
        made.dead.add("b")
        async with asyncio.timeout(1):
            found = await read(made)
        assert found.seen == [("a", 1), ("c", 1)]
        assert "node b is lost" in found.notes[0].note


@in_virtual_time
async def test_a_node_that_stops_in_the_middle_is_named_and_what_it_said_is_told() -> None:
    async with world(bytes_per_s_max=16_384) as made:
        for _ in range(900):
            made.events["b"].add("failed", "web.1", "x" * 100)
        found = Read(made)
        await asyncio.sleep(3)
        made.net.loss = 1.0
        async with asyncio.timeout(SILENT_S + 2):
            await found.task
        assert 0 < len(found.seen) < 900
        assert "b was silent for 10 s" in found.notes[0].note


@in_virtual_time
async def test_asked_for_one_node_alone_the_reason_is_the_answer() -> None:
    async with world() as made:
        del made.net.nodes["b"]
        with pytest.raises(Unavailable, match="b does not answer within 5 s"):
            await read(made, node="b")


@in_virtual_time
async def test_what_happens_next_is_told_once_and_by_whoever_saw_it() -> None:
    async with world() as made:
        await made.happen("b", "a")
        found = Read(made, follow=True)
        await asyncio.sleep(1)
        await made.happen("c", "b", "b", "a")
        assert found.seen == [("b", 1), ("a", 1), ("c", 1), ("b", 2), ("b", 3), ("a", 2)]
        await found.end()
        await asyncio.sleep(1)
        assert made.listeners == 0, "whoever is gone is told nothing any more"


@in_virtual_time
async def test_of_a_subject_only_what_is_about_it_is_followed() -> None:
    async with world() as made:
        await made.happen("b", subject="db.1")
        found = Read(made, follow=True, subject="web")
        await asyncio.sleep(1)
        await made.happen("b", subject="db.1")
        await made.happen("b", subject="web.2")
        assert found.seen == [("b", 3)]
        await found.end()


@pytest.mark.parametrize("restarted", [False, True])
@in_virtual_time
async def test_a_node_that_was_away_goes_on_where_it_was_read_to(restarted: bool) -> None:  # noqa: FBT001
    async with world() as made:
        await made.happen("b", "b", "a")
        found = Read(made, follow=True)
        await asyncio.sleep(1)
        gone = made.net.nodes.pop("b")
        made.dead.add("b")
        await asyncio.sleep(60)
        assert [note.node for note in found.notes] == ["b"], "said once"
        if restarted:
            made.start("b", boot=2)
        else:
            made.net.nodes["b"] = gone
        made.dead.clear()
        await made.happen("b", "a")
        await asyncio.sleep(2 * AGAIN_S)
        again = ("b", 1) if restarted else ("b", 3)
        assert sorted(found.seen[3:]) == [("a", 2), again]
        await found.end()


@in_virtual_time
async def test_a_node_that_joins_is_followed_and_one_that_is_removed_is_not_any_more() -> None:
    async with world() as made:
        del made.state.members["c"]
        found = Read(made, follow=True)
        await asyncio.sleep(1)
        await made.happen("c")
        assert found.seen == []
        made.state.members["c"] = Member(name="c", id=member_id("c"))
        del made.state.members["b"]
        made.reader.wake()
        await asyncio.sleep(1)
        await made.happen("b", "c")
        assert found.seen == [("c", 1), ("c", 2)]
        await found.end()


@in_virtual_time
async def test_followed_alone_a_node_that_is_lost_or_removed_ends_it() -> None:
    async with world() as made:
        lost, removed = (Read(made, follow=True, node=node) for node in "bc")
        await asyncio.sleep(1)
        made.dead.add("b")
        with pytest.raises(Unavailable, match="b is lost"):
            await asyncio.wait_for(lost.task, 2)
        del made.state.members["c"]
        made.reader.wake()
        with pytest.raises(Refused, match="node c was removed"):
            await asyncio.wait_for(removed.task, 1)


@in_virtual_time
async def test_a_reader_that_is_too_slow_costs_a_window_and_is_told_what_it_missed() -> None:
    async with world() as made:
        found = Read(made, follow=True, node="b")
        await asyncio.sleep(1)
        found.held = asyncio.Event()
        carried = len(made.net.carried)
        total = 3 * KEPT_EVENTS
        for _ in range(total):
            made.events["b"].add("failed", "web.1", "x" * 1000)
            await asyncio.sleep(0.01)
        size = sum(len(payload) for _, payload in made.net.carried[carried:])
        assert size < 3 * WINDOW_BYTES
        found.held.set()
        await asyncio.sleep(5)
        numbers = [event.seq for event in found.told]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == total
        missed = sum(int(note.note.partition(" ")[0]) for note in found.notes)
        assert len(numbers) + missed == total
        await found.end()


@in_virtual_time
async def test_at_rest_nothing_is_said_and_nobody_listens() -> None:
    async with world() as made:
        await read(made)
        await asyncio.sleep(1)
        before = len(made.net.carried)
        await made.happen(*"abcabc")
        await asyncio.sleep(600)
        assert (len(made.net.carried), made.listeners) == (before, 0)
