"""The log on disk: what was acknowledged is there again, whatever ended the process."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from roheletd.errors import Refused
from roheletd.raft import Entry
from roheletd.store import DirectoryLock, Store, StoreFailed


def entries(first: int, last: int) -> tuple[Entry, ...]:
    return tuple(Entry(index, 1, f"entry {index}".encode()) for index in range(first, last + 1))


async def reopened(path: Path) -> Store:
    return await Store.open(path)


async def test_a_new_store_is_empty(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "log.db")
    saved = await store.load()
    assert (saved.term, saved.snapshot, saved.snapshot_index, saved.entries) == (0, None, 0, ())
    await store.close()


async def test_entries_and_term_are_there_after_a_reopening(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "log.db")
    await store.save_term(4)
    await store.append(entries(1, 3))
    await store.append(entries(4, 4))
    await store.close()
    again = await Store.open(tmp_path / "log.db")
    saved = await again.load()
    assert saved.term == 4
    assert saved.entries == entries(1, 4)
    assert again.entries_since_snapshot == 4
    assert again.bytes_since_snapshot == sum(len(entry.data) for entry in saved.entries)
    await again.close()


async def test_a_snapshot_takes_the_place_of_its_entries(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "log.db")
    await store.append(entries(1, 5))
    await store.compact(index=5, term=1, snapshot=b"five")
    await store.append(entries(6, 7))
    await store.close()
    again = await Store.open(tmp_path / "log.db")
    saved = await again.load()
    assert (saved.snapshot, saved.snapshot_index) == (b"five", 5)
    assert saved.entries == entries(6, 7)
    await again.close()


async def test_an_index_that_is_there_already_is_a_failure_and_loses_nothing(
    tmp_path: Path,
) -> None:
    store = await Store.open(tmp_path / "log.db")
    await store.append(entries(1, 2))
    with pytest.raises(StoreFailed):
        await store.append(entries(2, 3))
    await store.close()
    again = await Store.open(tmp_path / "log.db")
    assert (await again.load()).entries == entries(1, 2)
    await again.close()


async def test_a_missing_entry_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.append(entries(1, 3))
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("delete from entry where position = 2")
    connection.close()
    again = await Store.open(path)
    with pytest.raises(StoreFailed, match="entry 2 is missing"):
        await again.load()
    await again.close()


async def test_a_damaged_file_is_refused_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = await Store.open(path)
    await store.append(tuple(Entry(index, 1, os.urandom(400)) for index in range(1, 200)))
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
    with pytest.raises(StoreFailed, match="format 99, this one reads 1"):
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
        from roheletd.raft import Entry
        from roheletd.store import Store

        async def main():
            store = await Store.open(Path({str(path)!r}))
            for index in range(1, 100000):
                await store.append((Entry(index, 1, b"x" * 200),))
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
