"""Keeps the images of one node from filling its disk: deletes what it pulled and nobody needs.

Looks once an hour, when a report shows that the disk is filling, and before each pull. What was
pulled is remembered in a small file, so that nothing is ever deleted that a person has put there;
it is written with a pull and a deletion, and never at rest.
"""

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from roheletd import durable
from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.images import (
    StoredImage,
    disposable,
    longest_unused,
    needed,
    unused_since,
)
from roheletd.cluster.state import ClusterState
from roheletd.engines import EngineError
from roheletd.errors import Unavailable
from roheletd.image import short_name
from roheletd.loops.waiting import news_or_time

logger = logging.getLogger(__name__)

LOOK_S = 3600.0
LOOK_AGAIN_S = 60.0
"""A disk that stays full, for other reasons than images, is not looked at each second."""


class Store(Protocol):
    """What an engine has of images."""

    disk_free_min_mib: int

    def free_mib(self) -> int | None: ...

    async def stored(self) -> list[StoredImage]: ...

    async def delete(self, image_id: str) -> bool: ...


class ImageKeeper:
    """`path` is where it remembers which images were pulled, by id."""

    name = "image keeper"

    def __init__(
        self,
        *,
        store: Store,
        state: ClusterState,
        events: Events,
        clock: Clock,
        path: Path,
        prune: bool,
        keep_unused_s: float,
    ) -> None:
        self._store = store
        self._state = state
        self._events = events
        self._clock = clock
        self._path = path
        self._prune = prune
        self._keep_unused_s = keep_unused_s
        self._unused_since_s: dict[str, float] = {}
        self._looked_s = clock.now_s()
        self._wake = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._pulled = _remembered(path)

    async def run(self) -> None:
        while True:
            await news_or_time(self._wake, self._clock.now_s() + LOOK_S, self._clock)
            self._wake.clear()
            try:
                await self.look()
            except (Unavailable, EngineError) as error:
                logger.info("images are looked at later: %s", error)

    def measured(self) -> None:
        """With each report: a disk that is filling is looked at soon."""
        now_s = self._clock.now_s()
        if self._is_filling() and now_s - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = now_s
            self._wake.set()

    async def make_room(self) -> None:
        """Before a pull: what may go goes, where there is too little room."""
        if self._is_filling():
            await self.look()

    async def pulled(self, image: str, before: frozenset[str]) -> None:
        """What came with a pull is ours to delete, but for what was `before`, by whatever name."""
        name = short_name(image)
        new = {it.id for it in await self._store.stored() if name in it.names} - before
        self._remember(self._pulled | new)

    async def look(self) -> None:
        """Delete what was unused for long enough; with the disk filling, what is unused."""
        if not (self._prune and self._state.applied_index):
            return  # without a state, nothing is known of what is needed
        async with self._one_at_a_time:
            self._looked_s = now_s = self._clock.now_s()
            stored = await self._store.stored()
            found = disposable(stored, pulled=self._pulled, needed=needed(self._state))
            self._unused_since_s = unused_since(self._unused_since_s, found, now_s)
            gone = {it for it in self._pulled if it not in {image.id for image in stored}}
            for image_id in longest_unused(self._unused_since_s, until_s=now_s):
                unused_s = now_s - self._unused_since_s[image_id]
                if unused_s >= self._keep_unused_s:
                    reason = f"nothing has needed it for {unused_s:.0f} s"
                elif self._is_filling():
                    reason = "nothing needs it, and the disk is filling"
                else:
                    continue
                if await self._store.delete(image_id):
                    gone.add(image_id)
                    self._tell(found[image_id], reason)
            self._remember(self._pulled - gone)

    def _is_filling(self) -> bool:
        free_mib = self._store.free_mib()
        return free_mib is not None and free_mib < self._store.disk_free_min_mib

    def _tell(self, image: StoredImage, reason: str) -> None:
        name = image.names[0] if image.names else image.id[:12]
        self._events.add("image deleted", name, f"{reason} ({image.size_mib} MiB)")

    def _remember(self, pulled: frozenset[str]) -> None:
        if pulled == self._pulled:
            return
        self._pulled = pulled
        text = "".join(f"{image_id}\n" for image_id in sorted(pulled))
        try:
            durable.write(self._path, text)
        except OSError as error:  # then they stay for a person to delete
            logger.warning("%s cannot be written: %s", self._path, error.strerror)


def _remembered(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return frozenset()
