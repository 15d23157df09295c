"""The ways in for people and machines: HTTP and MQTT, to the same operations."""

from collections.abc import Callable

from roheletd import __version__
from roheletd.api.operations import Operations
from roheletd.api.server import ApiServer
from roheletd.control import Control
from roheletd.instance_use import InstanceUse
from roheletd.loops.announcer import Announcer
from roheletd.loops.event_reader import EventReader
from roheletd.loops.inbox import Inbox
from roheletd.loops.log_reader import LogReader
from roheletd.messages import Opener
from roheletd.parts.agreed_log import AgreedLog
from roheletd.parts.basis import Basis
from roheletd.parts.brokers import Brokers

SOCKET_NAME = "roheletd.sock"


def make_control(
    basis: Basis, *, log: AgreedLog, brokers: Brokers, stop: Callable[[], None]
) -> Control:
    """`stop` ends this life of the node, before the next one begins."""
    return Control(
        identity=basis.me,
        data_dir=basis.data_dir,
        key=basis.found.keys.cluster,
        key_file=basis.config.cluster.key_file,
        brokers=brokers.for_others,
        elector=log.elector,
        proposer=log.proposer,
        state=basis.state,
        soft=basis.soft,
        membership=basis.membership,
        clock=basis.clock,
        stop=stop,
    )


def make_operations(
    basis: Basis,
    *,
    log: AgreedLog,
    control: Control,
    log_reader: LogReader,
    event_reader: EventReader,
    own_instances: Callable[[], tuple[InstanceUse, ...]],
) -> Operations:
    def nonce() -> str:
        """What a signed MQTT command has to repeat: the leader's, whoever that is."""
        return basis.challenge.nonce if log.proposer.leads else basis.soft.leader_nonce

    operations = Operations(
        node=basis.me.node,
        cluster=basis.me.cluster,
        version=__version__,
        profile=basis.profile,
        algorithm=basis.algorithm,
        state=basis.state,
        soft=basis.soft,
        membership=basis.membership,
        events=basis.events,
        log=log.proposer,
        clock=basis.clock,
        challenge=nonce,
        cluster_control=control,
        vault=basis.vault,
        own_instances=own_instances,
    )
    operations.streams = log_reader
    operations.all_events = event_reader
    return operations


def make_inbox(basis: Basis, *, operations: Operations, announcer: Announcer) -> Inbox:
    return Inbox(
        topics=basis.topics,
        opener=Opener(basis.found.keys.cluster, basis.challenge),
        sealer=basis.sealer,
        operations=operations,
        announcer=announcer,
        soft=basis.soft,
    )


def make_api(basis: Basis, *, operations: Operations) -> ApiServer:
    section = basis.config.api
    return ApiServer(
        operations,
        socket_path=basis.data_dir / SOCKET_NAME,
        listen=section.listen,
        port=section.port if section.enabled else None,
        token=basis.found.keys.api_token,
    )
