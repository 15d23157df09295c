"""The leader's care for who votes, over hours, with nodes that come, fall silent and return."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from roheletd.cluster.commands import JoinNode, RemoveNode
from tests.loops.crew import Crew, Mate, crew_of, member_id
from tests.loops.stage import in_virtual_time
from tests.loops.test_registrar import founder, newcomer


async def beat(crew: Crew) -> None:
    """What each second brings: signs of life of all who are up, and the keeper's turn."""
    while True:
        await asyncio.sleep(1)
        now_s = crew.clock.now_s()
        for mate in crew.all:
            mate.membership.look(now_s)
            for other in crew.all:
                mate.membership.heard(other.name, now_s)
            mate.voter_keeper.tick()


@asynccontextmanager
async def beating(crew: Crew) -> AsyncIterator[None]:
    task = asyncio.create_task(beat(crew))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def voters(crew: Crew) -> set[str]:
    """By name, as the leader has them."""
    (leader,) = (mate for mate in crew.all if mate.proposer.leads)
    return {it.partition(".")[0] for it in leader.core.configuration.voters}


def learners(crew: Crew) -> set[str]:
    (leader,) = (mate for mate in crew.all if mate.proposer.leads)
    return {it.partition(".")[0] for it in leader.core.configuration.learners}


@in_virtual_time
async def test_one_becomes_three_once_the_others_were_healthy_for_half_a_minute() -> None:
    crew = Crew()
    await founder(crew, "a")
    async with beating(crew):
        await asyncio.sleep(5)
        for name in "bc":
            await newcomer(crew, name)
        await asyncio.sleep(20)
        assert voters(crew) == {"a"}
        assert learners(crew) == {"b", "c"}
        await asyncio.sleep(20)
        assert voters(crew) == {"a", "b", "c"}
        leader = await crew.leader()
        await crew.kill(leader.name)
        await crew.leader()
    await crew.stop()


@in_virtual_time
async def test_of_six_five_vote_and_one_is_kept_ready() -> None:
    crew = Crew()
    await founder(crew, "a")
    async with beating(crew):
        for name in "bcdef":
            await newcomer(crew, name)
        await asyncio.sleep(120)
        assert voters(crew) == set("abcde")
        assert learners(crew) == {"f"}
    await crew.stop()


@in_virtual_time
async def test_a_voter_that_is_silent_for_two_minutes_gives_its_place_to_a_spare() -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        await newcomer(crew, "d")
        await asyncio.sleep(60)
        assert (voters(crew), learners(crew)) == ({"a", "b", "c"}, {"d"})
        gone = (await crew.followers())[0]
        gone = gone if gone.name != "d" else (await crew.followers())[1]
        await crew.kill(gone.name)
        await asyncio.sleep(100)
        assert gone.name in voters(crew)
        await asyncio.sleep(60)
        assert voters(crew) == {"a", "b", "c", "d"} - {gone.name}


@in_virtual_time
async def test_without_a_spare_a_silent_voter_keeps_its_place() -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        gone = (await crew.followers())[0]
        await crew.kill(gone.name)
        await asyncio.sleep(3600)
        assert voters(crew) == {"a", "b", "c"}


@in_virtual_time
async def test_who_is_not_to_vote_follows_and_never_votes() -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        leader = await crew.leader()
        mate = await newcomer(crew, "d")
        mate.member = replace(mate.member, voter="never")
        await asyncio.sleep(10)
        gone = next(it for it in await crew.followers() if it is not mate)
        await crew.kill(gone.name)
        await asyncio.sleep(600)
        assert "d" not in voters(crew) | learners(crew)
        assert mate.state.applied_index == leader.state.applied_index, "it follows all the same"


@in_virtual_time
async def test_a_leader_that_is_not_to_vote_any_more_hands_over_and_goes() -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        leader, _ = await crew.leader(), await crew.followers()
        await newcomer(crew, "d")
        await asyncio.sleep(60)
        await leader.propose(JoinNode(member=replace(leader.member, voter="never")), "1")
        await asyncio.sleep(120)
        assert voters(crew) == {"a", "b", "c", "d"} - {leader.name}
        assert not leader.proposer.leads


@in_virtual_time
async def test_who_was_removed_votes_no_more() -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        leader, (gone, _) = await crew.leader(), await crew.followers()
        await leader.propose(RemoveNode(name=gone.name), "1")
        await asyncio.sleep(5)
        assert voters(crew) == {"a", "b", "c"} - {gone.name}
        assert not gone.proposer.leads


@in_virtual_time
async def test_one_with_a_new_disk_is_not_taken_for_its_former_self() -> None:
    async with crew_of("a", "b", "c") as crew, beating(crew):
        leader, (lost, _) = await crew.leader(), await crew.followers()
        await crew.kill(lost.name)
        await newcomer(crew, lost.name, "11111111", previous=member_id(lost.name))
        await asyncio.sleep(60)
        ids = leader.core.configuration.voters
        assert member_id(lost.name) not in ids
        assert member_id(lost.name, "11111111") in ids


@in_virtual_time
async def test_only_the_leader_proposes_and_one_step_at_a_time() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, followers = await crew.leader(), await crew.followers()
        changes: list[Mate] = []
        for mate in crew.all:
            mate.elector.change = lambda _step, mate=mate: changes.append(mate)  # type: ignore[method-assign,misc]
        gone = followers[0]
        await leader.propose(RemoveNode(name=gone.name), "1")
        await crew.level()
        for mate in crew.all:
            mate.membership.heard("a", crew.clock.now_s())
            mate.voter_keeper.tick()
        assert changes == [leader]
