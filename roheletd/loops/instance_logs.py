"""The logs of this node's instances, for whoever reads them.

A log that is followed goes on after a restart, and in the next container of the same instance. It
ends when the instance is no longer placed here.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from roheletd.clock import Clock
from roheletd.cluster.container import Container
from roheletd.cluster.state import ClusterState
from roheletd.cluster.streams import Batch, LogsWanted, Mark, pieces_of
from roheletd.engines import Engine
from roheletd.engines.docker_streams import unix_s
from roheletd.errors import Refused, Unavailable
from roheletd.loops.ceiling import Ceiling
from roheletd.loops.waiting import news_or_time

SETTLE_S = 0.3
LOOK_S = 5.0
"""News wake whoever waits; this is for what there are none of, as of an engine that comes back."""


class InstanceLogs:
    """What runs of an instance here, and what it has written. `engine` None: nothing runs."""

    def __init__(
        self, *, engine: Engine | None, node: str, state: ClusterState, clock: Clock
    ) -> None:
        self._engine = engine
        self._node = node
        self._state = state
        self._clock = clock
        self._news: set[asyncio.Event] = set()

    def wake(self) -> None:
        """Something became of an instance, or of a placement."""
        for event in self._news:
            event.set()

    async def pass_on(self, wanted: LogsWanted, out: Ceiling) -> None:
        """All of one log that is wanted."""
        instance, engine = wanted.instance, self.engine()
        known = await self.container(instance, wait=wanted.follow)
        since = unix_s(wanted.after)
        if wanted.since_s is not None and not since:
            since = int(self._clock.wall_s() - wanted.since_s)
        tail, again, mark = wanted.tail, False, Mark()
        while True:
            batches = engine.logs(
                known.id,
                follow=wanted.follow,
                since_unix_s=max(since, 0),
                tail=tail,
                again=again,
            )
            await self._pass_on(batches, mark, out, patient=wanted.follow)
            if not wanted.follow:
                break
            before, known = known, await self._next_run(instance, out)
            if not (again := known.id == before.id):
                mark.restart()
            since, tail = unix_s(mark.resume()), None
        await out.finish()

    async def _pass_on(
        self, batches: AsyncIterator[Batch], mark: Mark, out: Ceiling, *, patient: bool
    ) -> None:
        try:
            async for batch in batches:
                if fresh := mark.fresh(batch):
                    for piece in pieces_of(fresh):
                        await out.send(piece)
        except Unavailable as error:
            if not patient:
                raise
            await out.note(str(error))

    async def _next_run(self, instance: str, out: Ceiling) -> Container:
        """What runs of an instance whose log has had an end."""
        said = False
        with self._listening() as news:
            # Engines tell of an end before their lists show it.
            await self._wait(news, SETTLE_S)
            while True:
                news.clear()
                found = await self._found(instance)
                if found is not None and found.state == "running":
                    return found
                self._check_placed(instance)
                if not said:
                    why = found.reason if found is not None else ""
                    await out.note(f"ended{f' ({why})' if why else ''}; waiting for its next start")
                    said = True
                await self._wait(news, LOOK_S)

    async def container(self, instance: str, *, wait: bool) -> Container:
        """What runs of an instance, or else its newest container. Raises `Refused`."""
        with self._listening() as news:
            while (found := await self._found(instance)) is None:
                self._check_placed(instance)
                if not wait:
                    raise Refused(f"{instance} has not been started on {self._node} yet")
                await self._wait(news, LOOK_S)
                news.clear()
        return found

    async def _found(self, instance: str) -> Container | None:
        """What runs of an instance, or else its newest container; None: there is none now."""
        try:
            listed = await self.engine().list()
        except Unavailable:
            return None
        own = [it for it in listed if it.instance == instance and not it.stranger]
        return max(own, key=lambda it: (it.state == "running", it.created_s), default=None)

    def _check_placed(self, instance: str) -> None:
        at = self._state.placements.get(instance)
        if at is None:
            raise Refused(f"{instance} is not wanted any more")
        if at.node != self._node:
            raise Refused(f"{instance} was placed on {at.node}")

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Event]:
        """Set at each news from now on: also at what happens while the engine is asked."""
        news = asyncio.Event()
        self._news.add(news)
        try:
            yield news
        finally:
            self._news.discard(news)

    async def _wait(self, news: asyncio.Event, within_s: float) -> None:
        await news_or_time(news, self._clock.now_s() + within_s, self._clock)

    def engine(self) -> Engine:
        """Raises `Refused` where nothing runs at all."""
        if self._engine is None:
            raise Refused(f"{self._node} runs no instances")
        return self._engine
