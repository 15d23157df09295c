"""What happened, one line each, with the reason: the ring of each node, and those of all merged.

A node keeps its own events and nobody else's; who wants to hear of all nodes asks them.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable

from msgspec import Struct

KEPT_EVENTS = 1000
MERGED_EVENTS_MAX = 10_000
"""Of all nodes together; whoever asks holds them for a moment."""

TEXT_CHARS_MAX = 4096
"""Of a subject or a reason: a thousand of them have to fit into a small node's memory."""


class Event(Struct, frozen=True, kw_only=True):
    """`seq` counts from 1 on each node since its start; `at_s` is wall-clock, for people only."""

    seq: int
    at_s: float
    node: str
    kind: str
    subject: str
    reason: str = ""


class EventNote(Struct, frozen=True):
    """A word of ours on what is missing of a node's events, and why."""

    node: str
    note: str


class EventQuery(Struct, frozen=True, kw_only=True):
    """Whose events, and which of them. Empty `node`: of all; empty `subject`: whatever about.

    `after` is the number of an event of that one node; `since_s`: those of so long ago.
    """

    node: str = ""
    subject: str = ""
    follow: bool = False
    since_s: float | None = None
    after: int = 0


class Bookmark(Struct, frozen=True, array_like=True):
    """The last event of a node that was read; `at_s` tells of which of its starts that was."""

    seq: int = 0
    at_s: float | None = None


class Events:
    """The last events of this node. Listeners are told of each new one at once."""

    def __init__(self, *, node: str, wall_s: Callable[[], float]) -> None:
        self._node = node
        self._wall_s = wall_s
        self._ring: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._seq = 0
        self.listeners: set[Callable[[Event], None]] = set()

    def add(self, kind: str, subject: str, reason: str = "") -> None:
        self._seq += 1
        event = Event(
            seq=self._seq,
            at_s=self._wall_s(),
            node=self._node,
            kind=kind,
            subject=_shortened(subject),
            reason=_shortened(reason),
        )
        self._ring.append(event)
        for listener in tuple(self.listeners):
            listener(event)

    def after(self, seq: int) -> tuple[Event, ...]:
        """Events newer than `seq`, oldest first, as far back as they are kept."""
        return tuple(event for event in self._ring if event.seq > seq)

    def beyond(self, bookmark: Bookmark) -> tuple[int, tuple[Event, ...]]:
        """How many newer events are not kept any more, and those that are.

        A bookmark of an earlier start of this daemon is before all of them.
        """
        if not self._knows(bookmark):
            bookmark = Bookmark()
        found = self.after(bookmark.seq)
        missing = found[0].seq - bookmark.seq - 1 if found and bookmark.seq else 0
        return missing, found

    def _knows(self, bookmark: Bookmark) -> bool:
        if bookmark.seq > self._seq:
            return False
        at = bookmark.seq - self._seq - 1
        if bookmark.at_s is None or not bookmark.seq or -at > len(self._ring):
            return True
        return self._ring[at].at_s == bookmark.at_s


def concerns(event: Event, name: str) -> bool:
    """Whether it is about what is called so: an instance, a service or one of its, or a node.

    What a node saw is about that node, too.
    """
    return event.node == name or any(
        it == name or (it.startswith(f"{name}.") and it[len(name) + 1 :].isdecimal())
        for it in event.subject.split(", ")
    )


def merged(*sources: Iterable[Event]) -> list[Event]:
    """In order of time, and those of one source in their own: clocks are set back at times."""
    return list(heapq.merge(*sources, key=lambda event: (event.at_s, event.node)))


class Merged:
    """The events of several nodes, and no more than the newest of them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.left_out = 0

    def add(self, events: Iterable[Event]) -> None:
        """Those of one node."""
        both = merged(self.events, events)
        self.left_out += max(0, len(both) - MERGED_EVENTS_MAX)
        self.events = both[-MERGED_EVENTS_MAX:]


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
