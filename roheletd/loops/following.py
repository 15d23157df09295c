"""Reads several sources side by side, for as long as each of them is wanted."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

Sources = Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
"""By the name of the task: what reads one of them."""


class Following:
    """All that is followed at this moment; rests while nothing is."""

    def __init__(self) -> None:
        self._news: set[asyncio.Event] = set()

    def wake(self) -> None:
        """What is wanted may have changed."""
        for event in self._news:
            event.set()

    async def follow(self, wanted: Callable[[], Sources]) -> None:
        """A task for each source; one that is new begins another. Raises what any of them raises.

        `wanted` is asked again at each wake, and raises why there is nothing to follow any more.
        """
        news, running = asyncio.Event(), dict[str, asyncio.Task[None]]()
        self._news.add(news)
        try:
            while True:
                news.clear()
                sources = wanted()
                for name in running.keys() - sources.keys():
                    running.pop(name).cancel()
                for name in sources.keys() - running.keys():
                    running[name] = asyncio.create_task(sources[name](), name=name)
                await _first_of(news, running.values())
        finally:
            self._news.discard(news)
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)


async def _first_of(news: asyncio.Event, tasks: Iterable[asyncio.Task[None]]) -> None:
    """Returns at news; raises what a task raised."""
    waiting = asyncio.create_task(news.wait())
    try:
        done, _ = await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in done - {waiting}:
        with suppress(asyncio.CancelledError):
            task.result()
