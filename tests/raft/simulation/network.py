"""Links that lose, repeat, delay and reorder, in each direction on its own; and their outage."""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from roheletd.raft.values import (
    EVERYBODY,
    AnyMessage,
    Message,
    SnapshotChunk,
    SnapshotRequest,
    decode_message,
    encode_message,
)
from tests.raft.simulation.world import World

Pair = tuple[str, str]


class Weather(Struct, kw_only=True):
    """How bad the links are. Probabilities per message and receiver."""

    loss: float = 0.0
    repeated: float = 0.0
    slow: float = 0.0
    delay_s: float = 0.02
    slow_s: float = 0.8


class Network:
    """Carries messages between the `doors`: what to call for a message, by node.

    `lag_s` lets a plan hold back what it chooses, by receiver and message.
    """

    def __init__(self, world: World, weather: Weather, *, encoded: bool = False) -> None:
        self.world = world
        self.weather = weather
        self.encoded = encoded
        self.doors: dict[str, Callable[[AnyMessage], None]] = {}
        self.sent = 0
        self.lag_s: Callable[[str, AnyMessage], float] | None = None
        self._outages = 0
        self._cuts: dict[Pair, int] = {}

    def send(self, message: Message) -> None:
        if self.encoded:
            message = decode_message(encode_message(message))
        if message.to != EVERYBODY:
            self._send(message.sender, message.to, message)
            return
        for name in self.doors:
            if name != message.sender:
                self._send(message.sender, name, message)

    def cut(self, pairs: Iterable[Pair]) -> Callable[[], None]:
        """Nothing passes from the first to the second of each, until what is returned is called."""
        held = list(pairs)
        for pair in held:
            self._cuts[pair] = self._cuts.get(pair, 0) + 1

        def mend() -> None:
            for pair in held:
                self._cuts[pair] -= 1

        return mend

    def outage(self) -> Callable[[], None]:
        self._outages += 1

        def end() -> None:
            self._outages -= 1

        return end

    def _send(self, sender: str, to: str, message: Any) -> None:
        # The pieces of a snapshot are many by nature: counted is how often one is begun.
        self.sent += not isinstance(message, SnapshotChunk | SnapshotRequest) or not message.offset
        if to not in self.doors or self._outages or self._cuts.get((sender, to)):
            return
        weather, rng = self.weather, self.world.rng
        if weather.loss and rng.random() < weather.loss:
            return
        lag_s = self.lag_s(to, message) if self.lag_s else 0.0
        copies = 2 if weather.repeated and rng.random() < weather.repeated else 1
        for _ in range(copies):
            worst = weather.delay_s
            if weather.slow and rng.random() < weather.slow:
                worst = weather.slow_s
            delay_s = 0.001 + lag_s + worst * rng.random()
            self.world.after(delay_s, self._deliver, sender, to, message)

    def _deliver(self, sender: str, to: str, message: Any) -> None:
        """A cut also swallows what is under way."""
        if not self._outages and not self._cuts.get((sender, to)):
            self.doors[to](message)
