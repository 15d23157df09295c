"""What the nodes of a cluster say to each other in binary, and how a receiver knows who said it.

A frame, on the topics `raft/<name>`, `log`, `snapshot/<name>` and `stream/<name>`:

    1 byte       the protocol number, first in all versions, so that each can name the other's
    msgpack      [cluster id, epoch, sender, boot, seq, alg, body]
    16 bytes     keyed BLAKE2b over the topic, a zero byte, and all of the above

Nothing is acted on before the MAC is right. `alg` says what else vouches for the sender: nothing
yet; a signature with a key of the node's own would be a further member of the array.

`boot` counts the starts of the sender and is durable there, so no wall clock is needed to tell
old from new: once a boot was heard, earlier ones are refused for good. A receiver that starts, or
that had to forget a sender, may be fooled with frames from before; to Raft that is a network that
delays and repeats, which it is made for. Nothing else may be carried in frames, but what looks out
for that itself, as streams do (`cluster.flow`), on topics and with numbers of their own.

Control messages are published on two links at once. A window of numbers per sender decides what is
new; windows per sender and link tell the second copy, which is expected, from a replay.
"""

import hmac
from hashlib import blake2b
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from roheletd.decoding import UNREADABLE
from roheletd.fields import ClusterId, MemberId
from roheletd.messages import PAYLOAD_BYTES_MAX, SENDERS_MAX, Window, subkey

PROTOCOL = 1
BODY_BYTES_MAX = PAYLOAD_BYTES_MAX
# The names and numbers around a body take less than 150 bytes; brokers leave room for 64 KiB.
FRAME_BYTES_MAX = BODY_BYTES_MAX + 1024
LINKS_PER_SENDER = 8

Reason = Literal[
    "too large",
    "malformed",
    "other protocol",
    "other cluster",
    "wrong MAC",
    "unknown alg",
    "other epoch",
    "old boot",
    "replayed",
]
EXPLANATIONS: dict[Reason, str] = {
    "too large": f"a frame has at most {FRAME_BYTES_MAX} bytes",
    "malformed": "this is no frame: a protocol number, an array of seven members, a MAC",
    "other protocol": "the sender runs a version that this one cannot talk to; install the same "
    "version of roheletd on all nodes",
    "other cluster": "two clusters have the same name on one broker; give one of them another name",
    "wrong MAC": "made with another cluster key, for another topic, or altered on the way",
    "unknown alg": "this version checks blake2b only; install the same version on all nodes",
    "other epoch": "the cluster was recovered by force on one side, and this was said on the "
    "other; let the node of the lower epoch join again",
    "old boot": "said before the sender's last start, so it was delayed or replayed",
    "replayed": "this frame came before, over the same link",
}

_ALG = "blake2b"
_MAC_BYTES = 16
_MAC_PURPOSE = "frame-mac"

Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Identity(Struct, frozen=True, kw_only=True):
    """Who speaks. Raise `boot` durably at each start, before the first frame is sealed."""

    cluster_id: ClusterId
    epoch: Number
    member: MemberId
    boot: Number


class _Content(Struct, frozen=True, array_like=True):
    """The array of a frame, as it is on the wire; what a later version adds is skipped."""

    cluster_id: ClusterId
    epoch: Number
    sender: MemberId
    boot: Number
    seq: Number
    alg: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}$(?!\n)")]
    body: bytes


class Frame(Struct, frozen=True):
    """What a member of this cluster and epoch said, met for the first time."""

    sender: str
    boot: int
    seq: int
    body: bytes


class Duplicate(Struct, frozen=True):
    """A frame of which another link has brought a copy, or later ones: nothing is wrong."""

    sender: str


class Dropped(Struct, frozen=True):
    """A frame that must not be acted on. `found`, in words, is what it had in place of ours.

    `sender` and `epoch` are given where the MAC was right: so a node learns that the others have
    gone on to a later epoch without it.
    """

    reason: Reason
    sender: str = ""
    found: str = ""
    epoch: int = 0

    @property
    def explanation(self) -> str:
        found = f"{self.found}: " if self.found else ""
        return found + EXPLANATIONS[self.reason]


def _mac(key: bytes, topic: str, signed: bytes | memoryview) -> bytes:
    digest = blake2b(key=key, digest_size=_MAC_BYTES)
    digest.update(topic.encode() + b"\0")
    digest.update(signed)
    return digest.digest()


class Framer:
    """Seals what one start of one node says. A body has at most `BODY_BYTES_MAX` bytes."""

    def __init__(self, cluster_key: bytes, identity: Identity) -> None:
        self._key = subkey(cluster_key, _MAC_PURPOSE)
        self._identity = msgspec.convert(msgspec.structs.asdict(identity), Identity)
        self._encoder = msgspec.msgpack.Encoder()
        self._seq = 0

    def seal(self, topic: str, body: bytes) -> bytes:
        assert len(body) <= BODY_BYTES_MAX, "what is said to nodes is cut into pieces before"
        self._seq += 1
        me = self._identity
        content = _Content(me.cluster_id, me.epoch, me.member, me.boot, self._seq, _ALG, body)
        signed = bytes((PROTOCOL,)) + self._encoder.encode(content)
        return signed + _mac(self._key, topic, signed)


