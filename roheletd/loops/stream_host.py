"""Where conversations that other nodes begin are served: each once, and not too many."""

import asyncio
import secrets
from collections.abc import Callable
from hashlib import blake2b

from roheletd.errors import Unavailable
from roheletd.loops.instance_streams import InstanceStreams
from roheletd.loops.session import Session

ENDED_MAX = 1024
ID_BYTES = 8


class StreamHost:
    """`over` is called with each stream that has ended. `run` has to run."""

    def __init__(
        self, *, local: InstanceStreams, open_max: int, over: Callable[[bytes], None]
    ) -> None:
        self._local = local
        self._open_max = open_max
        self._over = over
        self._secret = secrets.token_bytes(32)
        self._serving: set[bytes] = set()
        self._ended: dict[bytes, None] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.get_running_loop().create_future()

    def token(self, node: str, ident: bytes) -> bytes:
        """Only this start of this daemon makes it, and it has to remember none for that."""
        place = ident + node.encode()
        return blake2b(place, key=self._secret, digest_size=ID_BYTES).digest()

    def admits(self, node: str, stream: bytes) -> bool:
        """Whether it is a new stream of this very start."""
        ident, token = stream[:ID_BYTES], stream[ID_BYTES:]
        known = stream in self._ended
        return self._tasks is not None and not known and token == self.token(node, ident)

    def begin(self, session: Session) -> None:
        assert self._tasks is not None, "it was admitted"
        serve = self._tasks.create_task(self._serve(session), name=f"stream of {session.node}")
        # One that is cancelled before it has begun does not even get to its `finally`.
        serve.add_done_callback(lambda _: self._forget(session.stream))

        def end() -> None:
            serve.cancel()

        session.on_failure = end

    async def _serve(self, session: Session) -> None:
        if len(self._serving) >= self._open_max:
            session.on_failure = _nothing
            session.abort(f"{self._open_max} streams are open there already (streams.open_max)")
            return
        tending = asyncio.create_task(session.tend())
        self._serving.add(session.stream)
        try:
            await self._local.serve(session, remote=True)
            await session.settled()
        except Unavailable as error:
            session.on_failure = _nothing
            session.abort(str(error))
        except asyncio.CancelledError:
            if not session.failure:
                raise
        finally:
            session.on_failure = _nothing
            session.abort("")
            tending.cancel()
            self._serving.discard(session.stream)

    def _forget(self, stream: bytes) -> None:
        """So that its first chunk, should it come once more, begins nothing."""
        self._over(stream)
        if len(self._ended) >= ENDED_MAX:
            del self._ended[next(iter(self._ended))]
        self._ended[stream] = None


def _nothing() -> None: ...
