"""How a node becomes a member, and what it does about it when it is none."""

import asyncio
from typing import Any

from msgspec.structs import replace

from roheletd.cluster.commands import Applied, RemoveNode
from roheletd.identity import Identity
from roheletd.loops.registrar import NOTICE, RETRY_S
from roheletd.raft import founding
from roheletd.testing import MemoryStore
from tests.loops.crew import CLUSTER_ID, Crew, Mate, add, crew_of, member_id
from tests.loops.stage import in_virtual_time

YEAR_S = 366 * 86_400


def an_identity(name: str, digits: str = "00000000", **more: Any) -> Identity:
    member = member_id(name, digits)
    return Identity(cluster="edge", cluster_id=CLUSTER_ID, member=member, **{"boot": 1, **more})


async def newcomer(crew: Crew, name: str, digits: str = "00000000", **more: Any) -> Mate:
    """A node with an empty disk and a token, which asks to be let in."""
    identity = an_identity(name, digits, **more)
    mate = await crew.enter(name, MemoryStore(), identity=identity, key=f"{name} {digits}")
    mate.register()
    return mate


async def founder(crew: Crew, name: str) -> Mate:
    store = MemoryStore()
    await store.save(founding(member_id(name)))
    mate = await crew.enter(name, store, identity=an_identity(name, founded=True))
    mate.register()
    return mate


@in_virtual_time
async def test_the_first_node_founds_the_cluster_and_is_its_member() -> None:
    crew = Crew()
    mate = await founder(crew, "a")
    await crew.until(lambda: mate.admissions)
    assert (mate.state.cluster_id, mate.state.epoch) == (CLUSTER_ID, 1)
    assert list(mate.state.members) == ["a"]
    index = mate.core.last_index
    await asyncio.sleep(3600)
    assert (mate.admissions, mate.core.last_index) == (1, index), "once and for all"
    await crew.stop()


@in_virtual_time
async def test_one_with_a_token_is_let_in_and_has_all_that_the_others_have() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        await leader.propose(add("web"), "1")
        mate = await newcomer(crew, "d")
        await crew.until(lambda: mate.admissions)
        assert mate.state.member_by_id(member_id("d")) is not None
        assert mate.services == {"web"}
        assert NOTICE not in mate.soft.notices
        assert await mate.propose(add("api"), "2") == Applied(changed={"api": "added"})


@in_virtual_time
async def test_it_waits_for_a_leader_however_long_that_takes() -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        for name in "ab":
            await crew.kill(name)
        mate = await newcomer(crew, "d")
        await asyncio.sleep(3600)
        assert mate.admissions == 0
        store = crew["c"].store
        assert isinstance(store, MemoryStore)
        await crew.enter("a", MemoryStore(store.saved), boot=2)
        await crew.until(lambda: mate.admissions)


@in_virtual_time
async def test_a_name_that_is_taken_is_told_and_tried_again_until_it_is_free() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (holder, _) = await crew.leader(), await crew.followers()
        mate = await newcomer(crew, holder.name, "11111111")
        await crew.until(lambda: NOTICE in mate.soft.notices)
        assert mate.soft.notices[NOTICE].startswith(
            f"the cluster does not take this node in: the name {holder.name} is taken"
        )
        spoken = crew.net.carried.total()
        await asyncio.sleep(100)
        assert mate.admissions == 0
        assert crew.net.carried.total() - spoken < 100 * 12, "no storm"
        await leader.propose(RemoveNode(name=holder.name), "1")
        await crew.until(lambda: mate.admissions, within_s=2 * RETRY_S)
        assert NOTICE not in mate.soft.notices


@in_virtual_time
async def test_a_name_that_becomes_free_just_after_it_was_refused_is_had_soon() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (holder, _) = await crew.leader(), await crew.followers()
        mate = await newcomer(crew, holder.name, "11111111")
        await crew.until(lambda: NOTICE in mate.soft.notices)
        await leader.propose(RemoveNode(name=holder.name), "1")
        await crew.until(lambda: mate.admissions, within_s=RETRY_S / 2)