class _Heard:
    """The last boot of one sender, and which of its frames have come: in all, and by link."""

    __slots__ = ("_any", "_links", "boot")

    def __init__(self, boot: int) -> None:
        self.boot = boot
        self._any = Window()
        self._links: dict[int, Window] = {}

    def admit(self, seq: int, link: int) -> Literal["new", "duplicate", "replayed"]:
        fresh = self._link(link).admit(seq)
        if self._any.admit(seq):
            return "new"
        return "duplicate" if fresh else "replayed"

    def _link(self, link: int) -> Window:
        """To forget a link is safe: what is new does not depend on it."""
        if link not in self._links and len(self._links) >= LINKS_PER_SENDER:
            del self._links[next(iter(self._links))]
        return self._links.setdefault(link, Window())


class Frames:
    """Opens the frames of one cluster and epoch, and counts what it drops by reason.

    `link` is any number that tells the links apart: on one of them a frame comes once. Whoever was
    heard longest ago is forgotten first when there are more senders than `senders_max`; all of
    them hold the key, and a cluster has fewer members, so that happens by members long gone.
    """

    def __init__(
        self, cluster_key: bytes, cluster_id: str, epoch: int, *, senders_max: int = SENDERS_MAX
    ) -> None:
        self._key = subkey(cluster_key, _MAC_PURPOSE)
        self._cluster_id = cluster_id
        self._epoch = epoch
        self._senders_max = senders_max
        self._senders: dict[str, _Heard] = {}
        self._decoder = msgspec.msgpack.Decoder(_Content)
        self.dropped: dict[Reason, int] = dict.fromkeys(EXPLANATIONS, 0)

    def open(self, topic: str, payload: bytes, link: int = 0) -> Frame | Dropped | Duplicate:
        """The frame, or why there is none; never raises, whatever the bytes."""
        found: Frame | Dropped | Duplicate | _Content = self._authentic(topic, payload)
        if isinstance(found, _Content):
            found = self._ours(found) or self._new(found, link)
        if isinstance(found, Dropped):
            self.dropped[found.reason] += 1
        return found

    def _authentic(self, topic: str, payload: bytes) -> _Content | Dropped:
        if len(payload) > FRAME_BYTES_MAX:
            return Dropped("too large")
        if len(payload) <= 1 + _MAC_BYTES:
            return Dropped("malformed")
        if payload[0] != PROTOCOL:
            found = f"protocol {payload[0]}, where this version speaks {PROTOCOL}"
            return Dropped("other protocol", found=found)
        view = memoryview(payload)
        content = self._decoded(view[1:-_MAC_BYTES])
        expected = _mac(self._key, topic, view[:-_MAC_BYTES])
        if hmac.compare_digest(expected, view[-_MAC_BYTES:]):
            return content or Dropped("malformed")
        # Not believed, but it helps people: another cluster has another key.
        return (content and self._of_other_cluster(content)) or Dropped("wrong MAC")

    def _decoded(self, content: memoryview) -> _Content | None:
        try:
            return self._decoder.decode(content)
        except UNREADABLE:
            return None

    def _ours(self, content: _Content) -> Dropped | None:
        """Why a frame of someone who holds the key is none of this cluster and epoch."""
        if content.alg != _ALG:
            return Dropped("unknown alg", content.sender, content.alg)
        if content.epoch != self._epoch:
            found = f"epoch {content.epoch}, where this node is in {self._epoch}"
            return Dropped("other epoch", content.sender, found, content.epoch)
        return self._of_other_cluster(content)

    def _of_other_cluster(self, content: _Content) -> Dropped | None:
        if content.cluster_id == self._cluster_id:
            return None
        found = f"cluster {content.cluster_id}, where this node is of {self._cluster_id}"
        return Dropped("other cluster", found=found)

    def _new(self, content: _Content, link: int) -> Frame | Dropped | Duplicate:
        sender = content.sender
        heard = self._senders.pop(sender, None)
        if heard is None or heard.boot < content.boot:
            heard = _Heard(content.boot)
        self._remember(sender, heard)
        if content.boot < heard.boot:
            found = f"start {content.boot}, where {heard.boot} was heard"
            return Dropped("old boot", sender, found)
        match heard.admit(content.seq, link):
            case "new":
                return Frame(sender, content.boot, content.seq, content.body)
            case "duplicate":
                return Duplicate(sender)
            case "replayed":
                return Dropped("replayed", sender)

    def _remember(self, sender: str, heard: _Heard) -> None:
        if len(self._senders) >= self._senders_max:
            del self._senders[next(iter(self._senders))]
        self._senders[sender] = heard
