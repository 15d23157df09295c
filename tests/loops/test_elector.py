"""The log and its driver: an answer means durable and applied, exactly once."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roheletd.api.operations import UnknownOutcome
from roheletd.cluster.commands import AddServices, Applied, Rejected, RemoveService
from roheletd.cluster.state import ClusterState
from roheletd.errors import InvalidInput, Unavailable
from roheletd.loops import elector as module
from roheletd.loops.elector import Elector, recover
from roheletd.store import Store
from tests.builders import a_service


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Elector]:
    """An elector on a real file, its loop running; closed the way the daemon closes it."""
    store = await Store.open(path)
    state, core = await recover(store)
    elector = Elector(node="pi", core=core, store=store, state=state)
    loop = asyncio.create_task(elector.run())
    try:
        yield elector
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await store.close()


def names(elector: Elector) -> set[str]:
    return set(elector._state.services)


def add(name: str) -> AddServices:
    return AddServices(services=(a_service(name),))


async def test_what_was_answered_is_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "log.db") as elector:
        assert await elector.propose(add("web"), command_id="1") == Applied(
            changed={"web": "added"}
        )
        await elector.propose(add("api"), command_id="2")
    async with running(tmp_path / "log.db") as elector:
        assert names(elector) == {"web", "api"}
        assert elector.term == 2


async def test_one_id_is_applied_once_even_across_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "log.db") as elector:
        await elector.propose(add("web"), command_id="1")
        await elector.propose(RemoveService(name="web"), command_id="2")
        await elector.propose(add("web"), command_id="3")
    async with running(tmp_path / "log.db") as elector:
        outcome = await elector.propose(RemoveService(name="web"), command_id="2")
        assert outcome == Applied(changed={"web": "removed"})
        assert names(elector) == {"web"}


async def test_the_same_id_in_flight_twice_is_one_entry(tmp_path: Path) -> None:
    async with running(tmp_path / "log.db") as elector:
        outcomes = await asyncio.gather(
            *(elector.propose(add("web"), command_id="same") for _ in range(5))
        )
        assert outcomes == [Applied(changed={"web": "added"})] * 5
        assert elector._state.applied_index == 1


async def test_the_same_id_in_flight_for_another_command_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path / "log.db") as elector:
        first, second = await asyncio.gather(
            elector.propose(add("web"), command_id="same"),
            elector.propose(add("api"), command_id="same"),
        )
        assert first == Applied(changed={"web": "added"})
        assert second == Rejected(reason="the id same is in use for another command")
        assert names(elector) == {"web"}


async def test_refusals_and_repetitions_write_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "log.db") as elector:
        await elector.propose(add("web"), command_id="1")
        await elector.propose(add("web"), command_id="2")
        refused = await elector.propose(RemoveService(name="nobody"), command_id="3")
        assert isinstance(refused, Rejected)
        assert elector._state.applied_index == 1


async def test_many_proposals_share_few_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "log.db") as elector:
        batches = []
        append = elector._store.append

        async def counted(entries: tuple[module.Entry, ...]) -> None:
            batches.append(len(entries))
            await append(entries)

        monkeypatch.setattr(elector._store, "append", counted)
        await asyncio.gather(
            *(elector.propose(add(f"s{number}"), command_id=f"{number}") for number in range(200))
        )
        assert sum(batches) == 200
        assert len(batches) <= 3


async def test_the_log_is_cut_to_a_snapshot_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_AFTER_ENTRIES", 10)
    path = tmp_path / "log.db"
    async with running(path) as elector:
        for number in range(25):
            await elector.propose(add(f"s{number}"), command_id=f"{number}")
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from entry").fetchone() == (5,)
    connection.close()
    async with running(path) as elector:
        assert len(names(elector)) == 25
        assert elector._state.applied_index == 25


async def test_a_disk_that_fails_ends_membership_but_not_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    async with running(path) as elector:
        await elector.propose(add("web"), command_id="1")
        # A real refusal of the real file: SQLite may not make it any longer than it is.
        ((pages,),) = await elector._store._connection.execute_fetchall("pragma page_count")
        await elector._store._connection.execute(f"pragma max_page_count={pages}")
        big = AddServices(services=(a_service("big", env={"x": "y" * 100_000}),))
        with pytest.raises(UnknownOutcome, match="disk"):
            await elector.propose(big, command_id="2")
        with pytest.raises(Unavailable, match="restarted"):
            await elector.propose(add("more"), command_id="3")
        assert names(elector) == {"web"}
        assert "full" in elector.failure
    async with running(path) as elector:
        await elector.propose(add("more"), command_id="3")
        assert names(elector) >= {"web", "more"}


async def test_a_command_that_is_too_large_is_refused_by_size(tmp_path: Path) -> None:
    async with running(tmp_path / "log.db") as elector:
        huge = AddServices(services=(a_service(env={"x": "y" * (1 << 20)}),))
        with pytest.raises(InvalidInput, match="at most 1048576 bytes"):
            await elector.propose(huge, command_id="1")


async def test_a_flood_is_refused_and_not_queued_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROPOSALS_MAX", 3)
    async with running(tmp_path / "log.db") as elector:
        outcomes = await asyncio.gather(
            *(elector.propose(add(f"s{number}"), command_id=f"{number}") for number in range(5)),
            return_exceptions=True,
        )
    assert sum(isinstance(outcome, Applied) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, Unavailable) for outcome in outcomes) == 2


async def test_whoever_waits_when_the_daemon_stops_is_told_that_the_outcome_is_unknown(
    tmp_path: Path,
) -> None:
    store = await Store.open(tmp_path / "log.db")
    state, core = await recover(store)
    elector = Elector(node="pi", core=core, store=store, state=state)
    proposal = asyncio.create_task(elector.propose(add("web"), command_id="1"))
    loop = asyncio.create_task(elector.run())
    await asyncio.sleep(0)
    loop.cancel()
    with pytest.raises(UnknownOutcome):
        await proposal
    await asyncio.gather(loop, return_exceptions=True)
    await store.close()


async def test_listeners_hear_of_every_applied_batch(tmp_path: Path) -> None:
    async with running(tmp_path / "log.db") as elector:
        heard: list[int] = []
        elector.on_applied.append(lambda: heard.append(elector._state.applied_index))
        await elector.propose(add("web"), command_id="1")
        assert heard == [1]


async def test_an_entry_of_a_later_version_is_not_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.append((module.Entry(1, 1, b"\x81\xa3new"),))
    with pytest.raises(module.StoreFailed, match="entry 1 is of a version"):
        await recover(store)
    await store.close()


def test_the_state_starts_empty() -> None:
    assert ClusterState().applied_index == 0
