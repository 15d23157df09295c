"""The leader's desk: whose commands it takes, and what it says to the others."""

import asyncio

from roheletd.cluster import commands
from roheletd.cluster.commands import (
    AnyCommand,
    Applied,
    Found,
    JoinNode,
    Missing,
    Outcome,
    Proposal,
    Rejected,
    RemoveNode,
    RemoveService,
)
from roheletd.cluster.exchange import Answer, Forward, decode
from roheletd.frames import Frame, Frames
from roheletd.model import Member
from tests.loops.crew import CLUSTER_ID, KEY, TOPICS, Crew, Mate, add, crew_of, member_id
from tests.loops.stage import in_virtual_time

ADDED = Applied(changed={"web": "added"})
YEAR_S = 366 * 86_400


class Stranger:
    """Somebody who holds the key, and hears what is said to `name` in its place."""

    def __init__(self, crew: Crew, leader: Mate, name: str = "stranger") -> None:
        self.me = member_id(name)
        self.answers: list[Answer] = []
        self._leader = leader
        self._frames = Frames(KEY, CLUSTER_ID, 1)
        crew.net.link(name, (TOPICS.raft(name),), self._hear)

    def _hear(self, topic: str, payload: bytes, link: int) -> None:
        found = self._frames.open(topic, payload, link)
        assert isinstance(found, Frame)
        speech = decode(found.body)
        if isinstance(speech, Answer):
            self.answers.append(speech)

    async def asks(
        self, command: AnyCommand, command_id: str = "1", *, boot: int | None = None
    ) -> Outcome | None:
        """What the leader says to it; None: nothing, for as long as one would wait."""
        data = commands.encode(Proposal(id=command_id, command=command))
        before = len(self.answers)
        forward = Forward(boot=self._leader.boot if boot is None else boot, proposal=data)
        self._leader.forwards.receive(self.me, forward)
        await asyncio.sleep(0.1)
        assert len(self.answers) - before <= 1
        return self.answers[-1].outcome if len(self.answers) > before else None


def joining(name: str = "stranger", *, expires_at_s: int = 0, previous: str = "") -> JoinNode:
    member = Member(name=name, id=member_id(name))
    return JoinNode(member=member, expires_at_s=expires_at_s, previous=previous)


@in_virtual_time
async def test_a_forward_to_a_former_start_of_the_leader_is_not_heard() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        member = Stranger(crew, leader, "b" if leader.name != "b" else "c")
        assert await member.asks(add("web"), boot=leader.boot - 1) is None
        assert await member.asks(add("web"), boot=leader.boot + 1) is None
        assert leader.services == set()
        assert await member.asks(add("web")) == ADDED


@in_virtual_time
async def test_who_does_not_lead_says_nothing() -> None:
    async with crew_of("a", "b", "c") as crew:
        follower, _ = await crew.followers()
        asker = Stranger(crew, follower, "a" if follower.name != "a" else "b")
        assert await asker.asks(add("web")) is None
        assert len(tuple(follower.proposer.pending)) == 0


@in_virtual_time
async def test_who_is_no_member_may_ask_for_nothing_but_to_join() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        stranger = Stranger(crew, leader)
        index = leader.core.last_index
        for command in (add("web"), RemoveNode(name="a"), RemoveService(name="web")):
            outcome = await stranger.asks(command)
            assert isinstance(outcome, Rejected)
        assert leader.core.last_index == index
        assert await stranger.asks(joining(), "2") == Applied(changed={"stranger": "joined"})
        assert await stranger.asks(add("web"), "3") == ADDED


@in_virtual_time
async def test_who_was_removed_is_told_so_and_a_namesake_is_not_taken_for_it() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (gone, _) = await crew.leader(), await crew.followers()
        await leader.propose(RemoveNode(name=gone.name), "1")
        old = Stranger(crew, leader, gone.name)
        assert await old.asks(add("web"), "2") == Rejected(
            reason=f"{gone.name} is no member of this cluster (any more)"
        )
        old.me = member_id(gone.name, "11111111")
        assert isinstance(await old.asks(add("web"), "3"), Rejected)


@in_virtual_time
async def test_what_was_done_for_a_member_is_told_also_after_its_removal() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (gone, _) = await crew.leader(), await crew.followers()
        await gone.propose(add("web"), "1")
        await leader.propose(RemoveNode(name=gone.name), "2")
        assert await Stranger(crew, leader, gone.name).asks(add("web"), "1") == ADDED