@in_virtual_time
async def test_a_newcomer_with_the_name_of_the_leader_is_told_as_well() -> None:
    """Two boards that were never given a name are called the same."""
    async with crew_of("a", "b", "c") as crew:
        leader, _ = await crew.leader(), await crew.followers()
        mate = await newcomer(crew, leader.name, "11111111")
        await crew.until(lambda: NOTICE in mate.soft.notices)
        assert f"the name {leader.name} is taken" in mate.soft.notices[NOTICE]
        assert leader.proposer.leads, "it was not disturbed"


@in_virtual_time
async def test_one_that_lost_its_disk_proves_who_it_was_and_is_taken_for_somebody_new() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (lost, _) = await crew.leader(), await crew.followers()
        await crew.kill(lost.name)
        previous = member_id(lost.name)
        mate = await newcomer(crew, lost.name, "11111111", previous=previous)
        await crew.until(lambda: mate.admissions)
        assert leader.state.members[lost.name].id == member_id(lost.name, "11111111")
        assert leader.state.member_by_id(previous) is None


@in_virtual_time
async def test_an_expired_token_is_told_and_a_good_clock_of_its_own_does_not_help() -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        until_s = int(crew.clock.wall_s()) + 60
        crew.wall.ahead_s = 61
        mate = await newcomer(crew, "d", expires_at_s=until_s)
        await crew.until(lambda: NOTICE in mate.soft.notices)
        assert "the token has expired" in mate.soft.notices[NOTICE]
        assert mate.admissions == 0


@in_virtual_time
async def test_a_member_is_one_still_when_its_token_has_long_expired() -> None:
    async with crew_of("a", "b", "c") as crew:
        await crew.followers()
        mate = await newcomer(crew, "d", expires_at_s=int(crew.clock.wall_s()) + 60)
        await crew.until(lambda: mate.admissions)
        crew.wall.ahead_s = YEAR_S
        mate.member = replace(mate.member, version="2")
        mate.registrar.wake()
        await crew.until(lambda: mate.state.members["d"].version == "2")
        assert NOTICE not in mate.soft.notices


@in_virtual_time
async def test_one_that_was_removed_says_so_and_does_not_come_back_by_itself() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (gone, _) = await crew.leader(), await crew.followers()
        gone.register()
        await leader.propose(RemoveNode(name=gone.name), "1")
        await crew.until(lambda: NOTICE in gone.soft.notices)
        assert "this node was removed from cluster edge" in gone.soft.notices[NOTICE]
        assert "roheletd cluster join --force TOKEN" in gone.soft.notices[NOTICE]
        index = leader.core.last_index
        await asyncio.sleep(3600)
        assert leader.core.last_index == index
        assert gone.name not in leader.state.members


@in_virtual_time
async def test_what_has_changed_about_a_member_is_corrected_once() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader, (other, _) = await crew.leader(), await crew.followers()
        other.register()
        await asyncio.sleep(10)
        index = leader.core.last_index
        other.member = replace(other.member, broker="mqtt://192.168.1.9:9471")
        other.registrar.wake()
        await crew.until(lambda: leader.state.members[other.name].broker == other.member.broker)
        await asyncio.sleep(600)
        assert leader.core.last_index == index + 1
        assert other.admissions == 0, "it was one before"


@in_virtual_time
async def test_the_survivor_begins_the_next_epoch_alone() -> None:
    crew = Crew()
    first = await founder(crew, "a")
    await crew.until(lambda: first.admissions)
    await first.propose(add("web"), "1")
    await crew.kill("a")
    store = first.store
    assert isinstance(store, MemoryStore)
    again = await crew.enter(
        "a", store, boot=2, identity=an_identity("a", epoch=2, joined=True, boot=2)
    )
    again.register()
    await crew.until(lambda: again.state.epoch == 2)
    assert list(again.state.members) == ["a"]
    assert again.services == {"web"}
    await crew.stop()
