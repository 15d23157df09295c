"""How the events of a node get to whoever reads them, there or on another node: both ends.

Nothing is kept for a reader: one that is slower than events happen finds some gone from the ring,
and is told how many.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager

from roheletd.api.collaborators import Conversation
from roheletd.api.streaming import ended
from roheletd.clock import Clock
from roheletd.cluster.events import Bookmark, Event, EventQuery, Events, concerns
from roheletd.cluster.flow import Allowance
from roheletd.cluster.streams import (
    End,
    EventsWanted,
    Happened,
    Lines,
    LogLine,
    Wanted,
    cost_of_event,
    pieces_of_events,
)
from roheletd.errors import Unavailable
from roheletd.loops.ceiling import afford

SILENT_S = 10.0
"""How long a node may take for the next piece of what has happened so far."""

Hear = Callable[[Happened | Lines], Awaitable[None]]
Talk = Callable[[str, Wanted], AbstractAsyncContextManager[Conversation]]


class EventStreams:
    """Serves any number of readers."""

    def __init__(self, *, events: Events, clock: Clock) -> None:
        self._events = events
        self._clock = clock

    async def pass_on(
        self, wanted: EventsWanted, talk: Conversation, allowance: Allowance | None
    ) -> None:
        """All that are wanted; of those that are followed, until the reader goes away."""
        news, bookmark, begun_s = asyncio.Event(), wanted.after, self._clock.wall_s()

        def listen(_event: Event) -> None:
            news.set()

        self._events.listeners.add(listen)
        try:
            while True:
                news.clear()
                missing, found = self._events.beyond(bookmark)
                if missing:
                    await talk.send(_note(f"{missing} events before these are not kept any more"))
                if found:
                    bookmark = Bookmark(found[-1].seq, found[-1].at_s)
                chosen = _chosen(found, wanted, begun_s)
                if chosen or not wanted.follow:
                    for piece in pieces_of_events(chosen, bookmark):
                        await self._send(piece, talk, allowance)
                if not wanted.follow:
                    return
                await news.wait()
        finally:
            self._events.listeners.discard(listen)

    async def _send(self, piece: Happened, talk: Conversation, allowance: Allowance | None) -> None:
        if allowance is not None:
            await afford(allowance, sum(map(cost_of_event, piece.events)), self._clock)
        await talk.send(piece)


def _chosen(events: Iterable[Event], wanted: EventsWanted, begun_s: float) -> list[Event]:
    """What is old is so by this node's own clock, when it was asked."""
    since_s = 0.0 if wanted.since_s is None else begun_s - wanted.since_s
    return [
        event
        for event in events
        if event.at_s >= since_s and (not wanted.subject or concerns(event, wanted.subject))
    ]


def _note(text: str) -> Lines:
    return Lines((LogLine(text, "note"),))


async def hear_events(
    talk_with: Talk, node: str, asked: EventQuery, after: Bookmark, hear: Hear
) -> None:
    """All of one conversation, as a reader. Raises `Refused` or `Unavailable` where it is broken.

    A note comes as lines. Who follows waits for as long as the other node is there.
    """
    wanted = EventsWanted(
        after=after, follow=asked.follow, subject=asked.subject, since_s=asked.since_s
    )
    async with talk_with(node, wanted) as talk:
        while True:
            try:
                async with asyncio.timeout(None if asked.follow else SILENT_S):
                    piece = await talk.receive()
            except TimeoutError:
                raise Unavailable(f"{node} was silent for {SILENT_S:g} s") from None
            match piece:
                case Happened() | Lines():
                    await hear(piece)
                case End(kind="", reason=""):
                    return
                case End():
                    raise ended(piece)
