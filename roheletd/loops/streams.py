"""The desk of conversations about instances: opens them, to this node and others, and takes them.

See `cluster.flow` for what travels. Nothing runs here as long as nobody asks.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from roheletd.api.collaborators import Conversation
from roheletd.clock import Clock
from roheletd.cluster.flow import Abort, Chunk, Grant, Offer, Open, decode, encode
from roheletd.cluster.flow import Message as Word
from roheletd.cluster.streams import Wanted
from roheletd.errors import Unavailable
from roheletd.frames import Frame, Framer, Frames
from roheletd.loops.announcer import Publisher
from roheletd.loops.instance_streams import InstanceStreams
from roheletd.loops.pipe import Pipe
from roheletd.loops.session import Session
from roheletd.loops.stream_host import ID_BYTES, StreamHost
from roheletd.messages import Topics
from roheletd.model import node_of
from roheletd.vault import Veil

OPEN_S = 5.0
OPEN_AGAIN_S = 1.0
_UNKNOWN = "the stream is not known here (any more): the daemon was restarted, or it has ended"


class Streams:
    """Speaks in frames of its own, beside those of the log."""

    name = "streams"

    def __init__(
        self,
        *,
        node: str,
        topics: Topics,
        framer: Framer,
        frames: Frames,
        veil: Veil,
        local: InstanceStreams,
        is_member: Callable[[str], bool],
        lost: Callable[[str], str],
        open_max: int,
        clock: Clock,
    ) -> None:
        self._node = node
        self._topics = topics
        self._framer = framer
        self._frames = frames
        self._veil = veil
        self._local = local
        self._host = StreamHost(local=local, open_max=open_max, over=self._over)
        self._is_member = is_member
        self._lost = lost
        self._clock = clock
        self._link: Publisher | None = None
        self._sessions: dict[bytes, Session] = {}
        self._offers: dict[bytes, asyncio.Future[bytes]] = {}

    def linked(self, link: Publisher | None) -> None:
        self._link = link

    async def run(self) -> None:
        await self._host.run()

    @asynccontextmanager
    async def talk(self, node: str, wanted: Wanted) -> AsyncIterator[Conversation]:
        """A conversation with the node of an instance. Raises `Unavailable`."""
        if node == self._node:
            ours, theirs = Pipe.pair()
            serving = asyncio.create_task(self._local.serve(theirs, remote=False))
            try:
                await ours.send(wanted)
                yield ours
            finally:
                serving.cancel()
                await asyncio.wait((serving,))
                if not serving.cancelled():
                    serving.result()
            return
        session = await self._open(node)
        tending = asyncio.create_task(session.tend())
        try:
            await session.send(wanted)
            yield session
        finally:
            session.abort("nobody reads it any more")
            del self._sessions[session.stream]
            tending.cancel()

    async def _open(self, node: str) -> Session:
        if self._link is None:
            raise Unavailable(f"{node} cannot be asked: there is no link to a broker")
        ident, offered = secrets.token_bytes(ID_BYTES), asyncio.Future[bytes]()
        self._offers[ident] = offered
        try:
            async with asyncio.timeout(OPEN_S):
                while not offered.done():
                    if why := self._lost(node):
                        raise Unavailable(why)
                    self._say(node, Open(ident))
                    await asyncio.wait((offered,), timeout=OPEN_AGAIN_S)
        except TimeoutError:
            raise Unavailable(f"{node} does not answer within {OPEN_S:g} s") from None
        finally:
            del self._offers[ident]
        return self._session(ident + offered.result(), node)

    def _session(self, stream: bytes, node: str) -> Session:
        self._sessions[stream] = session = Session(
            stream, node, veil=self._veil, say=self._say, lost=self._lost, clock=self._clock
        )
        return session

    def receive(self, topic: str, payload: bytes, link: int) -> None:
        """Called for each message on this node's topic; never waits, never raises."""
        found = self._frames.open(topic, payload, link)
        if not isinstance(found, Frame) or not self._is_member(found.sender):
            return
        try:
            word = decode(found.body)
        except msgspec.MsgspecError:
            return
        node = node_of(found.sender)
        match word:
            case Open():
                self._say(node, Offer(word.id, self._host.token(node, word.id)))
            case Offer():
                self._on_offer(word)
            case _:
                self._on_word(node, word)

    def _on_offer(self, offer: Offer) -> None:
        waiting = self._offers.get(offer.id)
        if waiting is not None and not waiting.done() and len(offer.token) == ID_BYTES:
            waiting.set_result(offer.token)

    def _on_word(self, node: str, word: Chunk | Grant | Abort) -> None:
        session = self._sessions.get(word.stream)
        if session is None and self._host.admits(node, word.stream):
            # Whatever overtakes the first chunk is put in order behind it.
            session = self._begun(node, word.stream) if isinstance(word, Chunk) else None
        elif session is None and not isinstance(word, Abort):
            self._say(node, Abort(word.stream, _UNKNOWN))
        if session is not None and session.node == node:
            session.heard(word)

    def _begun(self, node: str, stream: bytes) -> Session:
        """Somebody else's conversation with this node."""
        session = self._session(stream, node)
        self._host.begin(session)
        return session

    def _over(self, stream: bytes) -> None:
        del self._sessions[stream]

    def _say(self, node: str, word: Word) -> None:
        if self._link is not None:
            topic = self._topics.stream(node)
            self._link.publish(topic, self._framer.seal(topic, encode(word)))
