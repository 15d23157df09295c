"""The verbs whose answer is a stream: the logs of instances, and commands within them."""

import asyncio
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from roheletd.api import views
from roheletd.api.attaching import EXEC, Talker, begin
from roheletd.api.collaborators import Conversation, Streams
from roheletd.api.explaining import or_rather
from roheletd.api.flow import NDJSON, Flow, Read, Write, last_line
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.cluster.state import slot
from roheletd.cluster.streams import (
    PIECE_BYTES_MAX,
    End,
    ExecWanted,
    Exit,
    Input,
    LogLine,
    LogQuery,
    Output,
)
from roheletd.errors import Refused, RoheletError, Unavailable
from roheletd.model import Placement

OUTPUT_BYTES_MAX = 1 << 20
_encoder = msgspec.json.Encoder()


class LogRecord(Struct, frozen=True):
    """One line on its way to a reader. `source` is stdout, stderr, or note: a word of ours."""

    instance: str
    node: str
    source: str
    at: str
    line: str


class Streaming(Grounds):
    """Look into instances, wherever they run."""

    streams: Streams | None = None
    """Set by whoever made this, once there are any."""

    async def logs(self, request: views.LogsAsked, _id: str) -> Flow:
        """The logs of a service or of one instance: one JSON object for each line."""
        query = self._query(request)

        async def run(_read: Read, write: Write) -> None:
            turn = asyncio.Lock()

            async def emit(at: Placement, lines: tuple[LogLine, ...]) -> None:
                records = [
                    LogRecord(at.instance, at.node, line.source, line.at, line.text)
                    for line in lines
                ]
                async with turn:
                    await write(_encoder.encode_lines(records))

            await write(b"")
            await self._way().read(query, emit)
            await write(last_line())

        return Flow(media_type=NDJSON, run=run, closing=last_line)

    async def exec(self, request: views.ExecAsked, _id: str) -> views.ExecResult:
        """Run a command within a running instance, and give what it wrote and how it ended."""
        at = self._placement(request.instance)
        wanted = ExecWanted(
            instance=at.instance, command=request.command, stdin=bool(request.input)
        )
        try:
            async with (
                asyncio.timeout(request.timeout_s),
                self._way().talk(at.node, wanted) as talk,
            ):
                return await _result(talk, request.input.encode())
        except TimeoutError:
            reason = f"it has not ended within {request.timeout_s:g} s (timeout_s), and was ended"
            raise Refused(reason) from None

    async def attach(self, request: views.SubjectAsked, _id: str) -> Flow:
        """Run a command within a running instance, with input and a terminal where wished."""
        at = self._placement(request.name)

        async def run(read: Read, write: Write) -> None:
            wanted = await begin(read, at.instance)
            async with self._way().talk(at.node, wanted) as talk:
                await Talker(read, write).run(talk)

        return Flow(media_type=EXEC, run=run, closing=Talker.closing)

    def _way(self) -> Streams:
        if self.streams is None:
            raise Unavailable("this daemon opens no streams")
        return self.streams

    def _query(self, request: views.LogsAsked) -> LogQuery:
        known = self._state.services.get(request.name)
        at = self._state.placements.get(request.name)
        if known is None and at is None:
            raise NotFound(self._unknown(request.name))
        node = request.node or ""
        if node and node not in self._state.registrations:
            near = or_rather(node, self._state.registrations)
            raise NotFound(f"there is no node {node}{near}")
        return LogQuery(
            service=request.name if known is not None or at is None else at.service,
            instance="" if known is not None or at is None else at.instance,
            node=node,
            follow=request.follow,
            since_s=request.since_s,
            tail=request.tail,
        )

    def _placement(self, name: str) -> Placement:
        """Of an instance, or of the instance of a service that one would rather ask."""
        at = self._state.placements.get(name)
        if at is not None:
            return at
        if name not in self._state.services:
            raise NotFound(self._unknown(name))
        placed = self._state.placements_of(name)
        if not placed:
            raise Refused(f"no instance of {name} is placed: `roheletd why {name}`")
        uses, lost = (
            self._uses(),
            self._membership.lost_for_s(self._state.expected, self._clock.now_s()),
        )

        def disfavour(at: Placement) -> tuple[bool, bool, bool, int]:
            use = None if at.node in lost else uses.get(at.instance)
            is_healthy = use is not None and use.health == "healthy"
            runs = use is not None and use.state == "running"
            return not is_healthy, not runs, at.node != self._node, slot(at.instance)

        return min(placed, key=disfavour)

    def _unknown(self, name: str) -> str:
        names = [*self._state.services, *self._state.placements]
        service = name.rpartition(".")[0]
        if service in self._state.services:
            placed = [it.instance for it in self._state.placements_of(service)]
            are = f"has {_listed(placed)}" if placed else "has none that is placed"
            return f"there is no instance {name}: {service} {are}"
        return f"there is no service or instance {name}{or_rather(name, names)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


async def _result(talk: Conversation, given: bytes) -> views.ExecResult:
    written, errors, cut = bytearray(), bytearray(), False
    feeding = asyncio.create_task(_feed(talk, given))
    try:
        while True:
            match await talk.receive():
                case Output(data=data, error=is_error):
                    kept = errors if is_error else written
                    room = OUTPUT_BYTES_MAX - len(kept)
                    kept += data[:room]
                    cut |= len(data) > room
                case Exit(code=code, reason=reason):
                    return views.ExecResult(
                        exit_code=code,
                        stdout=written.decode(errors="replace"),
                        stderr=errors.decode(errors="replace"),
                        cut=cut,
                        reason=reason,
                    )
                case End() as end:
                    raise ended(end)
    finally:
        feeding.cancel()


def ended(end: End) -> RoheletError:
    """Why a conversation was ended by the other side."""
    reason = end.reason or "it ended without a word of how"
    return Unavailable(reason) if end.kind == "unavailable" else Refused(reason)


async def _feed(talk: Conversation, given: bytes) -> None:
    if given:
        for at in range(0, len(given), PIECE_BYTES_MAX):
            await talk.send(Input(given[at : at + PIECE_BYTES_MAX]))
        await talk.send(Input())
