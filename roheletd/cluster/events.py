"""What happened, one line each, with the reason: the ring that `roheletd events` reads."""

from collections import deque
from collections.abc import Callable

from msgspec import Struct

KEPT_EVENTS = 1000


class Event(Struct, frozen=True, kw_only=True):
    """`seq` counts from 1 on each node since its start; `at_s` is wall-clock, for people only."""

    seq: int
    at_s: float
    node: str
    kind: str
    subject: str
    reason: str = ""


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
            subject=subject,
            reason=reason,
        )
        self._ring.append(event)
        for listener in tuple(self.listeners):
            listener(event)

    def after(self, seq: int) -> tuple[Event, ...]:
        """Events newer than `seq`, oldest first, as far back as they are kept."""
        return tuple(event for event in self._ring if event.seq > seq)
