"""What the parts of a node are made from, and none of it runs by itself."""

import secrets
from contextlib import suppress
from functools import partial
from pathlib import Path

from roheletd.allocation.algorithm import Algorithm, NotLoaded
from roheletd.allocation.profile import profile_of
from roheletd.clock import Clock
from roheletd.cluster.events import Events
from roheletd.cluster.membership import Membership, thresholds
from roheletd.cluster.soft import BrokerLink, EngineLink, SoftState
from roheletd.cluster.state import ClusterState
from roheletd.collectors.address import OwnAddress
from roheletd.config import TIMINGS, Config
from roheletd.frames import Framer, Frames
from roheletd.frames import Identity as FrameIdentity
from roheletd.messages import Challenge, Sealer, Topics
from roheletd.startup import Found, url_for_others
from roheletd.vault import Vault


class Basis:
    """One of each for all parts of a node.

    No part is found here: whoever needs another one is given it by name.
    """

    def __init__(self, config: Config, data_dir: Path, found: Found) -> None:
        self.config = config
        self.data_dir = data_dir
        self.found = found
        self.me = me = found.identity
        self.clock = Clock()
        self.rng = found.rng
        self.timing = TIMINGS[config.cluster.timing]
        self.limits = thresholds(2 * self.timing.heartbeat_s)
        self.topics = Topics(me.cluster)
        self.sealer = Sealer(found.keys.cluster, me.node, secrets.token_hex(8))
        self.challenge = Challenge(lambda: secrets.token_hex(8))
        self.vault = Vault(found.keys.cluster)
        self.state = ClusterState()
        self.soft = SoftState(
            broker=BrokerLink(mode=found.broker.mode), engine=EngineLink(kind=found.engine.kind)
        )
        self.address = OwnAddress(config.node.address, self.clock.now_s())
        self.soft.heard_address(me.node, self.address.host)
        self.membership = Membership(me=me.node, limits=self.limits, now_s=self.clock.now_s())
        self.events = Events(node=me.node, wall_s=self.clock.wall_s)
        self.profile = profile_of(config.allocation)
        self.algorithm = _load_algorithm(config, data_dir)

    @property
    def own_broker(self) -> str:
        """Where others reach the broker of this node; empty where they do not.

        While there is no network, it is where they used to.
        """
        if self.found.keeper is None or not self.me.shared:
            return ""
        known = self.state.member_by_id(self.me.member)
        now = url_for_others(self.address.host, self.config.broker.port)
        return now or (known.broker if known else "")

    def framer(self) -> Framer:
        """Seals what this node says in frames, with numbers of its own."""
        me = self.me
        identity = FrameIdentity(
            cluster_id=me.cluster_id, epoch=me.epoch, member=me.member, boot=me.boot
        )
        return Framer(self.found.keys.cluster, identity)

    def frames(self) -> Frames:
        """Opens what others say in frames."""
        return Frames(self.found.keys.cluster, self.me.cluster_id, self.me.epoch)


def _load_algorithm(config: Config, data_dir: Path) -> Algorithm:
    """A user's; one that cannot be loaded is told about, and the built-in does without it."""
    allocation = config.allocation
    if allocation.algorithm is None:
        return Algorithm()
    from roheletd import plugins  # noqa: PLC0415 - most daemons have none

    folder = Path(allocation.algorithm_dir or data_dir / "userModule")
    algorithm = Algorithm(allocation.algorithm, partial(plugins.load, allocation.algorithm, folder))
    with suppress(NotLoaded):
        algorithm.reload()
    return algorithm
