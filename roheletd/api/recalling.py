"""The verb that tells what happened on all nodes, whichever is asked."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from roheletd.api.collaborators import AllEvents
from roheletd.api.explaining import or_rather
from roheletd.api.flow import NDJSON, Flow, Read, Write, last_line
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.api.views import Request, Subject
from roheletd.cluster.events import Event, EventNote, EventQuery
from roheletd.errors import InvalidInput, Unavailable
from roheletd.fields import Name

_encoder = msgspec.json.Encoder()


class EventsAsked(Request, frozen=True):
    """Events of all nodes, or of one; all of them, or those about one thing."""

    node: Annotated[Name | None, Meta(description="only what this node saw")] = None
    subject: Annotated[
        Subject | None,
        Meta(
            description="only about this service and its instances, instance, or node and its own"
        ),
    ] = None
    follow: bool = False
    since_s: Annotated[float, Meta(ge=0, description="only events of so long ago")] | None = None
    after: Annotated[int, Meta(ge=0, description="with `node`: only after its event `seq`")] = 0


class Recalling(Grounds):
    """What happened, wherever it was seen."""

    all_events: AllEvents | None = None
    """Set by whoever made this, once there is a way to other nodes."""

    async def recall(self, request: EventsAsked, _id: str) -> Flow:
        """What happened on all nodes, in order of time: one JSON object for each event."""
        if self.all_events is None:
            raise Unavailable("this daemon asks no other nodes")
        source, query = self.all_events, self._event_query(request, self.all_events)

        async def run(_read: Read, write: Write) -> None:
            turn, is_silent = asyncio.Lock(), True

            async def emit(records: Sequence[Event | EventNote]) -> None:
                nonlocal is_silent
                is_silent &= not any(isinstance(it, Event) for it in records)
                async with turn:
                    await write(_encoder.encode_lines(records))

            await write(b"")
            unknown = self._unknown_subject(query.subject)
            if unknown and query.follow:
                await emit([EventNote(self._node, unknown)])
            await source.read(query, emit)
            if unknown and is_silent:
                raise NotFound(f"no event is kept, and {unknown}")
            await write(last_line())

        return Flow(media_type=NDJSON, run=run, closing=last_line)

    def _event_query(self, request: EventsAsked, source: AllEvents) -> EventQuery:
        node = request.node or ""
        if request.after and not node:
            raise InvalidInput("$.after", "expected with `node`: each node has numbers of its own")
        if node and node not in source.nodes():
            raise NotFound(
                f"there is no node {node} in the cluster{or_rather(node, source.nodes())}"
            )
        return EventQuery(
            node=node,
            subject=request.subject or "",
            follow=request.follow,
            since_s=request.since_s,
            after=request.after,
        )

    def _unknown_subject(self, name: str) -> str:
        """Of what is there no more, there may be events all the same."""
        state = self._state
        known = {*state.services, *state.placements, *state.registrations, *state.members}
        if not name or name in known or name.rpartition(".")[0] in state.services:
            return ""
        return f"there is no service, instance or node {name} now{or_rather(name, known)}"
