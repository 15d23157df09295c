"""What others want of this node: logs of its instances, commands in them, volumes, and events."""

import asyncio
from contextlib import suppress

from roheletd.api.collaborators import Conversation
from roheletd.clock import Clock
from roheletd.cluster.flow import Allowance
from roheletd.cluster.streams import (
    Begun,
    End,
    EventsWanted,
    ExecWanted,
    Exit,
    Input,
    LogsWanted,
    Output,
    Resize,
    VolumesWanted,
    VolumeUnwanted,
)
from roheletd.engines import ExecSession
from roheletd.errors import Refused, RoheletError, Unavailable
from roheletd.loops.ceiling import Ceiling, afford
from roheletd.loops.event_streams import EventStreams
from roheletd.loops.instance_logs import InstanceLogs
from roheletd.loops.stored_volumes import StoredVolumes


class InstanceStreams:
    """Serves any number of conversations. What goes over the brokers has a ceiling."""

    def __init__(
        self,
        *,
        logs: InstanceLogs,
        events: EventStreams,
        volumes: StoredVolumes,
        node: str,
        clock: Clock,
        bytes_per_s_max: int,
    ) -> None:
        self._logs = logs
        self._events = events
        self._volumes = volumes
        self._node = node
        self._clock = clock
        self._bytes_per_s_max = bytes_per_s_max

    async def serve(self, talk: Conversation, *, remote: bool) -> None:
        """All of one conversation."""
        try:
            wanted = await talk.receive()
            allowance = None
            if remote:
                allowance = Allowance(self._bytes_per_s_max, self._clock.now_s())
            if isinstance(wanted, LogsWanted):
                await self._logs.pass_on(
                    wanted, Ceiling(talk, allowance, self._clock, wanted.follow)
                )
            elif isinstance(wanted, ExecWanted):
                await self._exec(wanted, talk, allowance)
            elif isinstance(wanted, EventsWanted):
                await self._events.pass_on(wanted, talk, allowance)
            elif isinstance(wanted, VolumesWanted | VolumeUnwanted):
                await self._volumes.answer(wanted, talk)
            end = End()
        except Unavailable as error:
            end = End("unavailable", str(error))
        except RoheletError as error:
            end = End("refused", str(error))
        await talk.send(end)

    async def _exec(
        self, wanted: ExecWanted, talk: Conversation, allowance: Allowance | None
    ) -> None:
        engine = self._logs.engine()
        known = await self._logs.container(wanted.instance, wait=False)
        if known.state != "running":
            why = f": {known.reason}" if known.reason else ""
            raise Refused(f"{wanted.instance} does not run on {self._node} now{why}")
        session = await engine.exec_session(known.id, wanted)
        feeding = asyncio.create_task(_feed(session, talk), name=f"input of {wanted.instance}")
        try:
            await talk.send(Begun())
            while (found := await session.read()) is not None:
                data, is_error = found
                if allowance is not None:
                    await afford(allowance, len(data), self._clock)
                await talk.send(Output(data, is_error))
            await talk.send(Exit(*await session.exit_code()))
        finally:
            feeding.cancel()
            await session.close()


async def _feed(session: ExecSession, talk: Conversation) -> None:
    """What somebody types. When the other side is lost, so is the whole conversation."""
    with suppress(Unavailable):
        while True:
            match await talk.receive():
                case Input(data=b""):
                    await session.end_input()
                case Input(data=data):
                    await session.write(data)
                case Resize(rows=rows, columns=columns):
                    await session.resize(rows, columns)
