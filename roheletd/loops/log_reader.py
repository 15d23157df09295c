"""Reads the logs of a service or of one instance, from whichever nodes they are on."""

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import partial

from roheletd.api.collaborators import Conversation, Emit
from roheletd.cluster.state import ClusterState
from roheletd.cluster.streams import (
    End,
    Lines,
    LogLine,
    LogQuery,
    LogsWanted,
    Mark,
    Wanted,
)
from roheletd.errors import Refused, RoheletError, Unavailable
from roheletd.loops.following import Following, Sources
from roheletd.loops.streams import Streams
from roheletd.model import Placement

AGAIN_S = 2.0


class LogReader:
    """One instance after the other; those that are followed, side by side."""

    def __init__(self, *, streams: Streams, state: ClusterState) -> None:
        self._streams = streams
        self._state = state
        self._following = Following()

    def wake(self) -> None:
        """The agreed state has changed."""
        self._following.wake()

    def talk(self, node: str, wanted: Wanted) -> AbstractAsyncContextManager[Conversation]:
        return self._streams.talk(node, wanted)

    async def read(self, asked: LogQuery, emit: Emit) -> None:
        """Until all is said or, if it is followed, until the service is gone.

        Raises why it is not complete; what of it could be had was emitted.
        """
        if asked.follow:
            await self._follow(asked, emit)
            return
        faults: list[RoheletError] = []
        for at in self._wanted(asked):
            try:
                await self._one(at, asked, emit, Mark())
            except (Refused, Unavailable) as error:
                await emit(at, (LogLine(str(error), "note"),))
                faults.append(error)
        if faults:
            raise faults[0]

    def _wanted(self, asked: LogQuery) -> list[Placement]:
        return [
            at
            for at in self._state.placements_of(asked.service)
            if asked.instance in ("", at.instance) and asked.node in ("", at.node)
        ]

    async def _follow(self, asked: LogQuery, emit: Emit) -> None:
        def wanted() -> Sources:
            if asked.service not in self._state.services:
                raise Refused(f"{asked.service} was removed")
            if asked.instance and self._state.placements.get(asked.instance) is None:
                raise Refused(f"{asked.instance} is not wanted any more")
            return {
                f"log of {at.instance} on {at.node}": partial(self._again, at, asked, emit)
                for at in self._wanted(asked)
            }

        await self._following.follow(wanted)

    async def _again(self, at: Placement, asked: LogQuery, emit: Emit) -> None:
        """One instance; of a service, others are worth reading while this one cannot be."""
        said, mark = "", Mark()
        while True:
            try:
                await self._one(at, asked, emit, mark)
            except (Refused, Unavailable) as error:
                if asked.instance and isinstance(error, Unavailable):
                    raise
                if str(error) != said:
                    said = str(error)
                    await emit(at, (LogLine(said, "note"),))
            await asyncio.sleep(AGAIN_S)

    async def _one(self, at: Placement, asked: LogQuery, emit: Emit, mark: Mark) -> None:
        """From where `mark` has come to before, as far as the engine stamps its lines."""
        after = mark.resume()
        wanted = LogsWanted(
            instance=at.instance,
            follow=asked.follow,
            since_s=asked.since_s,
            tail=None if after else 0 if mark.begun else asked.tail,
            after=after,
        )
        async with self._streams.talk(at.node, wanted) as talk:
            while True:
                match await talk.receive():
                    case Lines(lines=lines) if lines and lines[0].source == "note":
                        await emit(at, lines)
                    case Lines(lines=lines):
                        await emit(at, tuple(mark.fresh(list(lines))))
                    case End(kind="refused", reason=reason):
                        raise Refused(reason)
                    case End(kind="unavailable", reason=reason):
                        raise Unavailable(reason)
                    case End():
                        return
