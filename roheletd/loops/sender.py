"""Says to other nodes what the log has to say, in sealed frames, over all links at once."""

from msgspec import Struct

from roheletd.cluster.exchange import encode
from roheletd.frames import Framer
from roheletd.loops.announcer import Publisher
from roheletd.messages import Topics
from roheletd.model import node_of
from roheletd.raft import EVERYBODY, Message, SnapshotChunk


class Sender:
    """What no link takes is lost: Raft says it again, and so does whoever forwards a command."""

    def __init__(self, *, topics: Topics, framer: Framer) -> None:
        self._topics = topics
        self._framer = framer
        self._link: Publisher | None = None

    def linked(self, link: Publisher | None) -> None:
        self._link = link

    def send(self, message: Message) -> None:
        """One of Raft's own messages."""
        if message.to == EVERYBODY:
            self._publish(self._topics.log, message)
        elif isinstance(message, SnapshotChunk):
            self._publish(self._topics.snapshot(node_of(message.to)), message)
        else:
            self._publish(self._topics.raft(node_of(message.to)), message)

    def say(self, member: str, speech: Struct) -> None:
        """A forwarded command, or an answer to one."""
        self._publish(self._topics.raft(node_of(member)), speech)

    def _publish(self, topic: str, speech: Struct) -> None:
        if self._link is not None:
            self._link.publish(topic, self._framer.seal(topic, encode(speech)))
