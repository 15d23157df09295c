"""What the tests of loops have in common: virtual time, and loops that run beside a test."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

from roheletd.parts import Loop
from roheletd.testing import VirtualTimeLoop

P = ParamSpec("P")


def in_virtual_time(story: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test whose hours pass in a moment, the same in every run."""

    @functools.wraps(story)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        tell_in_virtual_time(story(*args, **kwargs))

    return test


def tell_in_virtual_time(story: Coroutine[Any, Any, None]) -> None:
    """What a callback raises, which the loop only logs, fails the test as well."""
    faults: list[Exception] = []

    def note(_loop: object, context: dict[str, Any]) -> None:
        faults.append(context.get("exception") or RuntimeError(context["message"]))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.get_loop().set_exception_handler(note)
        runner.run(story)
    if faults:
        raise ExceptionGroup("callbacks of the loop failed", faults)


async def settled() -> None:
    """Everybody has done all that can be done now: virtual time moves only then."""
    await asyncio.sleep(1e-6)


@asynccontextmanager
async def running(*loops: Loop) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Loops beside the test, ended as the daemon ends them; what they raise fails the test."""
    tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in loops]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        faults = [error for error in ended if isinstance(error, Exception)]
        if faults:
            raise ExceptionGroup("loops that ended", faults)
