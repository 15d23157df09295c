"""The node's own durable memory: the log and its snapshot, in one SQLite file.

WAL with synchronous=FULL: a transaction that returned survives a power cut. Nothing is written at
rest. The file is opened by one daemon at a time, held by a lock on the data directory.
"""

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from roheletd.errors import Refused, RoheletError
from roheletd.raft import (
    Entry,
    Kind,
    Save,
    Saved,
    Snapshot,
    decode_configuration,
    encode_configuration,
)

SCHEMA_VERSION = 2

_SCHEMA = """
create table progress (
  id integer primary key check (id = 1),
  term integer not null, vote text, committed integer not null
);
create table entry (
  position integer primary key,
  term integer not null, kind integer not null, data blob not null, checksum integer not null
);
create table snapshot (
  id integer primary key check (id = 1),
  position integer not null, term integer not null,
  configuration blob not null, data blob not null, checksum integer not null
);
"""
_PROGRESS = "insert or replace into progress (id, term, vote, committed) values (1, ?, ?, ?)"
_ENTRY = "insert into entry (position, term, kind, data, checksum) values (?, ?, ?, ?, ?)"
_SNAPSHOT = (
    "insert or replace into snapshot (id, position, term, configuration, data, checksum) "
    "values (1, ?, ?, ?, ?, ?)"
)

_Statement = tuple[str, Sequence[tuple[object, ...]]]


class StoreFailed(RoheletError):  # noqa: N818 - what happened: the store failed
    """The disk did not take a write or gave back damage; what was acknowledged before stands."""


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
        """What the last start left; everything at its beginning where there was none."""
        try:
            entries = tuple(
                Entry(index, term, self._sound(index, term, data, checksum), Kind(kind))
                for index, term, kind, data, checksum in await self._rows(
                    "select position, term, kind, data, checksum from entry order by position"
                )
            )
            snapshot = await self._snapshot()
            progress = await self._rows("select term, vote, committed from progress")
        except (sqlite3.Error, msgspec.MsgspecError, ValueError) as error:
            raise StoreFailed(_advice(self._path, error)) from error
        term, vote, commit = progress[0] if progress else (0, None, 0)
        _check_sequence(self._path, snapshot, entries, commit)
        return Saved(term=term, vote=vote, commit=commit, snapshot=snapshot, entries=entries)

    async def save(self, save: Save) -> None:
        """Durable when this returns: one transaction, one flush."""
        statements: list[_Statement] = [(_PROGRESS, [(save.term, save.vote, save.commit)])]
        if save.snapshot is not None:
            at = save.snapshot
            configuration = encode_configuration(at.configuration)
            statements += [
                ("delete from entry where ? or position < ?", [(save.reset, save.keep_from)]),
                (_SNAPSHOT, [(at.index, at.term, configuration, at.data, _checksum(at))]),
            ]
        if save.entries:
            rows = [_row_of(entry) for entry in save.entries]
            statements += [
                ("delete from entry where position >= ?", [(save.entries[0].index,)]),
                (_ENTRY, rows),
            ]
        await self._transaction(statements)

    async def _snapshot(self) -> Snapshot | None:
        rows = await self._rows(
            "select position, term, configuration, data, checksum from snapshot"
        )
        if not rows:
            return None
        index, term, configuration, data, checksum = rows[0]
        sound = self._sound(index, term, data, checksum)
        return Snapshot(index, term, decode_configuration(configuration), sound)

    def _sound(self, index: int, term: int, data: bytes, checksum: int) -> bytes:
        """SQLite checks the shape of its file, and not what somebody's flash made of the rest."""
        if _checksum(Entry(index, term, data)) != checksum:
            raise StoreFailed(_advice(self._path, f"entry {index} is damaged"))
        return data

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.execute_fetchall(query)]

    async def _transaction(self, statements: Sequence[_Statement]) -> None:
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
    # Nobody else opens it, so that no index has to be shared in a file beside it: one that a full
    # disk has no room for, and then the log could not even be read.
    await connection.execute("pragma locking_mode=exclusive")
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


def _row_of(entry: Entry) -> tuple[object, ...]:
    return entry.index, entry.term, entry.kind, entry.data, _checksum(entry)


def _checksum(of: Entry | Snapshot) -> int:
    return zlib.crc32(of.data, zlib.crc32(f"{of.index} {of.term}".encode()))


def _check_sequence(
    path: Path, snapshot: Snapshot | None, entries: tuple[Entry, ...], commit: int
) -> None:
    start = snapshot.index if snapshot else 0
    first = min(entries[0].index, start + 1) if entries else start + 1
    for expected, entry in enumerate(entries, first):
        if entry.index != expected:
            raise StoreFailed(_advice(path, f"entry {expected} is missing"))
    last = entries[-1].index if entries else start
    if last < max(start, commit):
        raise StoreFailed(_advice(path, f"entry {last + 1} is missing"))


def _advice(path: Path, error: object) -> str:
    return f"{path}: {error} (containers keep running; see `Damaged or full disk` in the README)"
