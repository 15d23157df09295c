"""The log on disk: what was acknowledged is there again, whatever ended the process."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from random import Random

import pytest

from roheletd.errors import Refused
from roheletd.raft import (
    Configuration,
    Entry,
    Kind,
    Raft,
    Save,
    Saved,
    Snapshot,
    Timing,
    founding,
)
from roheletd.store import DirectoryLock, Store, StoreFailed


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(index, term, f"entry {index}".encode()) for index in range(first, last + 1))


def save(*new: Entry, term: int = 1, vote: str | None = None, commit: int = 0) -> Save:
    return Save(term=term, vote=vote, commit=commit, entries=new)


async def kept(path: Path) -> Saved:
    store = await Store.open(path)
    try:
        return await store.load()
    finally:
        await store.close()


async def test_a_new_store_is_empty(tmp_path: Path) -> None:
    assert await kept(tmp_path / "log.db") == Saved()


async def test_entries_and_the_vote_are_there_after_a_reopening(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "log.db")
    await store.save(save(*entries(1, 3), term=4, vote="b", commit=2))
    noop = Entry(4, 4, b"", Kind.NOOP)
    await store.save(save(noop, term=4, vote="b", commit=3))
    await store.close()
    found = await kept(tmp_path / "log.db")
    assert found == Saved(term=4, vote="b", commit=3, entries=(*entries(1, 3), noop))


async def test_entries_replace_all_from_the_first_of_them_on(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "log.db")
    await store.save(save(*entries(1, 5)))
    await store.save(save(*entries(3, 4, term=2), term=2))
    await store.close()
    found = await kept(tmp_path / "log.db")
    assert found.entries == (*entries(1, 2), *entries(3, 4, term=2))


async def test_a_snapshot_takes_the_place_of_its_entries_but_the_last(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "log.db")
    await store.save(save(*entries(1, 5), commit=5))
    snapshot = Snapshot(5, 1, Configuration(("a",), ("b",)), b"five")
    await store.save(
        Save(term=1, vote=None, commit=5, snapshot=snapshot, keep_from=4, entries=entries(6, 7))
    )
    await store.close()
    found = await kept(tmp_path / "log.db")
    assert found.snapshot == snapshot
    assert found.entries == entries(4, 7)


async def test_a_snapshot_of_the_leader_replaces_the_whole_log(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "log.db")
    await store.save(save(*entries(1, 9), commit=2))
    snapshot = Snapshot(7, 3, Configuration(("a",)), b"seven")
    await store.save(Save(term=3, vote=None, commit=7, snapshot=snapshot, reset=True))
    await store.close()
    assert await kept(tmp_path / "log.db") == Saved(term=3, commit=7, snapshot=snapshot)


async def test_a_core_goes_on_where_its_disk_ends(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.save(founding("a"))
    for start in range(3):
        core = Raft(me="a", saved=await store.load(), timing=Timing(), rng=Random(1), now_s=0.0)
        core.tick(0.0)
        core.propose(b"command", 0.0)
        ready = core.ready()
        assert ready.to_save is not None
        await store.save(ready.to_save)
        assert core.term == start + 2
        if start == 1:
            core.compact(b"state", core.commit, keep=1)
            snapshot_save = core.ready().to_save
            assert snapshot_save is not None
            await store.save(snapshot_save)
    await store.close()
    found = await kept(path)
    assert found.snapshot is not None
    assert found.entries[-1].index == found.commit == 7


async def test_a_missing_entry_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.save(save(*entries(1, 3)))
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("delete from entry where position = 2")
    connection.close()
    with pytest.raises(StoreFailed, match="entry 2 is missing"):
        await kept(path)


async def test_a_commit_beyond_the_entries_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.save(save(*entries(1, 3), commit=3))
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("delete from entry where position = 3")
    connection.close()
    with pytest.raises(StoreFailed, match="entry 3 is missing"):
        await kept(path)


async def test_an_entry_that_flash_has_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.save(save(*entries(1, 3)))
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("update entry set data = x'00' where position = 2")
    connection.close()
    with pytest.raises(StoreFailed, match="entry 2 is damaged"):
        await kept(path)


async def test_a_damaged_file_is_refused_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.save(save(*(Entry(index, 1, os.urandom(400)) for index in range(1, 200))))
    await store.close()
    data = bytearray(path.read_bytes())
    for offset in range(8192, len(data), 4096):
        data[offset : offset + 64] = os.urandom(64)
    path.write_bytes(data)
    with pytest.raises(StoreFailed, match="containers keep running"):
        await Store.open(path)
    assert path.read_bytes() == bytes(data)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(StoreFailed):
        await Store.open(path)


async def test_a_file_of_another_version_names_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version=99")
    connection.close()
    with pytest.raises(StoreFailed, match="format 99, this one reads 2"):
        await Store.open(path)


async def test_every_commit_is_flushed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    ((mode,),) = await store._connection.execute_fetchall("pragma journal_mode")
    ((synchronous,),) = await store._connection.execute_fetchall("pragma synchronous")
    await store.close()
    assert (mode, synchronous) == ("wal", 2)


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """A process prints each index once its append returned, and is killed in the middle."""
    path = tmp_path / "log.db"
    program = textwrap.dedent(
        f"""
        import asyncio
        from pathlib import Path
        from roheletd.raft import Entry, Save
        from roheletd.store import Store

        async def main():
            store = await Store.open(Path({str(path)!r}))
            for index in range(1, 100000):
                entry = Entry(index, 1, b"x" * 200)
                await store.save(Save(term=1, vote=None, commit=0, entries=(entry,)))
                print(index, flush=True)

        asyncio.run(main())
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(50)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    with sqlite3.connect(path) as connection:
        found = [position for (position,) in connection.execute("select position from entry")]
    connection.close()
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) - len(acknowledged) <= 1


def test_a_data_directory_belongs_to_one_daemon_at_a_time(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(Refused, match="in use by another roheletd"):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()
