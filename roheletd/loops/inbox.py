"""Commands that come over MQTT: checked, carried out one after the other, answered."""

import asyncio
import logging
from collections.abc import Mapping

from roheletd.api.operations import Operations
from roheletd.api.problems import problem_of
from roheletd.api.requests import convert
from roheletd.api.table import MQTT_OPERATIONS, Operation
from roheletd.api.views import EventsAfter, Problem
from roheletd.cluster.soft import SoftState
from roheletd.errors import InvalidInput, RoheletError
from roheletd.loops.announcer import Announcer
from roheletd.messages import (
    PAYLOAD_BYTES_MAX,
    CommandHead,
    Dropped,
    Opened,
    Opener,
    Reply,
    Sealer,
    Topics,
)

logger = logging.getLogger(__name__)

COMMANDS_MAX = 100
"""Commands that wait their turn; more than a person sends, less than a flood can fill."""

_BY_NAME: Mapping[str, Operation] = {operation.name: operation for operation in MQTT_OPERATIONS}
_HEAD = frozenset({"command", "id"})


class Inbox:
    """The MQTT door. What is not sealed, not new or not understood changes nothing."""

    name = "inbox"

    def __init__(
        self,
        *,
        topics: Topics,
        opener: Opener,
        sealer: Sealer,
        operations: Operations,
        announcer: Announcer,
        soft: SoftState,
    ) -> None:
        self._topics = topics
        self._opener = opener
        self._sealer = sealer
        self._operations = operations
        self._announcer = announcer
        self._soft = soft
        self._queue: asyncio.Queue[Opened] = asyncio.Queue(COMMANDS_MAX)

    def receive(self, topic: str, payload: bytes) -> None:
        """Called by the broker link for each message; never waits, never raises."""
        if topic != self._topics.command:
            return
        found = self._opener.open(topic, payload)
        # Opening may have drawn a new nonce, and the next sender needs it.
        self._announcer.wake()
        if isinstance(found, Dropped):
            self._soft.count_dropped(found.reason)
        elif self._queue.full():
            self._soft.count_dropped("too many commands")
        else:
            self._queue.put_nowait(found)

    async def run(self) -> None:
        while True:
            await self._answer(await self._queue.get())

    async def _answer(self, message: Opened) -> None:
        try:
            head = message.read(CommandHead)
        except InvalidInput as error:
            logger.warning("command of %s not understood: %s", message.stamp.sender, error)
            self._soft.count_dropped("not understood")
            return
        topic = self._topics.reply(head.id)
        self._announcer.say(topic, self._sealed(topic, await self._reply(head, message)))

    def _sealed(self, topic: str, reply: Reply) -> bytes:
        try:
            return self._sealer.seal(topic, reply)
        except InvalidInput:
            reason = f"the answer has more than {PAYLOAD_BYTES_MAX} bytes: ask over HTTP"
            return self._sealer.seal(
                topic, _refusal(reply.id, Problem(error="refused", reason=reason))
            )

    async def _reply(self, head: CommandHead, message: Opened) -> Reply:
        try:
            operation = _BY_NAME.get(head.command)
            if operation is None:
                raise InvalidInput("$.command", f"one of {', '.join(sorted(_BY_NAME))}")
            request = _request(operation, message)
            result = await operation.run(self._operations, request, head.id)
        except RoheletError as error:
            problem = problem_of(error)
            return _refusal(head.id, problem)
        return Reply(id=head.id, ok=True, result=result)


def _request(operation: Operation, message: Opened) -> object:
    members = {name: value for name, value in message.body().items() if name not in _HEAD}
    request = convert(members, operation.request)
    if isinstance(request, EventsAfter) and request.wait_s > 0:
        # One command follows the other here: nobody may hold up those behind.
        raise InvalidInput("$.wait_s", "0 over MQTT, where events are published as they happen")
    return request


def _refusal(command_id: str, problem: Problem) -> Reply:
    return Reply(
        id=command_id,
        ok=False,
        error=problem.error,
        reason=problem.reason,
        field=problem.field,
    )
