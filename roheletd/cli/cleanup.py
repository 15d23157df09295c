"""The end of a quickstart, whoever started it: no instance, no process, no image, no directory.

One way for every end, also after a client or a daemon that was killed: first the daemon goes,
which would start again what somebody else stopped and which leaves its instances running; then
they are removed on the engine itself, by the cluster's name that they carry.
"""

import asyncio
import os
from collections.abc import Callable

from roheletd.cli.client import SOCKET_NAME, Address, Client
from roheletd.cli.home import Home, Record
from roheletd.cli.processes import end_all_with
from roheletd.config import EngineConfig
from roheletd.engines import Engine
from roheletd.engines.choice import Chosen, choose_engine
from roheletd.errors import RoheletError, Unavailable

SAMPLE = "sample"

STOP_GRACE_S = 2.0

_ASK_S = 5.0
_GRACE_S = 5.0
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
    say("stopping the daemon")
    for arguments in (home.daemon, home.broker):
        end_all_with(arguments, grace_s=_GRACE_S)
    record = home.record()
    if record is not None and (record.deployed or record.image):
        say("stopping the sample")
        os.environ["RUNTIME_DIRECTORY"] = str(home.run_dir)
        engine = engine_of(EngineConfig(kind=record.engine), record, home).engine
        assert engine is not None, "it ran the sample"
        try:
            asyncio.run(_clear(engine, record))
        except RoheletError as error:
            raise Unavailable(f"{error}; {_LEFT}") from None
    if keep_home:
        home.empty()
    else:
        home.remove()


async def _clear(engine: Engine, record: Record) -> None:
    try:
        await engine.open()
        left = [item for item in await engine.list() if not item.stranger]
        await asyncio.gather(*(engine.remove(item.id, STOP_GRACE_S) for item in left))
        if record.image:
            # Imported here: it loads the client of container engines.
            from roheletd.cli.sample_image import remove_sample  # noqa: PLC0415

            await remove_sample(engine, record.image)
    finally:
        await engine.close()
