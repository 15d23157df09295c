"""What others want of the instances of this node: their logs, and commands within them.

A log that is followed goes on after a restart, and in the next container of the same instance. It
ends when the instance is no longer placed here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from roheletd.clock import Clock
from roheletd.cluster.container import Container
from roheletd.cluster.flow import Allowance
from roheletd.cluster.state import ClusterState
from roheletd.cluster.streams import (
    Batch,
    Begun,
    Conversation,
    End,
    ExecWanted,
    Exit,
    Input,
    LogsWanted,
    Mark,
    Output,
    Resize,
    pieces_of,
)
from roheletd.engines import Engine, ExecSession
from roheletd.engines.docker_streams import unix_s
from roheletd.errors import Refused, RoheletError, Unavailable
from roheletd.loops.ceiling import Ceiling, afford

SETTLE_S = 0.3
LOOK_S = 5.0
"""News wake whoever waits; this is for those that were missed."""


class InstanceStreams:
    """Serves one conversation after the other, several at once. `engine` None: nothing runs."""

    def __init__(
        self,
        *,
        engine: Engine | None,
        node: str,
        state: ClusterState,
        clock: Clock,
        bytes_per_s_max: int,
    ) -> None:
        self._engine = engine
        self._node = node
        self._state = state
        self._clock = clock
        self._bytes_per_s_max = bytes_per_s_max
        self._news: set[asyncio.Event] = set()

    def wake(self) -> None:
        """Something became of an instance, or of a placement."""
        for event in self._news:
            event.set()

    async def serve(self, talk: Conversation, *, remote: bool) -> None:
        """All of one conversation. Over the brokers it has its ceiling."""
        try:
            wanted = await talk.receive()
            allowance = None
            if remote:
                allowance = Allowance(self._bytes_per_s_max, self._clock.now_s())
            if isinstance(wanted, LogsWanted):
                await self._logs(wanted, Ceiling(talk, allowance, self._clock, wanted.follow))
            elif isinstance(wanted, ExecWanted):
                await self._exec(wanted, talk, allowance)
            end = End()
        except Unavailable as error:
            end = End("unavailable", str(error))
        except RoheletError as error:
            end = End("refused", str(error))
        await talk.send(end)

    async def _logs(self, wanted: LogsWanted, out: Ceiling) -> None:
        instance, engine = wanted.instance, self._engine_or_refuse()
        known = await self._container(instance, wait=wanted.follow)
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
        await self._next_news(SETTLE_S)  # engines tell of an end before their lists show it
        while True:
            found = await self._found(instance)
            if found is not None and found.state == "running":
                return found
            self._check_placed(instance)
            if not said:
                why = found.reason if found is not None else ""
                await out.note(f"ended{f' ({why})' if why else ''}; waiting for its next start")
                said = True
            await self._next_news(LOOK_S)

    async def _container(self, instance: str, *, wait: bool) -> Container:
        while (found := await self._found(instance)) is None:
            self._check_placed(instance)
            if not wait:
                raise Refused(f"{instance} has not been started on {self._node} yet")
            await self._next_news(LOOK_S)
        return found

    async def _found(self, instance: str) -> Container | None:
        """What runs of an instance, or else its newest container; None: there is none now."""
        try:
            listed = await self._engine_or_refuse().list()
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

    async def _next_news(self, within_s: float) -> None:
        event = asyncio.Event()
        self._news.add(event)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await event.wait()
        finally:
            self._news.discard(event)

    def _engine_or_refuse(self) -> Engine:
        if self._engine is None:
            raise Refused(f"{self._node} runs no instances")
        return self._engine

    async def _exec(
        self, wanted: ExecWanted, talk: Conversation, allowance: Allowance | None
    ) -> None:
        engine = self._engine_or_refuse()
        known = await self._container(wanted.instance, wait=False)
        if known.state != "running":
            why = f": {known.reason}" if known.reason else ""
            raise Refused(f"{wanted.instance} does not run on {self._node} now{why}")
        session = await engine.exec_session(known.id, wanted)
        feeding = asyncio.create_task(_feed(session, talk), name=f"input of {wanted.instance}")
        try:
            await talk.send(Begun())
            while (found := await session.read()) is not None:
                data, is_error = found
                if allowance is not None:
                    await afford(allowance, len(data), self._clock)
                await talk.send(Output(data, is_error))
            await talk.send(Exit(*await session.exit_code()))
        finally:
            feeding.cancel()
            await session.close()


async def _feed(session: ExecSession, talk: Conversation) -> None:
    """What somebody types. When the other side is lost, so is the whole conversation."""
    with suppress(Unavailable):
        while True:
            match await talk.receive():
                case Input(data=b""):
                    await session.end_input()
                case Input(data=data):
                    await session.write(data)
                case Resize(rows=rows, columns=columns):
                    await session.resize(rows, columns)
