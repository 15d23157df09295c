"""Several nodes' parts in one log, wired as the daemon wires them, over a network in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from roheletd.api.problems import UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster.applier import Applier
from roheletd.cluster.commands import AddServices, AnyCommand, Found, JoinNode, Outcome, Proposal
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import ClusterState
from roheletd.cluster.state import encode as encode_state
from roheletd.cluster.voters import Limits, outlook
from roheletd.errors import Unavailable
from roheletd.frames import Dropped, Framer, Frames
from roheletd.frames import Identity as FrameIdentity
from roheletd.identity import Identity
from roheletd.loops.elector import Elector
from roheletd.loops.forwards import Forwards
from roheletd.loops.inbox import Inbox
from roheletd.loops.pending import Patience
from roheletd.loops.proposer import Proposer
from roheletd.loops.receiver import Receiver
from roheletd.loops.registrar import Registrar
from roheletd.loops.sender import Sender
from roheletd.loops.voter_keeper import VoterKeeper
from roheletd.messages import Topics
from roheletd.model import Member, node_of
from roheletd.raft import Configuration, Raft, Save, Saved, Snapshot, Timing
from roheletd.store import Store
from roheletd.testing import LoopClock, MemoryNet, MemoryStore
from tests.builders import a_service

KEY = bytes(range(32))
CLUSTER_ID = "0123456789abcdef"
TOPICS = Topics("edge")
LAN = Timing(heartbeat_s=0.5, election_min_s=2.0, election_max_s=4.0)


class WallClock(LoopClock):
    """The loop's time, and a wall clock that somebody may set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s


