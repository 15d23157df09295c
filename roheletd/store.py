"""The node's own durable memory: the log and its snapshot, in one SQLite file.

WAL with synchronous=FULL: a transaction that returned survives a power cut. Nothing is written at
rest. The file is opened by one daemon at a time, held by a lock on the data directory.
"""

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import aiosqlite
from msgspec import Struct

from roheletd.errors import Refused, RoheletError
from roheletd.raft import Entry

SCHEMA_VERSION = 1

_SCHEMA = """
create table meta (name text primary key, value) without rowid;
create table entry (position integer primary key, term integer not null, data blob not null);
create table snapshot (
  id integer primary key check (id = 1),
  position integer not null, term integer not null, data blob not null
);
"""


class StoreFailed(RoheletError):  # noqa: N818 - what happened: the store failed
    """The disk did not take a write or gave back damage; what was acknowledged before stands."""


class Saved(Struct, frozen=True, kw_only=True):
    """What the disk holds: the last snapshot, if any, and the entries after it, in order."""

    term: int
    snapshot: bytes | None
    snapshot_index: int
    entries: tuple[Entry, ...]


class DirectoryLock:
    """Holds a data directory for one process; the kernel lets go of it however that ends."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise Refused(f"{data_dir} is in use by another roheletd: stop it first") from None

    def release(self) -> None:
        os.close(self._descriptor)


class Store:
    """The log on disk. Methods raise `StoreFailed`; after that only a restart may be trusted."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self.bytes_since_snapshot = 0
        self.entries_since_snapshot = 0

    @classmethod
    async def open(cls, path: Path) -> "Store":
        """Open or create the file; a damaged one, or one of a later version, is left untouched."""
        try:
            # isolation_level None: transactions begin and end where this file says so.
            connection = await aiosqlite.connect(path, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreFailed(_advice(path, error)) from error
        try:
            await _prepare(connection, path)
        except sqlite3.Error as error:
            await connection.close()
            raise StoreFailed(_advice(path, error)) from error
        except BaseException:
            await connection.close()
            raise
        return cls(connection, path)

    async def close(self) -> None:
        await self._connection.close()

    async def load(self) -> Saved:
        try:
            entries = tuple(
                Entry(int(index), int(term), bytes(data))
                for index, term, data in await self._connection.execute_fetchall(
                    "select position, term, data from entry order by position"
                )
            )
            snapshots = list(
                await self._connection.execute_fetchall("select position, data from snapshot")
            )
            terms = list(
                await self._connection.execute_fetchall("select value from meta where name='term'")
            )
        except sqlite3.Error as error:
            raise StoreFailed(_advice(self._path, error)) from error
        index, data = snapshots[0] if snapshots else (0, None)
        _check_sequence(self._path, int(index), entries)
        self.entries_since_snapshot = len(entries)
        self.bytes_since_snapshot = sum(len(entry.data) for entry in entries)
        return Saved(
            term=int(terms[0][0]) if terms else 0,
            snapshot=None if data is None else bytes(data),
            snapshot_index=int(index),
            entries=entries,
        )

    async def save_term(self, term: int) -> None:
        await self._transaction(
            ("insert or replace into meta (name, value) values ('term', ?)", [(term,)])
        )

    async def append(self, entries: tuple[Entry, ...]) -> None:
        """Durable when this returns: one transaction, one flush, for all of `entries`."""
        rows = [(entry.index, entry.term, entry.data) for entry in entries]
        await self._transaction(("insert into entry (position, term, data) values (?, ?, ?)", rows))
        self.entries_since_snapshot += len(entries)
        self.bytes_since_snapshot += sum(len(entry.data) for entry in entries)

    async def compact(self, *, index: int, term: int, snapshot: bytes) -> None:
        """Replace every entry up to `index` by the state that they led to."""
        await self._transaction(
            (
                "insert or replace into snapshot (id, position, term, data) values (1, ?, ?, ?)",
                [(index, term, snapshot)],
            ),
            ("delete from entry where position <= ?", [(index,)]),
        )
        self.entries_since_snapshot = 0
        self.bytes_since_snapshot = 0

    async def _transaction(self, *statements: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        try:
            await self._connection.execute("begin immediate")
            for statement, rows in statements:
                await self._connection.executemany(statement, rows)
            await self._connection.execute("commit")
        except sqlite3.Error as error:
            # Nothing is rolled back or tried again: after a failed flush nobody knows what the
            # disk holds, so the file is read afresh at the next start.
            raise StoreFailed(_advice(self._path, error)) from error


async def _prepare(connection: aiosqlite.Connection, path: Path) -> None:
    await connection.execute("pragma journal_mode=wal")
    await connection.execute("pragma synchronous=full")
    (version,) = await _row(connection, "pragma user_version")
    if version == 0:
        await connection.executescript(
            f"begin;{_SCHEMA}pragma user_version={SCHEMA_VERSION};commit;"
        )
    elif version != SCHEMA_VERSION:
        raise StoreFailed(
            f"{path} was written by another version of roheletd (format {version}, this one reads "
            f"{SCHEMA_VERSION}): install that version or move the file away"
        )
    (verdict,) = await _row(connection, "pragma quick_check(1)")
    if verdict != "ok":
        raise StoreFailed(_advice(path, verdict))


async def _row(connection: aiosqlite.Connection, query: str) -> tuple[object, ...]:
    (row,) = await connection.execute_fetchall(query)
    return tuple(row)


def _check_sequence(path: Path, start: int, entries: tuple[Entry, ...]) -> None:
    for expected, entry in enumerate(entries, start + 1):
        if entry.index != expected:
            raise StoreFailed(_advice(path, f"entry {expected} is missing"))


def _advice(path: Path, error: object) -> str:
    return f"{path}: {error} (containers keep running; see `Damaged or full disk` in the README)"
