"""What a start has to find out: the disk's content, the secrets, the engine and the broker.

Nothing is decided for good and nothing runs yet. What cannot be had now (a broker, an engine) does
not stop a node from starting what it promised; what must not be guessed (a damaged log, a wrong
key, a second daemon) does.
"""

import logging
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from roheletd.broker import Choice, choose, url_of
from roheletd.broker.embedded import EmbeddedBroker, amqtt_installed
from roheletd.broker.managed import ManagedBroker, find_mosquitto
from roheletd.broker.session import Access
from roheletd.cluster.applier import UnknownEntry, replay
from roheletd.cluster.recovery import survivor
from roheletd.cluster.state import ClusterState
from roheletd.collectors import Collectors
from roheletd.config import Config, EngineConfig
from roheletd.engines.choice import Chosen, choose_engine
from roheletd.errors import InvalidInput, Unavailable
from roheletd.fields import EngineKind
from roheletd.identity import LOG, Identity, load, node_name, start
from roheletd.keys import BROKER_USER, Keys, load_keys
from roheletd.loops.broker_keeper import BrokerKeeper, OwnBroker
from roheletd.messages import Topics
from roheletd.raft import Save, Saved, founding
from roheletd.store import DirectoryLock, Store, StoreFailed

logger = logging.getLogger(__name__)

_LOOPBACK = "127.0.0.1"
_ANYWHERE = "0.0.0.0"  # noqa: S104 - clients need the password


class Memory(Struct, frozen=True, kw_only=True):
    """What the disk holds of the log. `failure`: why it may not be gone on with.

    `state` is what is known to be committed, as far as this version can read it.
    """

    store: Store | None
    saved: Saved
    state: ClusterState
    failure: str = ""


class Found(Struct, frozen=True, kw_only=True):
    """All that the daemon is made from, beside its configuration.

    `urls` are the brokers that this node knows by itself: those of the configuration, or its own.
    """

    identity: Identity
    keys: Keys
    memory: Memory
    collectors: Collectors
    engine: Chosen
    broker: Choice
    keeper: BrokerKeeper | None
    access: Access
    urls: tuple[str, ...]
    rng: Random

    @property
    def node(self) -> str:
        return self.identity.node


