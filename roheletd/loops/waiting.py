"""To wait for news, and for no longer than until something is due."""

import asyncio
import math
from contextlib import suppress

from roheletd.clock import Clock


async def news_or_time(news: asyncio.Event, until_s: float, clock: Clock) -> None:
    """Until `news` is set, or it is `until_s` on the clock (infinity: there is no such time)."""
    timeout_s = None if math.isinf(until_s) else max(0.0, until_s - clock.now_s())
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await news.wait()
