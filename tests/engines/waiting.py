"""Waiting for what another process is about to do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.engines.conftest import Machine

T = TypeVar("T")


async def until(condition: Callable[[], Awaitable[T]], within_s: float = 10.0) -> T:
    """The first true answer of a condition that is about to become true."""
    async with asyncio.timeout(within_s):
        while not (answer := await condition()):  # noqa: ASYNC110 - another process is awaited
            await asyncio.sleep(0.02)
        return answer


async def fetched(machine: Machine, host_port: int) -> str:
    """The page once the server listens, which is a moment after its process started."""

    async def page() -> str:
        return machine.real.fetch(f"http://127.0.0.1:{host_port}/")

    return await until(page, 30)