async def find(config: Config, data_dir: Path, stack: AsyncExitStack) -> Found:
    """Everything that start-up has to ask the machine; `stack` gives it back at the end."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing runs yet
    stack.callback(DirectoryLock(data_dir).release)
    node = node_name(config.node.name)
    identity, full = _begin(config, data_dir, node)
    keys = load_keys(data_dir, config.cluster.key_file)
    memory = await _remember(data_dir, identity, stack)
    memory = replace(memory, failure=full or memory.failure)
    collectors = Collectors()
    collectors.open()
    stack.callback(collectors.close)
    is_witness = config.cluster.role == "witness"
    engine = await choose_engine(
        EngineConfig(kind="none") if is_witness else config.engine,
        cluster=identity.cluster,
        node=node,
        before=_engine_before(memory.state, node),
        data_dir=data_dir,
        host_paths=config.node.host_paths,
        disk_free_min_mib=config.images.disk_free_min_mib,
    )
    logger.info("engine: %s", engine.why)
    rng = Random()
    broker, own = _choose_broker(
        config, shared=identity.shared, data_dir=data_dir, keys=keys, rng=rng
    )
    logger.info("broker: %s", broker.why)
    return Found(
        identity=identity,
        keys=keys,
        memory=memory,
        collectors=collectors,
        engine=engine,
        broker=broker,
        keeper=None if own is None else BrokerKeeper(own, rng=rng),
        access=_access(config, own, theirs=broker.mode == "external", identity=identity, keys=keys),
        urls=config.broker.urls if own is None else (own.url,),
        rng=rng,
    )


def _begin(config: Config, data_dir: Path, node: str) -> tuple[Identity, str]:
    """Who this node is, and why it takes no part where that cannot be written.

    What a member ran before is started from a full disk, too.
    """
    try:
        return start(data_dir, cluster=config.cluster.name, node=node), ""
    except OSError as error:
        known = load(data_dir)
        if known is None:
            raise
        return known, f"{data_dir} cannot be written: {error.strerror}; make room and restart"


async def _remember(data_dir: Path, identity: Identity, stack: AsyncExitStack) -> Memory:
    """The log as it is to be gone on with: as it was, founded, or recovered by force.

    A log that is lost or damaged ends this node's part in the cluster, and nothing else: it may
    have voted and acknowledged what it does not know any more.
    """
    path = data_dir / LOG
    try:
        store = await Store.open(path)
        stack.push_async_callback(store.close)
        saved = await store.load()
    except StoreFailed as error:
        failure = f"{error}; {_remedy(identity)}"
        return Memory(store=None, saved=Saved(), state=ClusterState(), failure=failure)
    state = _committed(saved)
    if saved == Saved() and identity.joined and identity.shared:
        failure = f"{path} is empty, and this node was a member before: the log is lost"
        failure += f"; {_remedy(identity)}"
        return Memory(store=None, saved=saved, state=state, failure=failure)
    try:
        if (save := _adapted(saved, state, identity)) is not None:
            await store.save(save)
            saved = await store.load()
    except (UnknownEntry, StoreFailed) as error:
        return Memory(store=None, saved=saved, state=state, failure=str(error))
    return Memory(store=store, saved=saved, state=state)


def _adapted(saved: Saved, state: ClusterState, identity: Identity) -> Save | None:
    """What the disk has to hold in place of `saved`, if it is not to be gone on with as it is."""
    if saved == Saved():
        return founding(identity.member) if identity.founded else None
    if 0 < state.epoch < identity.epoch:
        logger.warning("beginning epoch %d of the cluster, from this node alone", identity.epoch)
        return survivor(saved, identity.member)
    return None


def _remedy(identity: Identity) -> str:
    if not identity.shared:
        return "this node is alone: move the file away to begin anew, with nothing in it"
    return (
        "this node takes no part in the cluster, and its instances keep running; to take part "
        "again, `roheletd cluster join --force TOKEN` with a token of `roheletd cluster token` "
        "elsewhere"
    )


def _committed(saved: Saved) -> ClusterState:
    state = ClusterState()
    with suppress(UnknownEntry):  # it will be told when the log is applied in earnest
        replay(state, saved, last=saved.commit)
    return state


def _engine_before(state: ClusterState, node: str) -> EngineKind:
    known = state.registrations.get(node)
    return known.measured.engine if known and known.measured else "none"


def _choose_broker(
    config: Config, *, shared: bool, data_dir: Path, keys: Keys, rng: Random
) -> tuple[Choice, OwnBroker | None]:
    """Where the broker comes from, and the one that this node runs itself, if it is to run one."""
    listen = config.broker.listen or (_ANYWHERE if shared else _LOOPBACK)
    port, password = config.broker.port, keys.broker_password
    mosquitto = find_mosquitto()
    try:
        choice = choose(config.broker, mosquitto=mosquitto, amqtt=amqtt_installed())
    except Unavailable as error:
        # A node whose mosquitto was uninstalled still has instances to run.
        return Choice("none", str(error)), None
    if choice.mode == "managed":
        assert mosquitto is not None, "the choice was made because it is there"
        directory = data_dir / "mosquitto"
        return choice, ManagedBroker(
            mosquitto,
            directory,
            listen=listen,
            port=port,
            username=BROKER_USER,
            password=password,
            rng=rng,
        )
    if choice.mode == "embedded":
        own = EmbeddedBroker(listen=listen, port=port, username=BROKER_USER, password=password)
        return choice, own
    return choice, None


def _access(
    config: Config, own: OwnBroker | None, *, theirs: bool, identity: Identity, keys: Keys
) -> Access:
    """The way to the brokers: those of the cluster, or `theirs`."""
    broker = config.broker
    topics = Topics(identity.cluster)
    return Access(
        # Not the name: a machine whose name is taken asks to be let in, and must end nobody's link.
        client_id=f"roheletd-{identity.cluster}-{identity.member}",
        # Who runs no broker is let in by those of the other nodes all the same.
        username=broker.username if theirs else BROKER_USER,
        password=_password(broker.password_file) if theirs else keys.broker_password,
        ca_file=broker.ca_file,
        keepalive_s=broker.keepalive_s,
        subscriptions=subscriptions(topics, identity.node, takes_part=True),
        hear_own=False,
        mqtt5=own is None or own.mqtt5,
    )


def subscriptions(topics: Topics, node: str, *, takes_part: bool) -> tuple[str, ...]:
    """What a node hears. Of hundreds, only those that may come to lead hear all the others."""
    always = (
        topics.command,
        topics.leader,
        topics.log,
        topics.raft(node),
        topics.snapshot(node),
        topics.stream(node),
        topics.all_status,
        topics.all_instances,
    )
    return (*always, topics.all_telemetry) if takes_part else always


def url_for_others(host: str, port: int) -> str:
    """Where other nodes reach this node's own broker; empty where this machine has no address."""
    return url_of(host, port) if host else ""


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("$.broker.password_file", f"expected a readable file: {error}") from None
