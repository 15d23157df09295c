"""What the nodes of a test have seen, without any nodes."""

from collections.abc import Sequence

from roheletd.api.collaborators import EmitEvents
from roheletd.cluster.events import Event, EventNote, EventQuery, concerns
from roheletd.errors import Unavailable


class Rumours:
    """`pi` and `old` have seen something, and `mute` does not answer."""

    def __init__(self) -> None:
        self.asked: list[EventQuery] = []
        self.told: Sequence[Event] = (
            Event(seq=1, at_s=1.0, node="old", kind="ended", subject="web.1", reason="exit code 3"),
            Event(seq=1, at_s=2.0, node="pi", kind="running", subject="web.0"),
            Event(seq=2, at_s=3.0, node="old", kind="ended", subject="gone.1"),
        )

    def nodes(self) -> frozenset[str]:
        return frozenset(("pi", "old", "mute"))

    async def read(self, asked: EventQuery, emit: EmitEvents) -> None:
        self.asked.append(asked)
        await emit(
            [
                event
                for event in self.told
                if asked.node in ("", event.node)
                and (not asked.subject or concerns(event, asked.subject))
            ]
        )
        if asked.node == "mute":
            raise Unavailable("mute does not answer within 5 s")
        if not asked.node:
            await emit([EventNote("mute", "its events are not all shown: it does not answer")])
