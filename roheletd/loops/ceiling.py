"""What a follower of a log may cost the brokers.

A log that is followed is to show what happens now: what is beyond the ceiling is left out, and how
much that was is said. A log that is only shown is to be complete: it takes its time.
"""

import asyncio
from contextlib import suppress

from roheletd.api.collaborators import Conversation
from roheletd.clock import Clock
from roheletd.cluster.flow import Allowance
from roheletd.cluster.streams import Lines, LogLine
from roheletd.errors import Unavailable

TELL_S = 1.0


async def afford(allowance: Allowance, size: int, clock: Clock) -> None:
    """Wait until there is enough for `size` bytes, and take it."""
    while not allowance.take(size, clock.now_s()):  # noqa: ASYNC110 - what passes is time
        await asyncio.sleep(max(0.01, allowance.wait_s(size, clock.now_s())))


class Ceiling:
    """Passes lines on, as many as `allowance` has room for; None: all of them."""

    def __init__(
        self,
        talk: Conversation,
        allowance: Allowance | None,
        clock: Clock,
        leave_out: bool,  # noqa: FBT001
    ) -> None:
        self._talk = talk
        self._allowance = allowance
        self._clock = clock
        self._leave_out = leave_out
        self._left_out = 0
        self._telling: asyncio.Task[None] | None = None

    async def send(self, piece: Lines) -> None:
        if self._allowance is None:
            await self._talk.send(piece)
            return
        size = _cost(piece)
        if not self._leave_out:
            await afford(self._allowance, size, self._clock)
        elif not self._allowance.take(size, self._clock.now_s()):
            self._left_out += len(piece.lines)
            if self._telling is None or self._telling.done():
                self._telling = asyncio.create_task(self._tell(), name="lines left out")
            return
        await self.finish()
        await self._talk.send(piece)

    async def note(self, text: str) -> None:
        await self.finish()
        await self._talk.send(Lines((LogLine(text, "note"),)))

    async def _tell(self) -> None:
        """Also where nothing follows."""
        with suppress(Unavailable):
            await asyncio.sleep(TELL_S)
            await self.finish()

    async def finish(self) -> None:
        """Say what was left out, if anything was."""
        if self._left_out:
            count, self._left_out = self._left_out, 0
            text = f"{count} lines left out: more than streams.bytes_per_s_max lets through"
            await self._talk.send(Lines((LogLine(text, "note"),)))


def _cost(piece: Lines) -> int:
    """About how many bytes a piece takes on its way."""
    return sum(len(line.text) + len(line.at) + 12 for line in piece.lines)
