"""Virtual time: one heap of callbacks, one source of chance, and what happened last."""

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any

from msgspec import Struct

from roheletd.raft.values import Configuration, Entry, Snapshot

TRACE_LINES = 40
EVENTS_MAX = 80_000
"""An endless exchange of messages is a defect, and must not hang the run that finds it."""


class BrokenError(AssertionError):
    """An invariant does not hold. `rule` is its name."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


def in_short(detail: Any) -> str:
    """A message or a write in one line: what is as usual is left out, and data is a size."""
    match detail:
        case Entry():
            return f"{detail.term}.{detail.index}{'cnm'[detail.kind]}"
        case Snapshot():
            return f"{detail.term}.{detail.index}({len(detail.data)} bytes)"
        case Configuration():
            return f"voters {' '.join(detail.voters)} learners {' '.join(detail.learners)}"
        case bytes():
            return f"{len(detail)} bytes"
        case tuple() | list():
            return f"[{' '.join(in_short(each) for each in detail)}]"
        case Struct():
            named = {name: getattr(detail, name) for name in detail.__struct_fields__}
            way = f" {named.pop('sender')}>{named.pop('to')}" if "sender" in named else ""
            told = [f"{name}={in_short(value)}" for name, value in named.items() if value != ()]
            return f"{type(detail).__name__}{way} {' '.join(told)}"
    return str(detail)


def must(holds: bool, rule: str, *detail: object) -> None:  # noqa: FBT001
    """`detail` is made into text only where somebody will read it."""
    if not holds:
        raise BrokenError(rule, " ".join(map(in_short, detail)))


class World:
    """Runs callbacks in the order of their times; equal times run in the order of asking."""

    def __init__(self, seed: int, *, chatty: bool = False) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.now = 0.0
        self.events = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._recent: deque[tuple[float, str, str, Any]] = deque(
            maxlen=None if chatty else TRACE_LINES
        )

    def at(self, time: float, callback: Callable[..., None], *args: Any) -> None:
        self._sequence += 1
        heappush(self._heap, (max(time, self.now), self._sequence, callback, args))

    def after(self, delay_s: float, callback: Callable[..., None], *args: Any) -> None:
        self.at(self.now + delay_s, callback, *args)

    def run_until(self, time: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= time:
            self.now, _, callback, args = heappop(heap)
            self.events += 1
            if self.events > EVENTS_MAX:
                raise BrokenError("no message storm", f"more than {EVENTS_MAX} events")
            callback(*args)
        self.now = time

    def note(self, who: str, what: str, detail: Any = "") -> None:
        self._recent.append((self.now, who, what, detail))

    def trace(self) -> list[str]:
        """What was noted last; made into text only where somebody reads it."""
        return [
            f"{at:9.4f} {who:3} {what:9} {in_short(detail)}"
            for at, who, what, detail in self._recent
        ]

    def digest(self) -> str:
        return blake2b("\n".join(self.trace()).encode(), digest_size=8).hexdigest()

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability
