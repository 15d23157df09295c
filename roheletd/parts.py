"""The composition root: makes every part of one life of a node, and hands each what it needs."""

import asyncio
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from roheletd import __version__
from roheletd.allocation.algorithm import Algorithm, NotLoaded
from roheletd.allocation.profile import profile_of
from roheletd.api.operations import Operations
from roheletd.api.server import ApiServer
from roheletd.broker import readable
from roheletd.broker.links import Links
from roheletd.clock import Clock
from roheletd.cluster.applier import Applier
from roheletd.cluster.dependencies import held_back
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.names import zone
from roheletd.cluster.orders import Orders, StandingOrders
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import ClusterState
from roheletd.cluster.voters import Limits
from roheletd.collectors.address import own_address
from roheletd.config import TIMINGS, Config
from roheletd.control import Control
from roheletd.engines.choice import run_dir
from roheletd.engines.files import ValueFolders
from roheletd.frames import Dropped, Framer, Frames
from roheletd.frames import Identity as FrameIdentity
from roheletd.identity import admitted
from roheletd.loops.announcer import Announcer
from roheletd.loops.elector import Elector
from roheletd.loops.forwarder import Forwarder
from roheletd.loops.forwards import Forwards
from roheletd.loops.furnisher import Furnisher
from roheletd.loops.image_keeper import ImageKeeper
from roheletd.loops.inbox import Inbox
from roheletd.loops.instance_logs import InstanceLogs
from roheletd.loops.instance_streams import InstanceStreams
from roheletd.loops.leader import Leader
from roheletd.loops.log_reader import LogReader
from roheletd.loops.pending import Patience
from roheletd.loops.prober import Prober
from roheletd.loops.proposer import Proposer
from roheletd.loops.rebalancer import Rebalancer
from roheletd.loops.receiver import Receiver
from roheletd.loops.registrar import Registrar
from roheletd.loops.reporter import Beat, Reporter
from roheletd.loops.resolver import Resolver
from roheletd.loops.rollout_keeper import RolloutKeeper
from roheletd.loops.runner import Runner
from roheletd.loops.sender import Sender
from roheletd.loops.spare_keeper import SpareKeeper
from roheletd.loops.streams import Streams
from roheletd.loops.voter_keeper import VoterKeeper
from roheletd.messages import Challenge, Opener, Sealer, Topics
from roheletd.model import Member
from roheletd.raft import Raft
from roheletd.resolver.upstream import Upstream
from roheletd.startup import Found, subscriptions, url_for_others
from roheletd.systemd import watchdog
from roheletd.telemetry import Telemetry
from roheletd.vault import Vault, Veil

logger = logging.getLogger("roheletd")


class Loop(Protocol):
    """Whatever runs for ever; what its `run` raises ends the daemon."""

    @property
    def name(self) -> str: ...

    async def run(self) -> None: ...


SOCKET_NAME = "roheletd.sock"


