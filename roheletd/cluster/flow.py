"""The flow of one stream between two nodes, over links that may lose, double and reorder. Pure.

    asker                               owner
      Open(id)            -->                       every second until there is an offer
                          <--            Offer      a token that only this start of the owner makes
      Chunk 1: what is wanted -->
      Chunk 2, 3 ...      <-->  Chunk 1, 2, ...     numbered in each direction
      Grant               <-->  Grant               what has come, and how much may be sent in all
      Abort               <-->  Abort               out of order: the stream is no more

Chunks are delivered once and in order: what is not acknowledged in time is sent again, all of it.
A side sends no more than the other has granted, and grants follow what was read: whoever does not
read stops the other side's reading of its engine, and nothing piles up in between.

All of it travels in sealed frames. A frame from before may be played back to a node that was
restarted since, hence the token: no chunk counts without one of this very start. Within one start
the frames themselves are told from replays, and the id of a stream is used once.
"""

from collections import deque

import msgspec
from msgspec import Struct

from roheletd.decoding import decoded

WINDOW_BYTES = 128 << 10
"""How much may be on its way, or wait for its reader, in one direction of one stream."""

CHUNK_COST = 2 << 10
"""Beside its bytes, so that no more are on their way than a receiver of frames tells apart."""

AGAIN_S = 1.0
AGAIN_S_MAX = 8.0
BURST_S = 2.0


class Open(Struct, frozen=True, array_like=True, tag="open"):
    """Somebody would like to talk; `id` are 8 random bytes."""

    id: bytes


class Offer(Struct, frozen=True, array_like=True, tag="offer"):
    """Go ahead, with the stream `id + token`."""

    id: bytes
    token: bytes


class Chunk(Struct, frozen=True, array_like=True, tag="chunk"):
    """An encrypted piece."""

    stream: bytes
    number: int
    body: bytes


class Grant(Struct, frozen=True, array_like=True, tag="grant"):
    """All below number `expected` have come; the cost of all chunks may reach `limit`."""

    stream: bytes
    expected: int
    limit: int


class Abort(Struct, frozen=True, array_like=True, tag="abort"):
    """The stream is no more. Never answered."""

    stream: bytes
    reason: str


Message = Open | Offer | Chunk | Grant | Abort

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Raises `msgspec.MsgspecError` for what this version does not know."""
    return decoded(_decoder, data)


class Outgoing:
    """What one side sends: no more than was granted, again until it has come."""

    def __init__(self) -> None:
        self._number = 0
        self._spent = 0
        self._limit = WINDOW_BYTES
        self._unheard: deque[tuple[int, bytes]] = deque()
        self._again_s = AGAIN_S
        self._due_s = 0.0

    @property
    def settled(self) -> bool:
        """Whether all of it has come."""
        return not self._unheard

    @property
    def due_s(self) -> float:
        """When to send again what was not heard of."""
        return self._due_s if self._unheard else float("inf")

    def fits(self, size: int) -> bool:
        return self._spent + size + CHUNK_COST <= self._limit

    def add(self, body: bytes, now_s: float) -> int:
        """The number of a new chunk, which is to be sent now."""
        if not self._unheard:
            self._due_s = now_s + self._again_s
        self._number += 1
        self._spent += len(body) + CHUNK_COST
        self._unheard.append((self._number, body))
        return self._number

    def granted(self, expected: int, limit: int, now_s: float) -> None:
        """Older grants than were heard change nothing; nobody is believed what was not sent."""
        if expected > self._number + 1:
            return
        self._limit = max(self._limit, limit)
        before = len(self._unheard)
        while self._unheard and self._unheard[0][0] < expected:
            self._unheard.popleft()
        if len(self._unheard) < before:
            self._again_s = AGAIN_S
            self._due_s = now_s + self._again_s

    def again(self, now_s: float) -> list[tuple[int, bytes]]:
        """What to send once more now."""
        if not self._unheard or now_s < self._due_s:
            return []
        self._again_s = min(AGAIN_S_MAX, 2 * self._again_s)
        self._due_s = now_s + self._again_s
        return list(self._unheard)


class Incoming:
    """What one side gets, put in order, and kept until it is read."""

    def __init__(self) -> None:
        self._expected = 1
        self._read = 0
        self._held = 0
        self._ready: deque[bytes] = deque()
        self._early: dict[int, bytes] = {}
        self._said = (1, WINDOW_BYTES)

    def take(self, number: int, body: bytes) -> None:
        """One chunk as it came; more than was granted is not kept."""
        cost = len(body) + CHUNK_COST
        if number < self._expected or number in self._early:
            return
        if self._held + cost > WINDOW_BYTES:
            return
        self._held += cost
        self._early[number] = body
        while (found := self._early.pop(self._expected, None)) is not None:
            self._ready.append(found)
            self._expected += 1

    def read(self) -> bytes | None:
        """The next chunk in order, if it has come."""
        if not self._ready:
            return None
        body = self._ready.popleft()
        self._held -= len(body) + CHUNK_COST
        self._read += len(body) + CHUNK_COST
        return body

    @property
    def grant(self) -> tuple[int, int]:
        return self._expected, self._read + WINDOW_BYTES

    @property
    def owes(self) -> bool:
        """Whether the other side does not know yet what has come."""
        return self.grant != self._said

    @property
    def owes_much(self) -> bool:
        """Whether the other side may soon have to wait."""
        return self.grant[1] - self._said[1] >= WINDOW_BYTES // 4

    def say(self) -> tuple[int, int]:
        """The grant, as it goes out now."""
        self._said = self.grant
        return self._said


class Allowance:
    """How much one stream may cost the brokers: a bucket that fills with time."""

    def __init__(self, bytes_per_s: int, now_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._most = bytes_per_s * BURST_S
        self._left = self._most
        self._at_s = now_s

    def take(self, size: int, now_s: float) -> bool:
        """Take it now, or find that there is not enough."""
        if self.wait_s(size, now_s) > 0:
            return False
        self._left -= size
        return True

    def wait_s(self, size: int, now_s: float) -> float:
        """How long until there is enough; for what never fits, until it is full."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._bytes_per_s)
        self._at_s = now_s
        return max(0.0, min(size, self._most) - self._left) / self._bytes_per_s