class Desk(Inbox):
    """Where commands over MQTT would be answered."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def receive(self, topic: str, payload: bytes) -> None:
        self.received.append(payload)


def member_id(name: str, digits: str = "00000000") -> str:
    return f"{name}.{digits}"


def frame_identity(name: str, *, boot: int = 1, epoch: int = 1) -> FrameIdentity:
    return FrameIdentity(cluster_id=CLUSTER_ID, epoch=epoch, member=member_id(name), boot=boot)


def a_cluster_of(*names: str, learners: tuple[str, ...] = ()) -> Saved:
    """What is on the disk of each member of a cluster, all of whose nodes have joined."""
    state = ClusterState()
    founder, *others = (Member(name=name, id=member_id(name)) for name in (*names, *learners))
    seeds: list[AnyCommand] = [Found(cluster_id=CLUSTER_ID, epoch=1, member=founder)]
    seeds += [JoinNode(member=member) for member in others]
    for index, command in enumerate(seeds, start=1):
        state.apply(index, 1, Proposal(id=f"seed-{index}", command=command))
    configuration = Configuration.of(set(map(member_id, names)), set(map(member_id, learners)))
    snapshot = Snapshot(state.applied_index, 1, configuration, encode_state(state.saved()))
    return Saved(term=1, commit=snapshot.index, snapshot=snapshot)


class Mate:
    """One life of one node. `crew` names the net, the clock and the timing it lives with."""

    def __init__(
        self,
        crew: "Crew",
        name: str,
        *,
        store: Store | None,
        saved: Saved,
        boot: int = 1,
        identity: Identity | None = None,
        end: str = "",
    ) -> None:
        self.name = name
        self._end = end or name
        self.boot = boot
        self.store = store
        self.clock = crew.clock
        self.identity = identity or Identity(
            cluster="edge", cluster_id=CLUSTER_ID, member=member_id(name), joined=True, boot=boot
        )
        self.state = ClusterState()
        self.soft = SoftState(
            broker=BrokerLink(mode="managed"), engine=EngineLink(kind="docker", reachable=True)
        )
        limits = thresholds(2 * crew.timing.heartbeat_s)
        self.membership = Membership(me=name, limits=limits, now_s=self.clock.now_s())
        self._net = crew.net
        self._tasks: list[asyncio.Task[None]] = []
        self._make_log(crew, saved)
        self._make_doors(crew)
        self.voter_keeper = VoterKeeper(
            elector=self.elector,
            state=self.state,
            membership=self.membership,
            limits=Limits(healthy_within_s=limits.lost_after_s),
            clock=self.clock,
            leads=lambda: self.proposer.leads,
        )
        self.admissions = 0
        self.member = Member(name=name, id=self.identity.member)
        self.registrar = Registrar(
            identity=self.identity,
            member=lambda: self.member,
            proposer=self.proposer,
            state=self.state,
            soft=self.soft,
            admitted=self._admitted,
        )
        self.elector.on_applied.append(self.registrar.wake)
        self.elector.on_leader.append(self.registrar.wake)

    def _admitted(self) -> None:
        self.admissions += 1

    def _make_log(self, crew: "Crew", saved: Saved) -> None:
        me = self.identity
        self.sender = Sender(
            topics=TOPICS,
            framer=Framer(
                KEY,
                FrameIdentity(
                    cluster_id=me.cluster_id, epoch=me.epoch, member=me.member, boot=self.boot
                ),
            ),
        )
        applier = Applier(self.state)
        self.core = Raft(
            me=me.member,
            saved=saved,
            timing=crew.timing,
            rng=Random(crew.rng.random()),
            now_s=self.clock.now_s(),
        )
        self.elector = Elector(
            core=self.core,
            store=self.store,
            applier=applier,
            clock=self.clock,
            send=self.sender.send,
            silence_s=crew.timing.election_max_s,
        )
        self.proposer = Proposer(
            elector=self.elector,
            applier=applier,
            state=self.state,
            clock=self.clock,
            patience=Patience.of(crew.timing),
            say=self.sender.say,
            boot_of=lambda member: self.receiver.boots.get(member),  # noqa: PLW0108 - made after this
            missing=self.outlook,
        )

    def _make_doors(self, crew: "Crew") -> None:
        self.desk = Desk()
        self.peers_heard: list[int] = []
        self.links_up = 1
        self.dropped: list[Dropped] = []
        self.forwards = Forwards(
            boot=self.boot,
            proposer=self.proposer,
            state=self.state,
            say=self.sender.say,
            clock=crew.clock,
        )
        self.receiver = Receiver(
            node=self.name,
            topics=TOPICS,
            cluster_key=KEY,
            frames_in=Frames(KEY, self.identity.cluster_id, self.identity.epoch),
            elector=self.elector,
            proposer=self.proposer,
            forwards=self.forwards,
            inbox=self.desk,
            membership=self.membership,
            soft=self.soft,
            clock=self.clock,
            on_peer=self.peers_heard.append,
            links_up=lambda: self.links_up,
        )
        self.receiver.on_dropped = self.dropped.append

    def outlook(self) -> str:
        now_s = self.clock.now_s()
        configuration = self.core.configuration
        heard = {it for it in configuration.voters if self._is_alive(it, now_s)}
        return outlook(configuration, heard)

    def _is_alive(self, member: str, now_s: float) -> bool:
        return self.membership.liveness(node_of(member), now_s) == "alive"

    def start(self) -> None:
        patterns = (TOPICS.log, TOPICS.raft(self.name), TOPICS.snapshot(self.name))
        port = self._net.link(self._end, (*patterns, TOPICS.all_status), self.receiver.receive)
        self.sender.linked(port)
        self._tasks = [asyncio.create_task(self.elector.run(), name=f"elector {self.name}")]

    def register(self) -> None:
        self._tasks.append(asyncio.create_task(self.registrar.run(), name=f"registrar {self.name}"))

    async def stop(self) -> None:
        """As if it were killed: nothing is said to anybody."""
        self._net.unlink(self._end)
        self.sender.linked(None)
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.proposer.close()
        faults = [error for error in ended if isinstance(error, Exception)]
        if faults:
            raise ExceptionGroup(f"loops of {self.name} ended", faults)
        self.state.check()

    async def propose(self, command: AnyCommand, command_id: str) -> Outcome:
        return await self.proposer.propose(command, command_id=command_id)

    @property
    def services(self) -> set[str]:
        return set(self.state.services)


class Crew:
    """All nodes, each with a store that outlives it."""

    def __init__(
        self, *names: str, seed: int = 1, timing: Timing = LAN, clock: Clock | None = None
    ) -> None:
        self.rng = Random(seed)
        self.timing = timing
        self.wall = WallClock()
        self.clock = clock or self.wall
        self.net = MemoryNet(Random(seed))
        self.mates: dict[str, Mate] = {}
        self._saved = a_cluster_of(*names) if names else Saved()
        self.names = names

    def __getitem__(self, name: str) -> Mate:
        return self.mates[name]

    @property
    def all(self) -> tuple[Mate, ...]:
        return tuple(self.mates.values())

    def seed_save(self) -> Save:
        """What a disk has to be given for its node to be one of these."""
        saved = self._saved
        return Save(term=saved.term, vote=None, commit=saved.commit, snapshot=saved.snapshot)

    async def start(self) -> None:
        for name in self.names:
            await self.enter(name, MemoryStore(self._saved))

    async def stop(self) -> None:
        for mate in self.all:
            await mate.stop()

    async def enter(self, name: str, store: Store, *, key: str = "", **more: Any) -> Mate:
        """`name` starts with what is in `store`. `key` tells it from a namesake."""
        end = key or name
        mate = Mate(self, name, end=end, store=store, saved=await store.load(), **more)
        self.mates[end] = mate
        mate.start()
        return mate

    async def kill(self, name: str) -> None:
        await self.mates.pop(name).stop()

    async def restart(self, name: str) -> Mate:
        before = self[name]
        await self.kill(name)
        assert before.store is not None
        return await self.enter(name, before.store, boot=before.boot + 1)

    async def until(self, condition: Callable[[], object], *, within_s: float = 60.0) -> None:
        """In steps of a tenth of a heartbeat: who else acts meanwhile is none of ours to know."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - in virtual time
                await asyncio.sleep(self.timing.heartbeat_s / 10)

    async def leader(self, *, other_than: str = "") -> Mate:
        """The node that leads, once there is one."""
        await self.until(lambda: self._leaders(other_than))
        (found,) = self._leaders(other_than)
        return found

    async def followers(self) -> list[Mate]:
        """All others, once they know who leads and can speak to it."""
        await self.until(self._all_know_the_leader)
        return [mate for mate in self.all if not mate.proposer.leads]

    async def level(self) -> None:
        """Once all have applied the same."""
        await self.until(
            lambda: (
                len({mate.state.applied_index for mate in self.all}) == 1
                and len({mate.core.commit for mate in self.all}) == 1
            )
        )

    def _leaders(self, other_than: str) -> list[Mate]:
        mates = self.mates.values()
        return [mate for mate in mates if mate.proposer.leads and mate.name != other_than]

    def _all_know_the_leader(self) -> bool:
        leaders = self._leaders("")
        if len(leaders) != 1:
            return False
        return all(mate is leaders[0] or self._knows(mate, leaders[0]) for mate in self.all)

    def _knows(self, mate: Mate, leader: Mate) -> bool:
        known = mate.receiver.boots.get(leader.identity.member) == leader.boot
        return known and mate.core.leader == leader.identity.member


@asynccontextmanager
async def crew_of(*names: str, **more: Any) -> AsyncIterator[Crew]:
    """A cluster of these voters at work; whatever its loops raise fails the test."""
    crew = Crew(*names, **more)
    await crew.start()
    try:
        yield crew
    finally:
        await crew.stop()


def add(*names: str) -> AddServices:
    return AddServices(services=tuple(a_service(name) for name in names))


async def outcome_of(waiting: Coroutine[Any, Any, Outcome]) -> Outcome | Exception:
    """What a caller is told, be it an answer or that there is none."""
    try:
        return await waiting
    except (Unavailable, UnknownOutcome) as error:
        return error
