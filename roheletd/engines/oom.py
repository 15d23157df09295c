"""Hears from the kernel when a container has run out of its memory.

Podman does not tell: its containers just end with 137. Afterwards nobody can tell, for the counters
go with the cgroup. So the kernel is asked to say it when it happens: by an eventfd with cgroups of
version 1, by a change of `memory.events` with version 2. Nothing wakes while nothing happens.
"""

import asyncio
import contextlib
import os
import select
import time
from collections.abc import Collection
from pathlib import Path

from msgspec import Struct

from roheletd.engines.cgroup import counter

LATELY_S = 10.0
"""A process that is killed for want of memory takes the rest with it within this time, or not."""

_SETTLE_S = 0.02
"""With version 2 the kernel also tells of each time it had to make room, which may be often."""
_READ_BYTES = 4096
_GONE_TOO = 2


class _Watched(Struct):
    """One cgroup: `told` becomes readable, `counts` says how often it was about a kill."""

    container_id: str
    told: int
    counts: int
    kills: int

    def close(self) -> None:
        for descriptor in {self.told, self.counts}:
            os.close(descriptor)


class OomWatch:
    """Watches cgroups until they are gone."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._watched: dict[int, _Watched] = {}
        self._seen_s: dict[str, float] = {}

    def watch(self, container_id: str, memory: Path, *, version: int) -> None:
        """Where it cannot be watched, nothing will be known of it."""
        self.forget(container_id)
        with contextlib.suppress(OSError):
            found = (
                _version_1(container_id, memory)
                if version == 1
                else _version_2(container_id, memory)
            )
            self._watched[found.told] = found
            events = select.EPOLLIN if version == 1 else select.EPOLLPRI
            self._open().register(found.told, events)

    def happened(self, container_id: str) -> bool:
        """Whether it ran out of memory just now."""
        self._look()
        seen_s = self._seen_s.get(container_id)
        return seen_s is not None and time.monotonic() - seen_s < LATELY_S

    def keep(self, listed: Collection[str]) -> None:
        """All others are gone."""
        for container_id in {*self._seen_s, *(it.container_id for it in self._watched.values())}:
            if container_id not in listed:
                self.forget(container_id)

    def forget(self, container_id: str) -> None:
        self._seen_s.pop(container_id, None)
        for found in [it for it in self._watched.values() if it.container_id == container_id]:
            self._drop(found)

    def close(self) -> None:
        for found in tuple(self._watched.values()):
            self._drop(found)
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _open(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._listen()
        return self._epoll

    def _listen(self) -> None:
        if self._epoll is not None:
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._told)

    def _told(self) -> None:
        self._look()
        assert self._epoll is not None, "it told"
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._epoll.fileno())
        loop.call_later(_SETTLE_S, self._listen)

    def _look(self) -> None:
        if self._epoll is None:
            return
        for descriptor, _events in self._epoll.poll(0):
            if (found := self._watched.get(descriptor)) is not None:
                self._heed(found)

    def _heed(self, found: _Watched) -> None:
        is_own = found.told != found.counts
        signals = os.eventfd_read(found.told) if is_own else 0
        try:
            kills = counter(os.pread(found.counts, _READ_BYTES, 0), b"oom_kill")
        except OSError:  # ENODEV: the cgroup is gone, which is a signal as well
            if signals >= _GONE_TOO:
                self._seen_s[found.container_id] = time.monotonic()
            self._drop(found)
            return
        # With version 1 the signal comes before the kill.
        if is_own or kills > found.kills:
            self._seen_s[found.container_id] = time.monotonic()
        found.kills = kills

    def _drop(self, found: _Watched) -> None:
        if self._watched.pop(found.told, None) is not None:
            if self._epoll is not None:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(found.told)
            found.close()


def _version_1(container_id: str, memory: Path) -> _Watched:
    counts = os.open(memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
    told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    found = _Watched(container_id, told, counts, 0)
    try:
        (memory / "cgroup.event_control").write_text(f"{told} {counts}")
    except OSError:
        found.close()
        raise
    return found


def _version_2(container_id: str, memory: Path) -> _Watched:
    counts = os.open(memory / "memory.events", os.O_RDONLY | os.O_CLOEXEC)
    kills = counter(os.pread(counts, _READ_BYTES, 0), b"oom_kill")
    return _Watched(container_id, counts, counts, kills)
