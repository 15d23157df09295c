"""A conversation with another node, over MQTT."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from roheletd.clock import Clock
from roheletd.cluster import streams
from roheletd.cluster.flow import Abort, Chunk, Grant, Incoming, Outgoing
from roheletd.cluster.flow import Message as Word
from roheletd.cluster.streams import Piece
from roheletd.errors import RoheletError, Unavailable
from roheletd.vault import Veil

SILENCE_S = 30.0
BEAT_S = 5.0
ANSWER_S = 0.1
"""How long the other side may wait to hear that something has come."""

_LOOK_S = 1.0


class Session:
    """One end of a conversation with another node.

    `say` hands a word over to the broker; `lost` gives why the other node cannot be there any
    more. `tend` has to run beside it.
    """

    def __init__(
        self,
        stream: bytes,
        node: str,
        *,
        veil: Veil,
        say: Callable[[str, Word], None],
        lost: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self.stream = stream
        self.node = node
        self.failure = ""
        self.on_failure: Callable[[], None] = lambda: None
        self._veil = veil
        self._say = say
        self._lost = lost
        self._clock = clock
        self._out = Outgoing()
        self._in = Incoming()
        self._woken = asyncio.Event()
        self._heard_s = self._said_s = clock.now_s()
        self._owed_s = 0.0
        self._turn = asyncio.Lock()
        self._bells: deque[asyncio.Future[None]] = deque()

    async def send(self, piece: Piece) -> None:
        body = self._veil.cover(streams.encode(piece), self.stream)
        async with self._turn:  # in order, whoever waits
            while not self._out.fits(len(body)):
                await self._until_something_happens()
            self._check()
            number = self._out.add(body, self._clock.now_s())
            self._tell(Chunk(self.stream, number, body))
            self._woken.set()

    async def receive(self) -> Piece:
        while (body := self._next()) is None:
            await self._until_something_happens()
        if self._in.owes_much:
            self._tell_grant()
        try:
            return streams.decode(self._veil.uncover(body, self.stream))
        except (RoheletError, msgspec.MsgspecError):
            self.abort("what it said is not understood: install the same version on all nodes")
            raise Unavailable(self.failure) from None

    def _next(self) -> bytes | None:
        self._note_debt()
        return self._in.read()

    def _note_debt(self) -> None:
        """Something is about to happen of which the other side should hear, within a moment."""
        if not self._in.owes:
            self._owed_s = self._clock.now_s()
            self._woken.set()

    async def settled(self) -> None:
        """Returns once all that was sent has come."""
        while not self._out.settled:
            await self._until_something_happens()

    def heard(self, word: Chunk | Grant | Abort) -> None:
        now_s = self._heard_s = self._clock.now_s()
        match word:
            case Chunk():
                self._note_debt()
                self._in.take(word.number, word.body)
            case Grant():
                self._out.granted(word.expected, word.limit, now_s)
            case Abort():
                self.fail(word.reason or f"{self.node} has ended it")
        self._ring()

    def abort(self, reason: str) -> None:
        """Tell the other side that there is nobody any more."""
        if not self.failure:
            self._tell(Abort(self.stream, reason))
            self.fail(reason)

    def fail(self, reason: str) -> None:
        if not self.failure:
            self.failure = reason or "it was ended"
            self._ring()
            self._woken.set()
            self.on_failure()

    async def tend(self) -> None:
        """Say again what was not heard, and that this side is still there; until it fails."""
        while not self.failure:
            now_s = self._clock.now_s()
            for number, body in self._out.again(now_s):
                self._tell(Chunk(self.stream, number, body))
            owed = self._in.owes and now_s >= self._owed_s + ANSWER_S
            if owed or now_s >= self._said_s + BEAT_S:
                self._tell_grant()
            if now_s >= self._heard_s + SILENCE_S:
                self.fail(f"no word from {self.node} for {SILENCE_S:g} s")
            elif why := self._lost(self.node):
                self.fail(why)
            await self._rest(now_s)

    async def _rest(self, now_s: float) -> None:
        due_s = min(now_s + _LOOK_S, self._out.due_s)
        if self._in.owes:
            due_s = min(due_s, self._owed_s + ANSWER_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due_s - now_s) + 0.001):
                await self._woken.wait()
        self._woken.clear()

    def _tell_grant(self) -> None:
        expected, limit = self._in.say()
        self._tell(Grant(self.stream, expected, limit))

    def _tell(self, word: Word) -> None:
        self._said_s = self._clock.now_s()
        self._say(self.node, word)

    def _check(self) -> None:
        if self.failure:
            raise Unavailable(self.failure)

    async def _until_something_happens(self) -> None:
        self._check()
        bell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bells.append(bell)
        await bell
        self._check()

    def _ring(self) -> None:
        while self._bells:
            bell = self._bells.popleft()
            if not bell.done():
                bell.set_result(None)
