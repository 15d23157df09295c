"""The root: makes the groups of parts one after the other, and joins them."""

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from roheletd.config import Config
from roheletd.parts.agreed_log import AgreedLog
from roheletd.parts.basis import Basis
from roheletd.parts.brokers import Brokers
from roheletd.parts.discovery import Discovery
from roheletd.parts.doors import make_api, make_control, make_inbox, make_operations
from roheletd.parts.leading import Leading
from roheletd.parts.linking import Linking
from roheletd.parts.own_instances import OwnInstances
from roheletd.parts.streaming import Streaming
from roheletd.parts.telling import make_announcer, make_registrar, make_reporter
from roheletd.startup import Found
from roheletd.telemetry import Telemetry

logger = logging.getLogger("roheletd")


class Loop(Protocol):
    """Whatever runs for ever; what its `run` raises ends the daemon."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None: ...


class Parts:
    """All parts of one node, wired: what happens in one wakes the others that care."""

    def __init__(self, config: Config, data_dir: Path, found: Found) -> None:
        self.found = found
        self.stop = asyncio.Event()
        self._basis = basis = Basis(config, data_dir, found)
        self.soft = basis.soft
        self._log = log = AgreedLog(basis, boot_of=self._boot_of, missing=self._missing)
        self.elector, self.proposer = log.elector, log.proposer
        brokers = Brokers(basis, elector=self.elector)
        self.announcer = make_announcer(basis, proposer=self.proposer)
        self._registrar = make_registrar(basis, proposer=self.proposer)
        self._discovery = Discovery(basis)
        self._own_instances = OwnInstances(
            basis, elector=self.elector, search=self._discovery.search
        )
        self._streaming = Streaming(basis)
        self.control = make_control(basis, log=log, brokers=brokers, stop=self.stop.set)
        self._operations = operations = make_operations(
            basis,
            log=log,
            control=self.control,
            log_reader=self._streaming.log_reader,
            event_reader=self._streaming.event_reader,
            own_instances=self._own_instances.as_reported,
        )
        self._inbox = make_inbox(basis, operations=operations, announcer=self.announcer)
        self.api = make_api(basis, operations=operations)
        self._leading = Leading(basis, log=log, operations=operations)
        self._linking = Linking(
            basis,
            log=log,
            brokers=brokers,
            announcer=self.announcer,
            inbox=self._inbox,
            streams=self._streaming.streams,
        )
        self.links = self._linking.links
        self._reporter = make_reporter(
            basis,
            proposer=self.proposer,
            announcer=self.announcer,
            also=(
                self.links.tick,
                self._linking.refresh,
                self._leading.voter_keeper.tick,
                self._look_around,
            ),
            uses=self._own_instances.uses,
            measured=self._measured,
        )
        self._wire()

    def loops(self) -> tuple[Loop, ...]:
        optional = (
            self.found.keeper,
            self._own_instances.runner,
            self._own_instances.prober,
            self._own_instances.image_keeper,
            self._own_instances.spare_keeper,
            self._leading.rebalancer,
            self._discovery.forwarder,
            self._discovery.resolver,
        )
        return (
            *(item for item in optional if item is not None),
            self.elector,
            self._registrar,
            self._leading.leader,
            self._leading.rollout_keeper,
            self.announcer,
            self._inbox,
            self._reporter,
            self._streaming.streams,
        )

    def _wire(self) -> None:
        # Whoever goes by the agreed state, or by who leads.
        woken = (
            self._leading.wake,
            self.announcer.wake,
            self._registrar.wake,
            self._follow_state,
            self._own_instances.wake,
            self._discovery.wake,
            self._streaming.instance_logs.wake,
            self._streaming.log_reader.wake,
            self._streaming.event_reader.wake,
        )
        self.elector.on_applied += woken
        self.elector.on_leader += woken
        if (runner := self._own_instances.runner) is not None:
            runner.news.on_change.append(self._own_instances_changed)
            self.announcer.instances = runner.news.now
        self._linking.receiver.on_instances = self._instances_changed

        events, algorithm = self._basis.events, self._basis.algorithm
        events.listeners.add(self.announcer.event)
        if (resolver := self._discovery.resolver) is not None:
            # What the engine says of itself decides where; its first container is made next.
            attend = resolver.attend
            events.listeners.add(lambda _event: attend())
        events.listeners.add(
            lambda event: logger.info("%s: %s %s", event.kind, event.subject, event.reason)
        )

        algorithm.on_loaded.append(self._leading.leader.wake)
        algorithm.tell(self.soft, events)
        self._follow_state()

    # --- what a part asks of one that is made after it

    def _boot_of(self, member: str) -> int | None:
        return self._linking.receiver.boots.get(member)

    def _missing(self) -> str:
        return self.control.outlook()

    # --- what happens in one part and matters to several

    def _follow_state(self) -> None:
        """What the agreed state says of brokers and members, as far as it has changed."""
        me, state, membership = self._basis.me, self._basis.state, self._basis.membership
        expected, now_s = state.expected, self._basis.clock.now_s()
        membership.expect(expected, now_s)
        for node in self.soft.telemetry.keys() - {me.node, *expected}:
            self.soft.forget(node)
        alone = len(self.elector.core.configuration.members) <= 1
        self.elector.alone = not me.shared and alone
        membership.hear(now_s, everybody=self._log.takes_part or not state.members)
        self._linking.follow()

    def _look_around(self) -> None:
        """Whether others reach this machine elsewhere now: networks may come after daemons."""
        basis = self._basis
        if basis.address.look(basis.clock.now_s()):
            basis.events.add("other address", basis.me.node, f"reached at {basis.address.host}")
            basis.soft.heard_address(basis.me.node, basis.address.host)
            self.announcer.wake()
            self._registrar.wake()
            self._linking.follow()

    def _own_instances_changed(self) -> None:
        """Something became of an instance of this node: all others hear it at once."""
        self._own_instances.remember()
        self.announcer.wake()
        self._streaming.instance_logs.wake()
        self._instances_changed(self._basis.me.node)

    def _instances_changed(self, node: str) -> None:
        """Something became of an instance of that node, which may be this one."""
        self._leading.leader.heard(node)
        self._own_instances.instances_changed()
        self._leading.rollout_keeper.wake()
        self._discovery.wake()

    def _measured(self, telemetry: Telemetry) -> None:
        """A report of this node itself; those of others go by the receiver."""
        self.announcer.telemetry(telemetry)
        self._own_instances.measured()
        self._instances_changed(self._basis.me.node)