class Parts:
    """All parts of one node, wired: what happens in one wakes the others that care."""

    def __init__(self, config: Config, data_dir: Path, found: Found) -> None:
        self._config = config
        self._data_dir = data_dir
        self.found = found
        self._me = me = found.identity
        self._clock = clock = Clock()
        self._rng = found.rng
        self.stop = asyncio.Event()
        self._timing = TIMINGS[config.cluster.timing]
        self._limits = thresholds(2 * self._timing.heartbeat_s)
        self._topics = Topics(me.cluster)
        self._sealer = Sealer(found.keys.cluster, me.node, secrets.token_hex(8))
        self._challenge = Challenge(lambda: secrets.token_hex(8))
        self._state = ClusterState()
        self._vault = Vault(found.keys.cluster)
        self._held: dict[str, str] = {}
        self._standing_orders = StandingOrders(
            cluster=me.cluster,
            node=me.node,
            informed=me.joined,
            lost_after_s=self._limits.lost_after_s,
            settle_s=2 * self._timing.heartbeat_s,
        )
        self.soft = SoftState(
            broker=BrokerLink(mode=found.broker.mode), engine=EngineLink(kind=found.engine.kind)
        )
        self._address = config.node.address or own_address()
        self.soft.addresses[me.node] = self._address
        self._membership = Membership(me=me.node, limits=self._limits, now_s=clock.now_s())
        self._events = Events(node=me.node, wall_s=clock.wall_s)
        self._profile = profile_of(config.allocation)
        self._algorithm = self._load_algorithm()
        self._make_log()
        self.announcer = self._make_announcer()
        self._leader = self._make_leader()
        self._rollout_keeper = RolloutKeeper(
            log=self.proposer,
            state=self._state,
            soft=self.soft,
            events=self._events,
            clock=clock,
            proceed=self._leader.wake,
        )
        self._resolver = self._make_resolver()
        self._runner = self._make_runner()
        self._image_keeper = self._make_image_keeper()
        self._spare_keeper = self._make_spare_keeper()
        self._prober = self._make_prober(self._runner)
        self._forwarder = self._make_forwarder()
        self._registrar = self._make_registrar()
        self._voter_keeper = self._make_voter_keeper()
        self.control = self._make_control()
        self._make_streams()
        self._operations = self._make_operations()
        self._rebalancer = self._make_rebalancer()
        self._inbox = self._make_inbox()
        self._receiver = self._make_receiver()
        self.links = self._make_links()
        self._reporter = self._make_reporter()
        self.api = ApiServer(
            self._operations,
            socket_path=data_dir / SOCKET_NAME,
            listen=config.api.listen,
            port=config.api.port if config.api.enabled else None,
            token=found.keys.api_token,
        )
        self._wire()

    def loops(self) -> tuple[Loop, ...]:
        optional = (
            self.found.keeper,
            self._runner,
            self._prober,
            self._image_keeper,
            self._spare_keeper,
            self._rebalancer,
            self._forwarder,
            self._resolver,
        )
        return (
            *(item for item in optional if item is not None),
            self.elector,
            self._registrar,
            self._leader,
            self._rollout_keeper,
            self.announcer,
            self._inbox,
            self._reporter,
            self._streams,
        )

    def _wire(self) -> None:
        woken = [
            self._leader.wake,
            self._rollout_keeper.wake,
            self.announcer.wake,
            self._registrar.wake,
            self._follow_state,
        ]
        if self._runner is not None:
            woken.append(self._runner.wake)
            self._runner.news.on_change.append(self._instances_changed)
            self.announcer.instances = self._runner.news.now
        if self._spare_keeper is not None:
            woken.append(self._spare_keeper.wake)
        if self._forwarder is not None:
            woken.append(self._forwarder.wake)
        woken += [self._instance_logs.wake, self._log_reader.wake]
        self.elector.on_applied += woken
        self.elector.on_leader += woken
        self._events.listeners.add(self.announcer.event)
        if self._resolver is not None:
            # What the engine says of itself decides where; its first container is made next.
            attend = self._resolver.attend
            self._events.listeners.add(lambda _event: attend())
        self._events.listeners.add(
            lambda event: logger.info("%s: %s %s", event.kind, event.subject, event.reason)
        )
        self._receiver.on_instances = self._instances_heard
        self._receiver.on_stream = self._streams.receive
        self._operations.streams = self._log_reader
        self._algorithm.on_loaded.append(self._leader.wake)
        self._algorithm.tell(self.soft, self._events)
        self._follow_state()

    def _follow_state(self) -> None:
        """What the agreed state says of brokers and members, as far as it has changed."""
        expected = self._state.expected
        self._membership.expect(expected, self._clock.now_s())
        for node in self.soft.telemetry.keys() - {self._me.node, *expected}:
            self.soft.forget(node)
        configuration = self.elector.core.configuration
        self.elector.alone = not self._me.shared and len(configuration.members) <= 1
        takes_part = self._me.member in configuration.members
        self._membership.hears_all = takes_part or not self._state.members
        self.links.want(self._brokers(), 2 if takes_part else 1)
        self.links.hear(subscriptions(self._topics, self._me.node, takes_part=takes_part))
        if self.found.keeper is not None and (not self._me.shared or self._votes()):
            self.found.keeper.need()

    def _votes(self) -> bool:
        return self._me.member in self.elector.core.configuration.voters

    def _brokers(self) -> tuple[str, ...]:
        """Where to link to, best first: what the configuration says, else the voters' own."""
        urls, own = self.found.urls, self.found.own_broker
        if self.found.broker.mode == "external" or not self._me.shared:
            return urls
        voters = self._state.brokers(self.elector.core.configuration.voters)
        known = readable(voters)
        if len(known) < 2:  # noqa: PLR2004 - who is alone may meet the others where they were
            known = tuple(dict.fromkeys((*known, *self._me.brokers)))
        # Our own is there when no cable is.
        return tuple(urls[0] if url == own else url for url in known) or urls

    def _brokers_for_others(self) -> tuple[str, ...]:
        if self.found.broker.mode == "external":
            return self.found.urls
        known = self._state.brokers(self.elector.core.configuration.voters)
        if known or self.found.keeper is None:
            return known
        return (url_for_others(self._config),)  # as it will be once the cluster is shared

    def _instances_changed(self) -> None:
        """Something became of an instance of this node: all others hear it at once."""
        if self._runner is not None:
            self.soft.found_addresses(self._runner.news.addresses())
            self.soft.heard_instances(self._me.node, self._runner.news.now())
        self.announcer.wake()
        self._instance_logs.wake()
        self._instances_heard()

    def _instances_heard(self) -> None:
        if self._runner is not None and self._held != self._held_back(self._held):
            self._runner.wake()
        self._rollout_keeper.wake()
        if self._forwarder is not None:
            self._forwarder.wake()

    def _measured(self, telemetry: Telemetry) -> None:
        self.announcer.telemetry(telemetry)
        if self._image_keeper is not None:
            self._image_keeper.measured()
        self._leader.measured()
        self._instances_heard()

    def _linked(self, connected: bool, _reason: str) -> None:  # noqa: FBT001 - the links' call
        if connected and not self.soft.broker.connected:
            self._membership.listen_anew(self._clock.now_s())
        self._refresh_links()
        link = self.links if connected else None
        self.announcer.linked(link)
        self._sender.linked(link)
        self._streams.linked(link)

    def _refresh_links(self) -> None:
        found = tuple(
            BrokerLink(
                mode=self.found.broker.mode,
                url=link.url,
                connected=link.connected,
                protocol=link.protocol,
                reason=link.reason,
                reconnects=link.reconnects,
                dropped=link.dropped,
            )
            for link in self.links.links
        )
        none = BrokerLink(mode=self.found.broker.mode)
        best = next((link for link in found if link.connected), found[0] if found else none)
        trouble = self._why_no_link() if not best.connected else ""
        self.soft.links = found
        self.soft.broker = replace(best, reason=trouble or best.reason)
        self.soft.dropped_frames = dict(self._receiver.dropped)

    def _why_no_link(self) -> str:
        if not self._brokers():
            return self.found.broker.why
        return self.found.keeper.trouble if self.found.keeper else ""

    def _make_log(self) -> None:
        """The agreed log: its core, its driver, and who brings commands into it."""
        found, me = self.found, self._me
        self._sender = Sender(
            topics=self._topics, framer=Framer(found.keys.cluster, self._frame_identity())
        )
        applier = Applier(self._state)
        core = Raft(
            me=me.member,
            saved=found.memory.saved,
            timing=self._timing,
            rng=self._rng,
            now_s=self._clock.now_s(),
        )
        self.elector = Elector(
            core=core,
            store=found.memory.store,
            applier=applier,
            clock=self._clock,
            send=self._sender.send,
            silence_s=self._timing.election_max_s,
        )
        if found.memory.failure:
            # Nothing will be applied any more; what was committed before is still to run.
            self._state.restore(found.memory.state.saved())
            self.elector.fail(found.memory.failure)
        self.proposer = Proposer(
            elector=self.elector,
            applier=applier,
            state=self._state,
            clock=self._clock,
            patience=Patience.of(self._timing),
            say=self._sender.say,
            boot_of=self._boot_of,
            missing=self._missing,
        )

    def _frame_identity(self) -> FrameIdentity:
        me = self._me
        return FrameIdentity(
            cluster_id=me.cluster_id, epoch=me.epoch, member=me.member, boot=me.boot
        )

    def _make_streams(self) -> None:
        """The way to the instances of all nodes, and for others to those of this one."""
        config, key = self._config.streams, self.found.keys.cluster
        self._instance_logs = InstanceLogs(
            engine=self.found.engine.engine,
            node=self._me.node,
            state=self._state,
            clock=self._clock,
        )
        self._streams = Streams(
            node=self._me.node,
            topics=self._topics,
            # Of their own: what is said here by the hundred must not push those of the log aside.
            framer=Framer(key, self._frame_identity()),
            frames=Frames(key, self._me.cluster_id, self._me.epoch),
            veil=Veil(key),
            local=InstanceStreams(
                logs=self._instance_logs,
                node=self._me.node,
                clock=self._clock,
                bytes_per_s_max=config.bytes_per_s_max,
            ),
            is_member=lambda member: self._state.member_by_id(member) is not None,
            lost=self._why_lost,
            open_max=config.open_max,
            clock=self._clock,
        )
        self._log_reader = LogReader(streams=self._streams, state=self._state)

    def _why_lost(self, node: str) -> str:
        lost = self._membership.liveness(node, self._clock.now_s()) == "lost"
        return f"node {node} is lost" if lost else ""

    def _boot_of(self, member: str) -> int | None:
        return self._receiver.boots.get(member)

    def _missing(self) -> str:
        return self.control.outlook()

    def _heard_peer(self, link: int) -> None:
        self.links.heard(link)

    def _make_registrar(self) -> Registrar:
        return Registrar(
            identity=self._me,
            member=self._member,
            proposer=self.proposer,
            state=self._state,
            soft=self.soft,
            admitted=lambda: admitted(self._data_dir),
        )

    def _member(self) -> Member:
        cluster = self._config.cluster
        return Member(
            name=self._me.node,
            id=self._me.member,
            broker=self.found.own_broker,
            voter=cluster.voter,
            witness=cluster.role == "witness",
            version=__version__,
        )

    def _make_voter_keeper(self) -> VoterKeeper:
        return VoterKeeper(
            elector=self.elector,
            state=self._state,
            membership=self._membership,
            limits=Limits(
                healthy_within_s=self._limits.lost_after_s,
                promote_after_s=self._config.cluster.promote_after_s,
                replace_after_s=self._config.cluster.replace_after_s,
            ),
            clock=self._clock,
            leads=lambda: self.proposer.leads,
        )

    def _make_control(self) -> Control:
        return Control(
            identity=self._me,
            data_dir=self._data_dir,
            key=self.found.keys.cluster,
            key_file=self._config.cluster.key_file,
            brokers=self._brokers_for_others,
            elector=self.elector,
            proposer=self.proposer,
            state=self._state,
            soft=self.soft,
            membership=self._membership,
            clock=self._clock,
            stop=self.stop.set,
        )

    def _make_receiver(self) -> Receiver:
        receiver = Receiver(
            node=self._me.node,
            topics=self._topics,
            cluster_key=self.found.keys.cluster,
            frames_in=Frames(self.found.keys.cluster, self._me.cluster_id, self._me.epoch),
            elector=self.elector,
            proposer=self.proposer,
            forwards=Forwards(
                boot=self._me.boot,
                proposer=self.proposer,
                state=self._state,
                say=self._sender.say,
                clock=self._clock,
            ),
            inbox=self._inbox,
            membership=self._membership,
            soft=self.soft,
            clock=self._clock,
            on_peer=self._heard_peer,
            links_up=lambda: sum(link.connected for link in self.links.links),
        )
        receiver.on_dropped = self._on_dropped
        return receiver

    def _on_dropped(self, frame: Dropped) -> None:
        """What was not taken may say something of this node, or of the one that said it."""
        if frame.reason == "other protocol":
            self.soft.notices["protocol"] = frame.explanation
        elif frame.reason == "other epoch" and frame.epoch > self._me.epoch:
            self.elector.fail(
                f"cluster {self._me.cluster} was recovered by force as epoch {frame.epoch}, and "
                f"this node is of epoch {self._me.epoch}: `roheletd cluster join TOKEN` with a new "
                "token"
            )

    def _make_links(self) -> Links:
        return Links(
            self.found.access,
            will=self.announcer.will,
            on_message=self._receiver.receive,
            on_link=self._linked,
            rng=self._rng,
            silence_s=self._limits.lost_after_s,
        )

    def _make_announcer(self) -> Announcer:
        return Announcer(
            node=self._me.node,
            version=__version__,
            topics=self._topics,
            sealer=self._sealer,
            challenge=self._challenge,
            log=self.proposer,
            state=self._state,
            address=self._address,
        )

    def _load_algorithm(self) -> Algorithm:
        """A user's; one that cannot be loaded is told about, and the built-in does without it."""
        allocation = self._config.allocation
        if allocation.algorithm is None:
            return Algorithm()
        from roheletd import plugins  # noqa: PLC0415 - most daemons have none

        folder = Path(allocation.algorithm_dir or self._data_dir / "userModule")
        algorithm = Algorithm(
            allocation.algorithm, partial(plugins.load, allocation.algorithm, folder)
        )
        with suppress(NotLoaded):
            algorithm.reload()
        return algorithm

    def _make_leader(self) -> Leader:
        return Leader(
            log=self.proposer,
            profile=self._profile,
            algorithm=self._algorithm,
            state=self._state,
            soft=self.soft,
            membership=self._membership,
            events=self._events,
            clock=self._clock,
            rng=self._rng,
        )

    def _make_image_keeper(self) -> ImageKeeper | None:
        if (store := self.found.engine.images) is None:
            return None
        store.keeper = ImageKeeper(
            store=store,
            state=self._state,
            events=self._events,
            clock=self._clock,
            path=self._data_dir / "pulled-images",
            prune=self._config.images.prune,
            keep_unused_s=self._config.images.keep_unused_s,
        )
        return store.keeper

    def _make_spare_keeper(self) -> SpareKeeper | None:
        if (store := self.found.engine.images) is None:
            return None
        return SpareKeeper(
            store=store,
            node=self._me.node,
            state=self._state,
            membership=self._membership,
            profile=self._profile,
            events=self._events,
            clock=self._clock,
        )

    def _make_rebalancer(self) -> Rebalancer | None:
        moves_per_hour = self._config.allocation.rebalance_moves
        if not moves_per_hour:
            return None
        return Rebalancer(
            moves_per_hour=moves_per_hour,
            operations=self._operations,
            log=self.proposer,
            soft=self.soft,
            events=self._events,
        )

    def _make_runner(self) -> Runner | None:
        if self.found.engine.engine is None:
            self.soft.engine = EngineLink(kind="none", reachable=True, reason="as configured")
            return None
        return Runner(
            engine=self.found.engine.engine,
            furnisher=self._make_furnisher(),
            node=self._me.node,
            state=self._state,
            soft=self.soft,
            events=self._events,
            clock=self._clock,
            rng=self._rng,
            orders=self._orders,
        )

    def _make_forwarder(self) -> Forwarder | None:
        section = self._config.discovery
        if not section.forwarder:
            return None
        return Forwarder(
            node=self._me.node,
            listen=section.listen,
            connections_max=section.connections_max,
            wait_s=section.wait_s,
            state=self._state,
            soft=self.soft,
            membership=self._membership,
            clock=self._clock,
        )

    def _make_resolver(self) -> Resolver | None:
        section = self._config.discovery
        if not section.dns:
            return None

        def is_lost(node: str) -> bool:
            return self._membership.lost_since_s(node, self._clock.now_s()) is not None

        return Resolver(
            listen=section.dns_listen or "",
            port=section.dns_port,
            zone=zone(
                self._state,
                self.soft,
                cluster=self._me.cluster,
                me=self._me.node,
                is_lost=is_lost,
                rng=self._rng,
            ),
            soft=self.soft,
            upstream=Upstream(),
        )

    def _make_furnisher(self) -> Furnisher:
        own = f"files.{self._me.node}.{self._me.cluster}"
        folders = ValueFolders(run_dir(os.environ, self._data_dir) / own)
        return Furnisher(
            state=self._state,
            vault=self._vault,
            folders=folders,
            search=self._resolver.search if self._resolver else tuple,
        )

    def _make_prober(self, runner: Runner | None) -> Prober | None:
        if runner is None or self.found.engine.engine is None:
            return None
        prober = Prober(engine=self.found.engine.engine, news=runner.news, clock=self._clock)
        runner.news.on_change.append(prober.wake)
        return prober

    def _orders(self) -> Orders | None:
        """What is to run here now; None while this node has nothing to go by."""
        core, now_s = self.elector.core, self._clock.now_s()
        level = self._state.applied_index >= core.commit
        in_step = level and core.is_current and (core.role != "leader" or self.elector.leads)
        orders = self._standing_orders.now(
            self._state,
            now_s=now_s,
            in_step=in_step,
            isolated_for_s=core.silent_s(now_s),
        )
        # Who hears nobody cannot know what is there, and starts what it has.
        self._held = self._held_back(orders.run) if orders and in_step else {}
        return orders and replace(orders, held=self._held)

    def _held_back(self, instances: Iterable[str]) -> dict[str, str]:
        return held_back(self._state, self.soft, instances)

    def _make_operations(self) -> Operations:
        return Operations(
            node=self._me.node,
            cluster=self._me.cluster,
            version=__version__,
            profile=self._profile,
            algorithm=self._algorithm,
            state=self._state,
            soft=self.soft,
            membership=self._membership,
            events=self._events,
            log=self.proposer,
            clock=self._clock,
            challenge=self._nonce,
            cluster_control=self.control,
            vault=self._vault,
            own_instances=self._runner.instances if self._runner else tuple,
        )

    def _nonce(self) -> str:
        """What a signed MQTT command has to repeat: the leader's, whoever that is."""
        return self._challenge.nonce if self.proposer.leads else self.soft.leader_nonce

    def _make_inbox(self) -> Inbox:
        return Inbox(
            topics=self._topics,
            opener=Opener(self.found.keys.cluster, self._challenge),
            sealer=self._sealer,
            operations=self._operations,
            announcer=self.announcer,
            soft=self.soft,
        )

    def _make_reporter(self) -> Reporter:
        beats: list[Callable[[], None]] = [
            self.links.tick,
            self._refresh_links,
            self._voter_keeper.tick,
        ]
        dog = watchdog()
        if dog is not None:
            beats.append(lambda: dog.beat(self._clock.now_s()))
        interval_s = self._config.telemetry.interval_s
        beat_s = dog.interval_s if dog else interval_s
        if self._me.shared:
            beat_s = min(beat_s, 2 * self._timing.heartbeat_s)
            if interval_s > beat_s:
                beats.append(self.announcer.beat)
        return Reporter(
            node=self._me.node,
            labels=self._config.node.labels,
            host_paths=self._config.node.host_paths,
            beat=Beat(report_s=interval_s, beat_s=beat_s, also=tuple(beats)),
            collectors=self.found.collectors,
            log=self.proposer,
            soft=self.soft,
            membership=self._membership,
            clock=self._clock,
            uses=self._runner.uses if self._runner else tuple,
            measured=self._measured,
            admitted=lambda: self._state.member_by_id(self._me.member) is not None,
        )
