"""The process: one life after the other of one node, each with a task group that holds all loops.

SIGTERM closes the loops, every `finally` runs, and the exit code is 0; a loop that raises closes
the others, and the exit code is not 0, so that systemd restarts. Containers stay in both cases.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from roheletd.config import Config
from roheletd.errors import RoheletError
from roheletd.parts import Loop, Parts
from roheletd.startup import find
from roheletd.systemd import notify

logger = logging.getLogger("roheletd")

HAND_OVER_S = 1.0


def main(config: Config, data_dir: Path) -> int:
    """Run until SIGTERM or SIGINT; the exit code is 0 after a clean stop, else 1."""
    logging.basicConfig(
        level=config.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", force=True
    )
    failures: list[BaseException] = []
    try:
        with asyncio.Runner(loop_factory=_loop_factory(config)) as runner:
            runner.run(_run(config, data_dir))
    except* (RoheletError, OSError) as group:
        # The world's fault: a sentence for people. A bug of ours goes on up, with its traceback.
        failures = _leaves(group)
    for failure in failures:
        logger.error("%s", "; ".join([str(failure), *getattr(failure, "__notes__", ())]))
    return 1 if failures else 0


async def _run(config: Config, data_dir: Path) -> None:
    """One life after the other: to join or to leave a cluster is to begin anew as somebody else."""
    while True:
        async with AsyncExitStack() as stack:
            parts = Parts(config, data_dir, await find(config, data_dir, stack))
            await Daemon(parts).run()
        if parts.control.next_life is None:
            return
        parts.control.next_life()


class Daemon:
    """Runs the parts of one node until they are told to stop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def run(self) -> None:
        parts = self._parts
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, parts.stop.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(_named(item), name=item.name) for item in parts.loops()
                ]
                running.append(tasks.create_task(self._link(), name=parts.links.name))
                await self._open_door()
                notify("READY=1")
                await parts.stop.wait()
                if parts.control.next_life is None:
                    notify("STOPPING=1")
                await self._hand_over()
                await parts.links.close(parts.announcer.farewell())
                for task in running:
                    task.cancel()
        finally:
            parts.proposer.close()
            await parts.api.stop()

    async def _open_door(self) -> None:
        """Whoever asks early must not be told that there is nothing."""
        parts = self._parts
        await parts.elector.begun.wait()
        await parts.api.start()
        if parts.api.failure:
            parts.soft.notices["api"] = parts.api.failure

    async def _hand_over(self) -> None:
        """A leader that goes lets another one lead first, so that nobody has to notice."""
        elector = self._parts.elector
        core = elector.core
        others = [it for it in core.configuration.voters if it != core.me]
        if core.role != "leader" or not others:
            return
        progress = core.progress()
        elector.hand_over(max(others, key=lambda it: progress.get(it, (0, 0.0))))
        done = asyncio.Event()
        elector.on_leader.append(done.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(HAND_OVER_S):
                while core.role == "leader":
                    done.clear()
                    await done.wait()

    async def _link(self) -> None:
        found = self._parts.found
        if found.keeper is not None and found.keeper.is_needed:
            await found.keeper.tried.wait()
        await self._parts.links.run()


async def _named(loop: Loop) -> None:
    """Run a loop; what ends it says which one it was."""
    try:
        await loop.run()
    except Exception as error:
        error.add_note(f"so the loop `{loop.name}` ended, and the daemon with it")
        raise


def _loop_factory(config: Config) -> Callable[[], asyncio.AbstractEventLoop]:
    if config.event_loop == "asyncio":
        return asyncio.new_event_loop
    # Imported here: it costs memory, which small nodes keep.
    import uvloop  # noqa: PLC0415

    return uvloop.new_event_loop


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
