"""What a start has to find out: the disk's content, the secrets, the engine and the broker.

Nothing is decided for good and nothing runs yet. What cannot be had now (a broker, an engine) does
not stop a node from starting what it promised; what must not be guessed (a damaged log, a wrong
key, a second daemon) does.
"""

import logging
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from msgspec import Struct

from roheletd.broker import Choice, choose
from roheletd.broker.embedded import EmbeddedBroker, amqtt_installed
from roheletd.broker.managed import ManagedBroker, find_mosquitto
from roheletd.broker.session import Access
from roheletd.cluster.state import ClusterState
from roheletd.collectors import Collectors
from roheletd.config import Config
from roheletd.engines.choice import Chosen, choose_engine
from roheletd.errors import InvalidInput, Unavailable
from roheletd.keys import BROKER_USER, Keys, load_keys
from roheletd.loops.broker_keeper import BrokerKeeper, OwnBroker
from roheletd.loops.elector import recover
from roheletd.messages import Topics
from roheletd.raft.solo import Solo
from roheletd.store import DirectoryLock, Store

logger = logging.getLogger(__name__)


class Found(Struct, frozen=True, kw_only=True):
    """All that the daemon is made from, beside its configuration."""

    node: str
    keys: Keys
    store: Store
    state: ClusterState
    core: Solo
    collectors: Collectors
    engine: Chosen
    broker: Choice
    keeper: BrokerKeeper | None
    access: Access
    rng: Random


async def find(config: Config, data_dir: Path, stack: AsyncExitStack) -> Found:
    """Everything that start-up has to ask the machine; `stack` gives it back at the end."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing runs yet
    stack.callback(DirectoryLock(data_dir).release)
    keys = load_keys(data_dir, config.cluster.key_file)
    store = await Store.open(data_dir / "log.db")
    stack.push_async_callback(store.close)
    state, core = await recover(store)
    collectors = Collectors()
    collectors.open()
    stack.callback(collectors.close)
    node = config.node.name or _host_name()
    known = state.registrations.get(node)
    engine = await choose_engine(
        config.engine,
        cluster=config.cluster.name,
        node=node,
        before=known.measured.engine if known and known.measured else "none",
        data_dir=data_dir,
    )
    logger.info("engine: %s", engine.why)
    rng = Random()
    broker, own = _choose_broker(config, data_dir=data_dir, keys=keys, rng=rng)
    logger.info("broker: %s", broker.why)
    return Found(
        node=node,
        keys=keys,
        store=store,
        state=state,
        core=core,
        collectors=collectors,
        engine=engine,
        broker=broker,
        keeper=None if own is None else BrokerKeeper(own, rng=rng),
        access=_access(config, own, node=node, keys=keys),
        rng=rng,
    )


def _choose_broker(
    config: Config, *, data_dir: Path, keys: Keys, rng: Random
) -> tuple[Choice, OwnBroker | None]:
    """Where the broker comes from, and the one that this node runs itself, if it is to run one."""
    listen, port, password = config.broker.listen, config.broker.port, keys.broker_password
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


def _access(config: Config, own: OwnBroker | None, *, node: str, keys: Keys) -> Access:
    """The way to the broker, ours or theirs."""
    broker = config.broker
    return Access(
        urls=broker.urls if own is None else (own.url,),
        client_id=f"roheletd-{config.cluster.name}-{node}",
        username=broker.username if own is None else BROKER_USER,
        password=_password(broker.password_file) if own is None else keys.broker_password,
        ca_file=broker.ca_file,
        keepalive_s=broker.keepalive_s,
        subscriptions=(Topics(config.cluster.name).command,),
        mqtt5=own is None or own.mqtt5,
    )


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("$.broker.password_file", f"expected a readable file: {error}") from None


def _host_name() -> str:
    name = socket.gethostname().partition(".")[0]
    if not name:
        raise InvalidInput("$.node.name", "expected a name, for this host has none")
    return name
