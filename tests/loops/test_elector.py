"""The driver of the log: persist, then send, then apply, and what becomes of it when that fails."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roheletd.api.operations import UnknownOutcome
from roheletd.cluster import applier
from roheletd.cluster.commands import Applied, RemoveService
from roheletd.clock import Clock
from roheletd.errors import Unavailable
from roheletd.loops.elector import SETTLE_S
from roheletd.raft import Append, Configuration, Entry, Kind, Saved, Timing, founding
from roheletd.store import Store
from roheletd.testing import MemoryStore
from tests.builders import a_service
from tests.loops.crew import LAN, Crew, Mate, a_cluster_of, add, crew_of, member_id, outcome_of
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
    async with on_disk(path) as mate:
        await mate.propose(add("web"), "1")
        store = mate.store
        assert store is not None
        # A real refusal of the real file: SQLite may not make it any longer than it is.
        ((pages,),) = await store._connection.execute_fetchall("pragma page_count")
        await store._connection.execute(f"pragma max_page_count={pages}")
        big = add("big").services[0].env | {"x": "y" * 100_000}
        with pytest.raises(UnknownOutcome, match="cannot be written.*full"):
            await mate.propose(a_big_service(big), "2")
        with pytest.raises(Unavailable, match="until it is restarted.*full"):
            await mate.propose(add("more"), "3")
        assert mate.services == {"web"}
        assert not mate.proposer.leads
        assert mate.proposer.leader == ""
    async with on_disk(path) as mate:
        await mate.propose(add("more"), "3")
        assert mate.services >= {"web", "more"}


def a_big_service(env: dict[str, str]) -> object:
    from roheletd.cluster.commands import AddServices

    return AddServices(services=(a_service("big", env=env),))
