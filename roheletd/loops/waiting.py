"""To wait for news, and for no longer than until something is due."""

import asyncio
import math
from collections.abc import Iterable
from contextlib import suppress

from roheletd.clock import Clock


async def news_or_time(news: asyncio.Event, until_s: float, clock: Clock) -> None:
    """Until `news` is set, or it is `until_s` on the clock (infinity: there is no such time)."""
    timeout_s = None if math.isinf(until_s) else max(0.0, until_s - clock.now_s())
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await news.wait()


async def first_of(news: asyncio.Event, tasks: Iterable[asyncio.Task[None]]) -> None:
    """Returns at news; raises what a task raised."""
    waiting = asyncio.create_task(news.wait())
    try:
        done, _ = await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in done - {waiting}:
        with suppress(asyncio.CancelledError):
            task.result()