@in_virtual_time
async def test_a_cluster_is_not_founded_or_recovered_from_elsewhere() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        asker = Stranger(crew, leader, "b" if leader.name != "b" else "c")
        again = Found(cluster_id=CLUSTER_ID, epoch=9, member=Member(name="b", id=member_id("b")))
        outcome = await asker.asks(again)
        assert isinstance(outcome, Rejected)
        assert "founded and recovered on one of its nodes" in outcome.reason
        assert leader.state.epoch == 1


@in_virtual_time
async def test_a_name_that_is_taken_is_refused_unless_its_holder_proves_to_be_the_same() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        new = Member(name="a", id=member_id("a", "11111111"))
        stranger = Stranger(crew, leader, "elsewhere")
        outcome = await stranger.asks(JoinNode(member=new))
        assert isinstance(outcome, Rejected)
        assert "the name a is taken by another machine" in outcome.reason
        proven = JoinNode(member=new, previous=member_id("a"))
        assert await stranger.asks(proven, "2") == Applied(changed={"a": "rejoined"})


@in_virtual_time
async def test_a_token_that_has_expired_by_the_clock_of_the_leader_lets_nobody_in() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        stranger = Stranger(crew, leader)
        until_s = int(crew.clock.wall_s()) + 3600
        crew.wall.ahead_s = 3601
        outcome = await stranger.asks(joining(expires_at_s=until_s))
        assert isinstance(outcome, Rejected)
        assert "the token has expired, by the leader's clock" in outcome.reason
        crew.wall.ahead_s = -YEAR_S
        assert await stranger.asks(joining(expires_at_s=until_s), "2") == Applied(
            changed={"stranger": "joined"}
        )


@in_virtual_time
async def test_who_is_in_stays_in_whatever_the_clock_says() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        stranger = Stranger(crew, leader)
        until_s = int(crew.clock.wall_s()) + 3600
        await stranger.asks(joining(expires_at_s=until_s))
        crew.wall.ahead_s = YEAR_S
        corrected = Member(name="stranger", id=stranger.me, version="2")
        changed = await stranger.asks(JoinNode(member=corrected, expires_at_s=until_s), "2")
        assert changed == Applied(changed={"stranger": "updated"})
        assert await stranger.asks(add("web"), "3") == ADDED


@in_virtual_time
async def test_a_token_without_an_end_is_good_for_ever() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        crew.wall.ahead_s = 100 * YEAR_S
        outcome = await Stranger(crew, leader).asks(joining())
        assert outcome == Applied(changed={"stranger": "joined"})


@in_virtual_time
async def test_a_command_of_a_later_version_is_passed_over_with_a_word_in_the_log() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        leader.forwards.receive(
            member_id("b"), Forward(boot=leader.boot, proposal=b"\x81\xa1x\x01")
        )
        assert await Stranger(crew, leader).asks(RemoveService(name="web")) is not None


@in_virtual_time
async def test_a_repetition_is_answered_from_memory_and_writes_nothing() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        asker = Stranger(crew, leader, "b" if leader.name != "b" else "c")
        assert await asker.asks(add("web")) == ADDED
        index = leader.core.last_index
        assert await asker.asks(add("web")) == ADDED
        assert await asker.asks(RemoveService(name="nobody"), "2") == Missing(
            reason="there is no service nobody"
        )
        assert leader.core.last_index == index
        assert [answer.index for answer in asker.answers] == [index] * 3


async def _asked_before_it_leads(wait_s: float) -> list[Answer]:
    """What a node that is handed the leadership says to who asked it `wait_s` before."""
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        heir, other = await crew.followers()
        asker = Stranger(crew, heir, other.name)
        assert await asker.asks(add("web")) is None
        await asyncio.sleep(wait_s)
        leader.elector.hand_over(member_id(heir.name))
        await asyncio.sleep(0.5)
        assert heir.proposer.leads
        return asker.answers


@in_virtual_time
async def test_what_comes_just_before_a_node_leads_is_answered_once_it_does() -> None:
    answers = await _asked_before_it_leads(0)
    assert [answer.outcome for answer in answers] == [ADDED]


@in_virtual_time
async def test_what_came_long_before_a_node_leads_is_left_to_be_asked_again() -> None:
    assert await _asked_before_it_leads(1) == []
