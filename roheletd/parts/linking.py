"""The links to the brokers, and what goes over them in both directions.

What comes in goes through the receiver: frames to the log and to the streams, commands to the
inbox, all else to what is known of the others. Who speaks is told whenever there is a link anew.
"""

from msgspec.structs import replace

from roheletd.broker.links import Links
from roheletd.cluster.soft import BrokerLink
from roheletd.frames import Dropped
from roheletd.loops.announcer import Announcer
from roheletd.loops.inbox import Inbox
from roheletd.loops.receiver import Receiver
from roheletd.loops.streams import Streams
from roheletd.parts.agreed_log import AgreedLog
from roheletd.parts.basis import Basis
from roheletd.parts.brokers import Brokers
from roheletd.startup import subscriptions


class Linking:
    """Links, receiver and speakers, joined. `follow` and `refresh` keep it up to date."""

    def __init__(
        self,
        basis: Basis,
        *,
        log: AgreedLog,
        brokers: Brokers,
        announcer: Announcer,
        inbox: Inbox,
        streams: Streams,
    ) -> None:
        self._basis = basis
        self._log = log
        self._brokers = brokers
        self._announcer = announcer
        self._streams = streams
        self.receiver = self._make_receiver(inbox)
        self.links = Links(
            basis.found.access,
            will=announcer.will,
            on_message=self.receiver.receive,
            on_link=self._linked,
            rng=basis.rng,
            silence_s=basis.limits.lost_after_s,
        )

    def follow(self) -> None:
        """Link to the brokers of the agreed state, and run our own where others need it."""
        basis, takes_part = self._basis, self._log.takes_part
        self.links.want(self._brokers.ours(), 2 if takes_part else 1)
        self.links.hear(subscriptions(basis.topics, basis.me.node, takes_part=takes_part))
        keeper = basis.found.keeper
        if keeper is not None and (not basis.me.shared or self._log.votes):
            keeper.need()

    def refresh(self) -> None:
        """What became of the links, for whoever asks."""
        soft, mode = self._basis.soft, self._basis.found.broker.mode
        found = tuple(
            BrokerLink(
                mode=mode,
                url=link.url,
                connected=link.connected,
                protocol=link.protocol,
                reason=link.reason,
                reconnects=link.reconnects,
                dropped=link.dropped,
            )
            for link in self.links.links
        )
        none = BrokerLink(mode=mode)
        best = next((link for link in found if link.connected), found[0] if found else none)
        trouble = self._brokers.why_none() if not best.connected else ""
        soft.links = found
        soft.broker = replace(best, reason=trouble or best.reason)
        soft.dropped_frames = dict(self.receiver.dropped)

    def _make_receiver(self, inbox: Inbox) -> Receiver:
        basis, log = self._basis, self._log
        receiver = Receiver(
            node=basis.me.node,
            topics=basis.topics,
            cluster_key=basis.found.keys.cluster,
            frames_in=basis.frames(),
            elector=log.elector,
            proposer=log.proposer,
            forwards=log.forwards,
            inbox=inbox,
            membership=basis.membership,
            soft=basis.soft,
            clock=basis.clock,
            on_peer=self._heard_peer,
            links_up=lambda: sum(link.connected for link in self.links.links),
        )
        receiver.on_dropped = self._dropped
        receiver.on_stream = self._streams.receive
        return receiver

    def _heard_peer(self, link: int) -> None:
        self.links.heard(link)

    def _linked(self, connected: bool, _reason: str) -> None:  # noqa: FBT001 - the links' call
        if connected and not self._basis.soft.broker.connected:
            self._basis.membership.listen_anew(self._basis.clock.now_s())
        self.refresh()
        link = self.links if connected else None
        self._announcer.linked(link)
        self._log.sender.linked(link)
        self._streams.linked(link)

    def _dropped(self, frame: Dropped) -> None:
        """What was not taken may say something of this node, or of the one that said it."""
        me = self._basis.me
        if frame.reason == "other protocol":
            self._basis.soft.notices["protocol"] = frame.explanation
        elif frame.reason == "other epoch" and frame.epoch > me.epoch:
            self._log.elector.fail(
                f"cluster {me.cluster} was recovered by force as epoch {frame.epoch}, and "
                f"this node is of epoch {me.epoch}: `roheletd cluster join TOKEN` with a new "
                "token"
            )
