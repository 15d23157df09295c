"""The MQTT door of one node below the broker: sealed bytes in, sealed replies out."""

import itertools
import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from roheletd.loops.announcer import Announcer
from roheletd.loops.inbox import Inbox
from roheletd.messages import Challenge, Opened, Opener, RecentBoots, Sealer, Topics, subkey
from roheletd.testing import MemoryLink
from tests.api.conftest import World

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
TOPICS = Topics("edge")


class MqttDoor(World):
    """The node `pi` of the API's tests, which leads and listens to commands."""

    def __init__(self, *, boots_max: int = 1024) -> None:
        super().__init__()
        tokens = itertools.count(1)
        self.challenge = Challenge(lambda: f"nonce{next(tokens)}", boots_max)
        sealer = Sealer(KEY, "pi", "00" * 8)
        self.link = MemoryLink()
        self.announcer = Announcer(
            node="pi",
            version="0.1.0",
            topics=TOPICS,
            sealer=sealer,
            challenge=self.challenge,
            log=self.log,
            state=self.state,
        )
        self.announcer.linked(self.link)
        self.inbox = Inbox(
            topics=TOPICS,
            opener=Opener(KEY, self.challenge),
            sealer=sealer,
            operations=self.operations,
            announcer=self.announcer,
            soft=self.soft,
        )
        self.soft.dropped_messages.clear()
        self.replies = Opener(KEY, RecentBoots())
        self._boots = itertools.count(1)
        self._heard = 0

    def sender(self, key: bytes = KEY) -> Sealer:
        """A process that has just started and has a boot id of its own."""
        return Sealer(key, "cli", f"{next(self._boots):016x}")

    def command(self, body: Mapping[str, object], *, sender: Sealer | None = None) -> bytes:
        return (sender or self.sender()).seal(TOPICS.command, body, self.challenge.nonce)

    def receive(self, payload: bytes, topic: str = TOPICS.command) -> None:
        self.inbox.receive(topic, payload)

    def new_replies(self) -> list[dict[str, Any]]:
        """What was answered since the last call; each is checked as its reader would."""
        fresh = self.link.published[self._heard :]
        self._heard = len(self.link.published)
        return list(self._answers(fresh))

    def _answers(self, messages: list[Any]) -> Iterator[dict[str, Any]]:
        for topic, payload in ((message.topic, message.payload) for message in messages):
            if "/reply/" in topic:
                found = self.replies.open(topic, payload)
                assert isinstance(found, Opened), found
                answer: dict[str, Any] = json.loads(payload)
                assert topic == TOPICS.reply(answer["id"])
                yield answer

    @property
    def dropped(self) -> dict[str, int]:
        return self.soft.dropped_messages


def sealed_text(text: bytes, *, seq: int, nonce: str, boot: str, key: bytes = KEY) -> bytes:
    """Any bytes under a right seal, made from the description of the format alone.

    `Sealer` seals only what can be encoded; a holder of the key can seal anything.
    """
    seal = json.dumps({"sender": "cli", "boot": boot, "seq": seq, "nonce": nonce})[1:-1]
    head = text[:-1] + b"," if text.endswith(b"}") and text != b"{}" else b"{"
    signed = head + seal.encode() + b',"alg":"blake2b"'
    mac = blake2b(key=subkey(key, "message-mac"), digest_size=16)
    mac.update(TOPICS.command.encode() + b"\0" + signed)
    return signed + b',"mac":"' + mac.hexdigest().encode() + b'"}'
