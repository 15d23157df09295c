"""The composition root: makes every part, hands each what it needs, and runs the loops.

One task group holds all loops. SIGTERM closes them, every `finally` runs, and the exit code is 0;
a loop that raises closes the others, and the exit code is not 0, so that systemd restarts.
Containers stay in both cases.
"""

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from msgspec.structs import asdict

from roheletd import __version__
from roheletd.allocation.snapshot import Profile
from roheletd.api.operations import Operations
from roheletd.api.server import ApiServer
from roheletd.broker.session import Session
from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.config import Config
from roheletd.errors import RoheletError
from roheletd.loops.announcer import Announcer
from roheletd.loops.elector import Elector
from roheletd.loops.inbox import Inbox
from roheletd.loops.leader import Leader
from roheletd.loops.reporter import Beat, Reporter
from roheletd.loops.runner import Runner
from roheletd.messages import Challenge, Opener, Sealer, Topics
from roheletd.startup import Found, find
from roheletd.systemd import notify, watchdog
from roheletd.telemetry import Telemetry

logger = logging.getLogger("roheletd")

SOCKET_NAME = "roheletd.sock"


class Loop(Protocol):
    """Whatever runs for ever; what its `run` raises ends the daemon."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None: ...


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
    async with AsyncExitStack() as stack:
        found = await find(config, data_dir, stack)
        await Daemon(config, data_dir, found).run()


class Daemon:
    """All parts of one node, wired: what happens in one wakes the others that care."""

    def __init__(self, config: Config, data_dir: Path, found: Found) -> None:
        self._config = config
        self._found = found
        self._clock = clock = Clock()
        self._rng = found.rng
        node, cluster = found.node, config.cluster.name
        self._topics = Topics(cluster)
        self._sealer = Sealer(found.keys.cluster, node, secrets.token_hex(8))
        self._challenge = Challenge(lambda: secrets.token_hex(8))
        self._soft = SoftState(
            broker=BrokerLink(mode=found.broker.mode), engine=EngineLink(kind=found.engine.kind)
        )
        self._membership = Membership(me=node, limits=thresholds(config.telemetry.interval_s))
        self._events = Events(node=node, wall_s=clock.wall_s)
        self._profile = Profile(**asdict(config.allocation))
        self._elector = Elector(node=node, core=found.core, store=found.store, state=found.state)
        self._announcer = self._make_announcer()
        self._leader = self._make_leader()
        self._runner = self._make_runner()
        self._operations = self._make_operations()
        self._inbox = self._make_inbox()
        self._session = self._make_session()
        self._reporter = self._make_reporter()
        self._api = ApiServer(
            self._operations,
            socket_path=data_dir / SOCKET_NAME,
            listen=config.api.listen,
            port=config.api.port if config.api.enabled else None,
            token=found.keys.api_token,
        )
        self._wire()

    async def run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self._api.start()
        if self._api.failure:
            self._soft.notices["api"] = self._api.failure
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(_named(item), name=item.name) for item in self._loops()
                ]
                running.append(tasks.create_task(self._link(), name=self._session.name))
                self._leader.wake()
                notify("READY=1")
                await stop.wait()
                notify("STOPPING=1")
                await self._session.close(self._announcer.farewell())
                for task in running:
                    task.cancel()
        finally:
            await self._api.stop()

    async def _link(self) -> None:
        if self._found.keeper is not None:
            await self._found.keeper.tried.wait()
        if self._found.broker.mode != "none":
            await self._session.run()

    def _loops(self) -> tuple[Loop, ...]:
        optional = (self._found.keeper, self._runner)
        return (
            *(item for item in optional if item is not None),
            self._elector,
            self._leader,
            self._announcer,
            self._inbox,
            self._reporter,
        )

    def _wire(self) -> None:
        for wake in (self._leader.wake, self._announcer.wake):
            self._elector.on_applied.append(wake)
        if self._runner is not None:
            self._elector.on_applied.append(self._runner.wake)
        self._events.listeners.add(self._announcer.event)
        self._events.listeners.add(
            lambda event: logger.info("%s: %s %s", event.kind, event.subject, event.reason)
        )

    def _measured(self, telemetry: Telemetry) -> None:
        self._announcer.telemetry(telemetry)
        self._leader.measured()

    def _linked(self, connected: bool, _reason: str) -> None:  # noqa: FBT001 - the session's call
        self._refresh_link()
        self._announcer.linked(self._session if connected else None)

    def _refresh_link(self) -> None:
        link = self._session.link
        self._soft.broker = BrokerLink(
            mode=self._found.broker.mode,
            url=link.url,
            connected=link.connected,
            protocol=link.protocol,
            reason=self._why_no_link() or link.reason,
            reconnects=link.reconnects,
            dropped=link.dropped,
        )

    def _why_no_link(self) -> str:
        if self._found.broker.mode == "none":
            return self._found.broker.why
        return self._found.keeper.trouble if self._found.keeper else ""

    def _make_announcer(self) -> Announcer:
        return Announcer(
            node=self._found.node,
            version=__version__,
            topics=self._topics,
            sealer=self._sealer,
            challenge=self._challenge,
            log=self._elector,
            state=self._found.state,
        )

    def _make_leader(self) -> Leader:
        return Leader(
            log=self._elector,
            profile=self._profile,
            state=self._found.state,
            soft=self._soft,
            membership=self._membership,
            events=self._events,
            clock=self._clock,
            rng=self._rng,
        )

    def _make_runner(self) -> Runner | None:
        if self._found.engine.engine is None:
            self._soft.engine = EngineLink(kind="none", reachable=True, reason="as configured")
            return None
        return Runner(
            engine=self._found.engine.engine,
            cluster=self._config.cluster.name,
            node=self._found.node,
            state=self._found.state,
            soft=self._soft,
            events=self._events,
            clock=self._clock,
            rng=self._rng,
        )

    def _make_operations(self) -> Operations:
        return Operations(
            node=self._found.node,
            cluster=self._config.cluster.name,
            version=__version__,
            profile=self._profile,
            state=self._found.state,
            soft=self._soft,
            membership=self._membership,
            events=self._events,
            log=self._elector,
            clock=self._clock,
            challenge=lambda: self._challenge.nonce,
            own_instances=self._runner.instances if self._runner else tuple,
        )

    def _make_inbox(self) -> Inbox:
        return Inbox(
            topics=self._topics,
            opener=Opener(self._found.keys.cluster, self._challenge),
            sealer=self._sealer,
            operations=self._operations,
            announcer=self._announcer,
            soft=self._soft,
        )

    def _make_session(self) -> Session:
        return Session(
            self._found.access,
            will=self._announcer.will,
            on_message=self._inbox.receive,
            on_link=self._linked,
            rng=self._rng,
        )

    def _make_reporter(self) -> Reporter:
        beats: list[Callable[[], None]] = [self._session.tick, self._refresh_link]
        dog = watchdog()
        if dog is not None:
            beats.append(lambda: dog.beat(self._clock.now_s()))
        interval_s = self._config.telemetry.interval_s
        beat_s = dog.interval_s if dog else interval_s
        return Reporter(
            node=self._found.node,
            labels=self._config.node.labels,
            beat=Beat(report_s=interval_s, beat_s=beat_s, also=tuple(beats)),
            collectors=self._found.collectors,
            log=self._elector,
            soft=self._soft,
            membership=self._membership,
            clock=self._clock,
            uses=self._runner.uses if self._runner else tuple,
            measured=self._measured,
        )


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
