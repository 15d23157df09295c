"""The end of a quickstart, whoever started it: no instance, no process, no image, no directory.

The daemon is asked to stop the sample while it lives, since it would start again what somebody
else stopped; what it did not do is then done on the engine itself.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from roheletd.cli.client import SOCKET_NAME, Address, Client
from roheletd.cli.home import Home, Record
from roheletd.cli.processes import end_all_with, running_with
from roheletd.config import EngineConfig
from roheletd.engines import Engine
from roheletd.engines.choice import Chosen, choose_engine
from roheletd.errors import RoheletError, Unavailable

SAMPLE = "sample"

_ASK_S = 5.0
_GONE_S = 8.0
_GRACE_S = 5.0
_POLL_S = 0.1
_LEFT = "the sample may be left: `roheletd quickstart --stop` ends it once the engine answers"

Say = Callable[[str], None]


def client_in(home: Home) -> Client:
    return Client(Address(path=str(home.data_dir / SOCKET_NAME)), timeout_s=_ASK_S)


def engine_of(config: EngineConfig, record: Record, home: Home) -> Chosen:
    return asyncio.run(
        choose_engine(
            config,
            cluster=record.cluster,
            node=record.node,
            before="none",
            data_dir=home.data_dir,
        )
    )


def clean_up(home: Home, say: Say, *, keep_home: bool = False) -> None:
    """Undo everything that the record speaks of; `keep_home` leaves an empty directory, claimed."""
    record = home.record()
    engine = None if record is None else _engine_used(record, home)
    if engine is not None and running_with(home.daemon):
        say("stopping the sample")
        # The daemon may be frozen, or the engine gone: what fails here is tried again below.
        with suppress(RoheletError):
            client_in(home).delete("/api/v1/services", SAMPLE)
            asyncio.run(_until_empty(engine))
    say("stopping the daemon")
    for arguments in (home.daemon, home.broker):
        end_all_with(arguments, grace_s=_GRACE_S)
    if engine is not None and record is not None:
        say("looking whether anything is left")
        try:
            asyncio.run(_clear(engine, record))
        except Unavailable as error:
            raise Unavailable(f"{error}; {_LEFT}") from None
    if keep_home:
        home.empty()
    else:
        home.remove()


def _engine_used(record: Record, home: Home) -> Engine | None:
    if not record.deployed and not record.image:
        return None
    os.environ["RUNTIME_DIRECTORY"] = str(home.run_dir)
    return engine_of(EngineConfig(kind=record.engine), record, home).engine


async def _until_empty(engine: Engine) -> None:
    try:
        await engine.open()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GONE_S):
                # Asked and not awaited: the events of an engine do not say when all is gone.
                while await engine.list():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
    finally:
        await engine.close()


async def _clear(engine: Engine, record: Record) -> None:
    try:
        await engine.open()
        for container in await engine.list():
            await engine.remove(container.id, _GRACE_S)
        if record.image:
            # Imported here: it loads the client of container engines.
            from roheletd.cli.sample_image import remove_sample  # noqa: PLC0415

            await remove_sample(engine, record.image)
    finally:
        await engine.close()
