"""Reads the events of all nodes, or of one, when somebody asks; at rest nobody hears of others'.

What has happened so far is merged in order of time. What happens next is told as it comes in: each
node is then read for itself, and one that was lost goes on from where it was read to.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

from msgspec.structs import replace

from roheletd.api.collaborators import EmitEvents
from roheletd.cluster.events import (
    MERGED_EVENTS_MAX,
    Bookmark,
    Event,
    EventNote,
    EventQuery,
    Merged,
)
from roheletd.cluster.state import ClusterState
from roheletd.cluster.streams import Happened, Lines
from roheletd.errors import Refused, RoheletError, Unavailable
from roheletd.loops.event_streams import hear_events
from roheletd.loops.following import Following, Sources
from roheletd.loops.streams import Streams

AT_ONCE_MAX = 16
"""How many nodes are asked at the same time."""

AGAIN_S = 2.0


class EventReader:
    """Asks the nodes of the cluster, this one like the others."""

    def __init__(self, *, node: str, streams: Streams, state: ClusterState) -> None:
        self._node = node
        self._streams = streams
        self._state = state
        self._following = Following()

    def wake(self) -> None:
        """The agreed state has changed."""
        self._following.wake()

    def nodes(self) -> frozenset[str]:
        """Those that have events: each runs a daemon."""
        return frozenset((*self._state.members, self._node))

    async def read(self, asked: EventQuery, emit: EmitEvents) -> None:
        """Until all is said; what is followed has no end.

        What cannot be had of a node is said in a note, or raised where only that node was asked.
        """
        found, notes, faults = Merged(), list[EventNote](), dict[str, RoheletError]()
        bookmarks = await self._so_far(asked, found, notes, faults)
        await emit(found.events)
        if asked.node and faults:
            raise faults[asked.node]
        notes += [_unheard(node, error) for node, error in sorted(faults.items())]
        if found.left_out:
            notes.append(EventNote(self._node, _left_out(found.left_out)))
        await emit(notes)
        if asked.follow:
            await self._follow(asked, bookmarks, emit)

    async def _so_far(
        self,
        asked: EventQuery,
        found: Merged,
        notes: list[EventNote],
        faults: dict[str, RoheletError],
    ) -> Mapping[str, Bookmark]:
        bookmarks, at_once = dict[str, Bookmark](), asyncio.Semaphore(AT_ONCE_MAX)
        once = replace(asked, follow=False)

        async def read(node: str) -> None:
            events = list[Event]()

            async def hear(piece: Happened | Lines) -> None:
                if isinstance(piece, Happened):
                    events.extend(piece.events)
                    bookmarks[node] = piece.last
                else:
                    notes.extend(_notes(node, piece))

            async with at_once:
                try:
                    await hear_events(self._streams.talk, node, once, Bookmark(asked.after), hear)
                except (Refused, Unavailable) as error:
                    faults[node] = error
            found.add(events)

        async with asyncio.TaskGroup() as tasks:
            for node in sorted(self._wanted(asked)):
                tasks.create_task(read(node), name=f"events of {node}")
        return bookmarks

    def _wanted(self, asked: EventQuery) -> frozenset[str]:
        return frozenset((asked.node,)) if asked.node else self.nodes()

    async def _follow(
        self, asked: EventQuery, bookmarks: Mapping[str, Bookmark], emit: EmitEvents
    ) -> None:
        def wanted() -> Sources:
            nodes = self._wanted(asked)
            if gone := nodes - self.nodes():
                raise Refused(f"node {next(iter(gone))} was removed")
            return {
                f"events of {node}": partial(
                    self._again, node, asked, bookmarks.get(node, Bookmark()), emit
                )
                for node in nodes
            }

        await self._following.follow(wanted)

    async def _again(
        self, node: str, asked: EventQuery, bookmark: Bookmark, emit: EmitEvents
    ) -> None:
        """One node; others are worth reading while this one cannot be."""
        said = ""

        async def hear(piece: Happened | Lines) -> None:
            nonlocal bookmark, said
            if isinstance(piece, Happened):
                bookmark, said = piece.last, ""
                await emit(piece.events)
            else:
                await emit(_notes(node, piece))

        while True:
            # What comes after a bookmark is new enough, however long the node was away.
            since_s = None if bookmark.seq else asked.since_s
            try:
                wanted = replace(asked, since_s=since_s)
                await hear_events(self._streams.talk, node, wanted, bookmark, hear)
            except (Refused, Unavailable) as error:
                if asked.node:
                    raise
                if str(error) != said:
                    said = str(error)
                    await emit((_unheard(node, error),))
            await asyncio.sleep(AGAIN_S)


def _notes(node: str, piece: Lines) -> list[EventNote]:
    return [EventNote(node, line.text) for line in piece.lines]


def _unheard(node: str, error: RoheletError) -> EventNote:
    return EventNote(node, f"its events are not all shown: {error}")


def _left_out(count: int) -> str:
    return (
        f"{count} older events are left out, beyond the newest {MERGED_EVENTS_MAX}: ask about one "
        "name, one node, or a shorter time"
    )
