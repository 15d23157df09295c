"""The driver of the log: persist, then send, then apply, and what becomes of it when that fails."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roheletd.api.problems import UnknownOutcome
from roheletd.clock import Clock
from roheletd.cluster import applier
from roheletd.cluster.commands import AddServices, Applied, RemoveService
from roheletd.errors import Unavailable
from roheletd.loops.elector import SETTLE_S
from roheletd.raft import Configuration, Saved, Timing, founding
from roheletd.store import Store
from roheletd.testing import MemoryStore
from tests.builders import a_service
from tests.loops.crew import TOPICS, Crew, Mate, add, crew_of, member_id
from tests.loops.stage import in_virtual_time, settled

QUICK = Timing(heartbeat_s=0.05, election_min_s=0.3, election_max_s=0.6)


@asynccontextmanager
async def on_disk(path: Path) -> AsyncIterator[Mate]:
    """The only voter of its cluster, on a real file."""
    crew = Crew("pi", timing=QUICK, clock=Clock())
    store = await Store.open(path)
    if await store.load() == Saved():
        await store.save(founding(member_id("pi")))
    mate = await crew.enter("pi", store)
    try:
        await crew.leader()
        yield mate
    finally:
        await crew.stop()
        await store.close()


async def test_what_was_answered_is_there_after_a_restart(tmp_path: Path) -> None:
    async with on_disk(tmp_path / "log.db") as mate:
        assert await mate.propose(add("web"), "1") == Applied(changed={"web": "added"})
        await mate.propose(add("api"), "2")
        term = mate.core.term
    async with on_disk(tmp_path / "log.db") as mate:
        assert mate.services == {"web", "api"}
        assert mate.core.term == term + 1


async def test_one_id_is_applied_once_even_across_a_restart(tmp_path: Path) -> None:
    async with on_disk(tmp_path / "log.db") as mate:
        await mate.propose(add("web"), "1")
        await mate.propose(RemoveService(name="web"), "2")
        await mate.propose(add("web"), "3")
    async with on_disk(tmp_path / "log.db") as mate:
        outcome = await mate.propose(RemoveService(name="web"), "2")
        assert outcome == Applied(changed={"web": "removed"})
        assert mate.services == {"web"}


async def test_many_proposals_share_few_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    save = Store.save

    async def counted(store: Store, what: object) -> None:
        batches.append(len(what.entries))  # type: ignore[attr-defined]
        await save(store, what)  # type: ignore[arg-type]

    async with on_disk(tmp_path / "log.db") as mate:
        monkeypatch.setattr(Store, "save", counted)
        await asyncio.gather(*(mate.propose(add(f"s{it}"), f"{it}") for it in range(200)))
        assert sum(batches) == 200
        assert len(batches) <= 5


async def test_the_log_is_cut_to_a_snapshot_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applier, "SNAPSHOT_AFTER_ENTRIES", 300)
    path = tmp_path / "log.db"
    async with on_disk(path) as mate:
        for number in range(650):
            await mate.propose(add(f"s{number % 20}-{number}"), f"{number}")
        applied_index = mate.state.applied_index
    with sqlite3.connect(path) as connection:
        ((first, last),) = connection.execute("select min(position), max(position) from entry")
        ((cut,),) = connection.execute("select position from snapshot")
    connection.close()
    assert 300 < first < cut < last == applied_index
    async with on_disk(path) as mate:
        assert len(mate.services) == 650
        assert mate.state.applied_index == applied_index + 1  # and the first entry of the new term


async def test_a_disk_that_fails_ends_membership_but_not_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    big = AddServices(services=(a_service("big", env={"x": "y" * 100_000}),))
    async with on_disk(path) as mate:
        await mate.propose(add("web"), "1")
        assert mate.store is not None
        connection = mate.store._connection
        # A real refusal of the real file: SQLite may not make it any longer than it is.
        ((pages,),) = await connection.execute_fetchall("pragma page_count")
        await connection.execute(f"pragma max_page_count={pages}")
        with pytest.raises(UnknownOutcome, match=r"cannot be written.*full"):
            await mate.propose(big, "2")
        with pytest.raises(Unavailable, match=r"until it is restarted.*full"):
            await mate.propose(add("more"), "3")
        assert mate.services == {"web"}
        assert not mate.proposer.leads
        assert mate.proposer.leader == ""
    async with on_disk(path) as mate:
        await mate.propose(add("more"), "3")
        assert mate.services >= {"web", "more"}


async def test_three_nodes_on_real_disks_outlive_one_and_write_nothing_at_rest(
    tmp_path: Path,
) -> None:
    crew = Crew("a", "b", "c", timing=QUICK, clock=Clock())
    stores = [await Store.open(tmp_path / f"{name}.db") for name in crew.names]
    try:
        for name, store in zip(crew.names, stores, strict=True):
            await store.save(crew.seed_save())
            await crew.enter(name, store)
        leader = await crew.leader()
        await leader.propose(add("web"), "1")
        await crew.kill(leader.name)
        heir = await crew.leader()
        await heir.propose(add("api"), "2")
        (other,) = await crew.followers()
        await crew.until(lambda: other.services == heir.services == {"web", "api"})
        await asyncio.sleep(2 * SETTLE_S)
        before = written(tmp_path)
        await asyncio.sleep(20 * QUICK.heartbeat_s)
        assert written(tmp_path) == before
    finally:
        await crew.stop()
        for store in stores:
            await store.close()


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """What tells that a file was written to."""
    found = {path.name: path.stat() for path in folder.iterdir()}
    return {name: (it.st_size, it.st_mtime_ns) for name, it in found.items()}


def memory_of(mate: Mate) -> MemoryStore:
    assert isinstance(mate.store, MemoryStore)
    return mate.store


@in_virtual_time
async def test_at_rest_how_far_it_is_committed_is_written_once_and_then_nothing() -> None:
    async with crew_of("a", "b", "c") as crew:
        await (await crew.leader()).propose(add("web"), "1")
        await crew.level()
        before = {name: len(memory_of(mate).saves) for name, mate in crew.mates.items()}
        await asyncio.sleep(SETTLE_S - 0.2)
        assert {name: len(memory_of(it).saves) for name, it in crew.mates.items()} == before
        await asyncio.sleep(2 * SETTLE_S)
        for name, mate in crew.mates.items():
            (last,) = memory_of(mate).saves[before[name] :]
            assert (last.entries, last.commit) == ((), mate.core.last_index)
        after = {name: len(memory_of(mate).saves) for name, mate in crew.mates.items()}
        await asyncio.sleep(3600)
        assert {name: len(memory_of(it).saves) for name, it in crew.mates.items()} == after


@in_virtual_time
async def test_a_leader_whom_nobody_is_to_hear_does_not_wake_at_all() -> None:
    crew = Crew("pi")
    await crew.start()
    leader = await crew.leader()
    await leader.propose(add("web"), "1")
    leader.elector.alone = True
    await asyncio.sleep(2 * SETTLE_S)
    spoken, saves = crew.net.carried.copy(), len(memory_of(leader).saves)
    await asyncio.sleep(3600)
    assert (crew.net.carried, len(memory_of(leader).saves)) == (spoken, saves)
    assert await leader.propose(add("api"), "2") == Applied(changed={"api": "added"})
    await crew.stop()


@in_virtual_time
async def test_nothing_is_said_before_it_is_durable() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        for mate in await crew.followers():
            memory_of(mate).delay_s = 0.5
        begun_s = crew.clock.now_s()
        await leader.propose(add("web"), "1")
        assert crew.clock.now_s() - begun_s > 0.5
        assert sum(holds(mate, "web") for mate in crew.mates.values()) >= 2


def holds(mate: Mate, word: str) -> bool:
    """Whether the disk of `mate` has an entry with this word in it."""
    return any(word.encode() in entry.data for entry in memory_of(mate).saved.entries)


@in_virtual_time
async def test_a_follower_whose_disk_fails_acknowledges_nothing_and_votes_for_nobody() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        sick, sound = await crew.followers()
        memory_of(sick).trouble = "the disk is full"
        await leader.propose(add("web"), "1")
        await crew.until(lambda: sick.elector.failure)
        assert sick.elector.failure == "the log cannot be written: the disk is full"
        await crew.kill(leader.name)
        await asyncio.sleep(60)
        assert not sound.proposer.leads, "one voter of three elected itself"
        assert sick.services <= {"web"}
        assert sick.elector.failure, "only a restart makes it a member again"
        memory_of(sick).trouble = ""
        await crew.restart(sick.name)
        assert (await crew.leader()).services == {"web"}


@in_virtual_time
async def test_a_leader_whose_disk_fails_makes_room_for_another() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        memory_of(leader).trouble = "input/output error"
        waiting = asyncio.create_task(leader.propose(add("web"), "1"))
        with pytest.raises(UnknownOutcome, match="input/output error"):
            await waiting
        heir = await crew.leader(other_than=leader.name)
        assert await heir.propose(add("web"), "1") == Applied(changed={"web": "added"})
        assert not leader.proposer.leads
        assert leader.services == set()


@in_virtual_time
async def test_what_a_later_version_wrote_is_not_guessed_at_and_stops_this_node_alone() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        await leader.propose(add("web"), "1")
        await crew.level()
        later = b"\x82\xa2id\xa11\xa7command\x81\xa7command\xa4soar"
        leader.elector.propose(later, lambda _index: None)
        await crew.until(lambda: all(mate.elector.failure for mate in crew.mates.values()))
        index = leader.state.applied_index + 1
        for mate in crew.mates.values():
            assert mate.elector.failure.startswith(f"entry {index} is of a version that this one")
            assert "update roheletd on this node" in mate.elector.failure
            assert mate.services == {"web"}
            with pytest.raises(Unavailable, match="update roheletd"):
                await mate.propose(add("api"), "2")


@in_virtual_time
async def test_who_missed_what_was_cut_from_the_log_gets_the_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(applier, "SNAPSHOT_AFTER_ENTRIES", 100)
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        late = (await crew.followers())[0]
        store = memory_of(late)
        await crew.kill(late.name)
        for number in range(500):
            await leader.propose(add(f"s{number % 40}-{number}"), f"{number}")
        assert memory_of(leader).saved.entries[0].index > late.core.last_index + 1
        again = await crew.enter(late.name, store, boot=2)
        await crew.level()
        assert again.services == leader.services
        assert again.state.saved() == leader.state.saved()
        assert crew.net.carried[TOPICS.snapshot(late.name)] > 0


@in_virtual_time
async def test_those_who_care_hear_of_each_applied_batch_and_of_each_change_of_leader() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        other = (await crew.followers())[0]
        applied: list[int] = []
        led: list[str] = []
        other.elector.on_applied.append(lambda: applied.append(other.state.applied_index))
        other.elector.on_leader.append(lambda: led.append(other.proposer.leader))
        await leader.propose(add("web"), "1")
        await crew.level()
        assert applied == [leader.state.applied_index]
        await crew.kill(leader.name)
        heir = await crew.leader()
        await crew.until(lambda: other.proposer.leader == heir.name)
        assert led[-1] == heir.name
        assert "" in led, "for a while there is none"


@in_virtual_time
async def test_a_leader_that_goes_hands_over_and_no_second_is_lost() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        heir, _ = await crew.followers()
        begun_s = crew.clock.now_s()
        leader.elector.hand_over(heir.core.me)
        assert await crew.leader(other_than=leader.name) is heir
        assert crew.clock.now_s() - begun_s < 0.5


@in_virtual_time
async def test_to_hear_that_the_leader_has_died_saves_most_of_the_silence() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        others = await crew.followers()
        await crew.kill(leader.name)
        begun_s = crew.clock.now_s()
        for mate in others:
            mate.elector.hint(leader.core.me)
        await crew.leader()
        assert crew.clock.now_s() - begun_s < 1.0


@in_virtual_time
async def test_a_false_hint_unseats_nobody() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        (first, _), term = await crew.followers(), leader.core.term
        first.elector.hint(leader.core.me)
        await asyncio.sleep(30)
        assert leader.proposer.leads
        assert leader.core.term == term


@in_virtual_time
async def test_a_change_of_who_votes_is_made_by_the_leader_and_followed_by_all() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        away = (await crew.followers())[0].core.me
        rest = set(leader.core.configuration.voters) - {away}
        for mate in crew.mates.values():
            mate.elector.change(Configuration.of(rest))  # of no effect on followers
        await crew.until(
            lambda: all(it.core.configuration.voters == tuple(sorted(rest)) for it in crew.all)
        )
        await settled()
        assert leader.proposer.leads


@in_virtual_time
async def test_a_flood_of_messages_is_no_flood_of_memory() -> None:
    async with crew_of("a", "b", "c") as crew:
        leader = await crew.leader()
        other = (await crew.followers())[0]
        memory_of(other).delay_s = 3.0
        index = leader.core.last_index
        for _ in range(20_000):
            other.elector.hint("nobody.00000000")
        assert len(other.elector._inputs) == 10_000
        memory_of(other).delay_s = 0.0
        await leader.propose(add("web"), "1")
        await crew.level()
        assert leader.core.last_index == index + 1
