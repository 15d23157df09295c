"""What is said over MQTT, and how a receiver knows who said it.

A sealed message is its JSON object with the seal as last members, so any JSON reader reads it:

    {"command":"remove-service","id":"7","sender":"cli","boot":"<16 hex>","seq":1,
     "nonce":"<16 hex>","alg":"blake2b","mac":"<32 hex>"}

`mac` is keyed BLAKE2b over the topic, a zero byte, and every byte before `,"mac":"`: the bytes
that were sent are the bytes that are checked, so no canonical form is needed, and nothing of a
message is parsed before its MAC is right. `alg` is there for per-node keys to come.

Replays are told apart without a wall clock, which small boards do not have. A process draws a
`boot` id at its start and numbers its messages; per (sender, boot) a receiver keeps the highest
number and which of the 64 below it were seen. What is left is which boots to believe:

- `Challenge`, for commands: a new boot must repeat the receiver's `nonce`. The nonce is random,
  drawn at each start, and drawn anew when the table of boots is full and so cleared: a message
  that was ever accepted carries an old nonce, or meets the window that accepted it.
- `RecentBoots`, for telemetry and status, which are soft state: any boot, each message once.
"""

import hmac
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Annotated, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct

from roheletd.decoding import UNREADABLE
from roheletd.errors import InvalidInput
from roheletd.fields import Name
from roheletd.instance_use import InstanceUse

PAYLOAD_BYTES_MAX = 1 << 20
WINDOW = 64
BOOTS_MAX = 1024
SENDERS_MAX = 4096
BOOTS_PER_SENDER = 4

Reason = Literal[
    "too large", "no MAC", "unknown alg", "wrong MAC", "malformed", "unknown boot", "replayed"
]
EXPLANATIONS: dict[Reason, str] = {
    "too large": f"a message has at most {PAYLOAD_BYTES_MAX} bytes",
    "no MAC": "the message does not end with alg and mac; make it with `roheletd sign`",
    "unknown alg": "this version checks blake2b only; sign with the same version",
    "wrong MAC": "signed with another cluster key, for another topic, or altered on the way",
    "malformed": "the MAC is right, but this is no JSON object with sender, boot and seq",
    "unknown boot": "a new sender must repeat the nonce of the leader topic; sign the message anew",
    "replayed": "this message was received before; sign it anew to send it again",
}

_SEAL_MEMBERS = frozenset({"sender", "boot", "seq", "nonce", "will", "alg", "mac"})
_ALG = b',"alg":"'
_MAC = b'","mac":"'
_MAC_HEX = 32
_MAC_PURPOSE = "message-mac"
# Room for an Ed25519 signature in hex: further from the end there is no trailer to look for.
_TRAILER_BYTES_MAX = 256

T = TypeVar("T")


class Topics:
    """The topics of one cluster, and the patterns that subscribe to all nodes at once."""

    def __init__(self, cluster: str) -> None:
        self._root = root = f"rohe/{cluster}"
        self.leader = f"{root}/leader"
        self.event = f"{root}/event"
        self.command = f"{root}/command"
        self.log = f"{root}/log"
        self.all_telemetry = f"{root}/node/+/telemetry"
        self.all_status = f"{root}/node/+/status"
        self.all_instances = f"{root}/node/+/instances"
        self.all_replies = f"{root}/reply/+"

    def telemetry(self, node: str) -> str:
        return f"{self._root}/node/{node}/telemetry"

    def instances(self, node: str) -> str:
        return f"{self._root}/node/{node}/instances"

    def status(self, node: str) -> str:
        return f"{self._root}/node/{node}/status"

    def reply(self, command_id: str) -> str:
        return f"{self._root}/reply/{command_id}"

    def raft(self, node: str) -> str:
        return f"{self._root}/raft/{node}"

    def snapshot(self, node: str) -> str:
        return f"{self._root}/snapshot/{node}"

    def stream(self, node: str) -> str:
        return f"{self._root}/stream/{node}"


class NodeStatus(Struct, frozen=True, kw_only=True):
    """Retained on `node/<name>/status`; `offline` is said at a clean stop, or by the will.

    `failure`: why the node takes no part in the log, so that nothing new may be placed there.
    `beat`: said a moment ago and not kept by a broker, and so a sign of life.
    """

    node: Name
    state: Literal["online", "offline"]
    beat: bool = False
    failure: str = ""
    role: str = ""
    version: str = ""
    applied: int = 0


class InstancesNotice(Struct, frozen=True, kw_only=True):
    """Retained on `node/<name>/instances`, and said at once when one of them changes.

    Without what they use, which telemetry tells. `address` is where other nodes reach this one.
    """

    node: Name
    address: str = ""
    instances: tuple[InstanceUse, ...] = ()


class LeaderNotice(Struct, frozen=True, kw_only=True):
    """Retained on `leader`. The leader's seal beside it carries the nonce that commands repeat."""

    name: Name
    term: int


class CommandHead(Struct, frozen=True, kw_only=True):
    """What every command has; the other members are the operation's own."""

    command: Annotated[str, Meta(max_length=64)]
    id: Name


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one command: `result`, or `error` (its kind) with `reason` and `field`."""

    id: str
    ok: bool
    error: str = ""
    reason: str = ""
    field: str = ""
    result: object = None


class Stamp(Struct, frozen=True, kw_only=True):
    """The members that a seal adds, as the receiver reads them."""

    sender: Name
    boot: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$(?!\n)")]
    seq: Annotated[int, Meta(ge=1, lt=2**53)]
    nonce: Annotated[str, Meta(max_length=64)] = ""
    will: bool = False


class Opened(Struct, frozen=True):
    """A message from a holder of the key, met for the first time."""

    stamp: Stamp
    payload: bytes

    def body(self) -> dict[str, object]:
        """What was sealed, without the seal."""
        members: dict[str, object] = self.read(dict)
        return {name: value for name, value in members.items() if name not in _SEAL_MEMBERS}

    def read(self, kind: type[T]) -> T:
        """The message as a struct, whose unknown members (the seal among them) are skipped."""
        try:
            return msgspec.json.decode(self.payload, type=kind)
        except UNREADABLE as error:
            expected, _, field = str(error).partition(" - at `")
            raise InvalidInput(field.rstrip("`") or "$", expected) from None


class Dropped(Struct, frozen=True):
    """A message that must not be acted on."""

    reason: Reason


def subkey(cluster_key: bytes, purpose: str) -> bytes:
    """A key for one purpose (at most 16 bytes): to know it tells nothing of the cluster key."""
    return blake2b(key=cluster_key, digest_size=32, person=purpose.encode()).digest()


def broker_password(cluster_key: bytes) -> str:
    """The password of the brokers that a cluster runs itself: every member can derive it."""
    return subkey(cluster_key, "broker-password")[:16].hex()


def _mac(key: bytes, topic: str, signed: bytes) -> bytes:
    digest = blake2b(key=key, digest_size=_MAC_HEX // 2)
    digest.update(topic.encode() + b"\0")
    digest.update(signed)
    return digest.hexdigest().encode()


class Sealer:
    """Seals what one process says. `boot` is 16 random hex digits, drawn at its start."""

    def __init__(self, cluster_key: bytes, sender: str, boot: str) -> None:
        stamp = msgspec.convert({"sender": sender, "boot": boot, "seq": 1}, Stamp)
        self._key = subkey(cluster_key, _MAC_PURPOSE)
        self._identity = f'"sender":"{stamp.sender}","boot":"{stamp.boot}"'
        self._seq = 0
        self._wills = 0

    def seal(
        self, topic: str, body: Struct | Mapping[str, object], nonce: str | None = None
    ) -> bytes:
        """`body` as sealed JSON; raises `InvalidInput` where it cannot be a message."""
        self._seq += 1
        mark = "" if nonce is None else f',"nonce":{msgspec.json.encode(nonce).decode()}'
        return self._sealed(topic, body, f'"seq":{self._seq}{mark}')

    def will(self, topic: str, body: Struct) -> bytes:
        """`body` sealed now for the broker to publish when the link is lost, much later.

        Wills have numbers of their own: among the others a will would be old when it arrives.
        """
        self._wills += 1
        return self._sealed(topic, body, f'"seq":{self._wills},"will":true')

    def _sealed(self, topic: str, body: Struct | Mapping[str, object], marks: str) -> bytes:
        opened = _encoded(body)[:-1]
        comma = b"" if opened == b"{" else b","
        signed = opened + comma + f'{self._identity},{marks},"alg":"blake2b"'.encode()
        payload = signed + b',"mac":"' + _mac(self._key, topic, signed) + b'"}'
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise InvalidInput("$", EXPLANATIONS["too large"])
        return payload


def _encoded(body: Struct | Mapping[str, object]) -> bytes:
    names = body.__struct_encode_fields__ if isinstance(body, Struct) else body
    for name in _SEAL_MEMBERS.intersection(names):
        raise InvalidInput(f"$.{name}", "another name: the seal adds this member itself")
    encoded = msgspec.json.encode(body)
    assert encoded.startswith(b"{"), "a message is a JSON object"
    return encoded


class Window:
    """Which numbers of one sender were seen: the highest, and a bit for each of the 64 below."""

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = 0
        self._seen = 0

    def admit(self, seq: int) -> bool:
        """True exactly once for each number, unless it is 64 or more below the highest."""
        ahead = seq - self._highest
        if ahead > 0:
            self._seen = ((self._seen << min(ahead, WINDOW)) | 1) & ((1 << WINDOW) - 1)
            self._highest = seq
            return True
        bit = 1 << -ahead if -ahead < WINDOW else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True


class Guard(Protocol):
    """Decides whether a message with a right MAC is new."""

    def refusal(self, stamp: Stamp) -> Reason | None: ...


class Challenge:
    """The strict guard. Whenever `nonce` differs from what was published, publish it again."""

    def __init__(self, token: Callable[[], str], boots_max: int = BOOTS_MAX) -> None:
        self._token = token
        self._boots_max = boots_max
        self._windows: dict[tuple[str, str], Window] = {}
        self.nonce = token()

    def refusal(self, stamp: Stamp) -> Reason | None:
        sender = (stamp.sender, stamp.boot)
        window = self._windows.get(sender)
        if window is None:
            if stamp.nonce != self.nonce:
                return "unknown boot"
            window = self._enter(sender)
        return None if window.admit(stamp.seq) else "replayed"

    def _enter(self, sender: tuple[str, str]) -> Window:
        if len(self._windows) >= self._boots_max:
            self._windows.clear()
            self.nonce = self._token()
        window = self._windows[sender] = Window()
        return window


class _Boot:
    """The two series of numbers of one boot: its messages and its wills."""

    __slots__ = ("messages", "wills")

    def __init__(self) -> None:
        self.messages = Window()
        self.wills = Window()


class RecentBoots:
    """The loose guard: each message of a sender's last few boots once, whichever is newer.

    Messages of a boot that was never heard can be played back to it, so nothing durable may
    hang on them. A will counts only for the boot that was heard last: that of an earlier boot
    may arrive after the node is back.
    """

    def __init__(self, senders_max: int = SENDERS_MAX) -> None:
        self._senders_max = senders_max
        self._senders: dict[str, dict[str, _Boot]] = {}

    def refusal(self, stamp: Stamp) -> Reason | None:
        boots = self._senders.get(stamp.sender) or self._enter(stamp.sender)
        if stamp.will and boots and next(reversed(boots)) != stamp.boot:
            return "unknown boot"
        boot = boots.get(stamp.boot) or _Boot()
        if not (boot.wills if stamp.will else boot.messages).admit(stamp.seq):
            return "replayed"
        boots.pop(stamp.boot, None)
        boots[stamp.boot] = boot
        if len(boots) > BOOTS_PER_SENDER:
            del boots[next(iter(boots))]
        return None

    def _enter(self, sender: str) -> dict[str, _Boot]:
        if len(self._senders) >= self._senders_max:
            del self._senders[next(iter(self._senders))]
        boots: dict[str, _Boot] = {}
        self._senders[sender] = boots
        return boots


class Opener:
    """Opens what others sealed, and counts what it drops by reason."""

    def __init__(self, cluster_key: bytes, guard: Guard) -> None:
        self._key = subkey(cluster_key, _MAC_PURPOSE)
        self._guard = guard
        self.dropped: dict[Reason, int] = dict.fromkeys(EXPLANATIONS, 0)

    def open(self, topic: str, payload: bytes) -> Opened | Dropped:
        """The message, or why it is none; never raises, whatever the bytes."""
        return self.admit(self._authentic(topic, payload))

    def admit(self, found: Opened | Dropped) -> Opened | Dropped:
        """The same of a message whose MAC was found to be right before."""
        if isinstance(found, Opened):
            reason = self._guard.refusal(found.stamp)
            found = Dropped(reason) if reason else found
        if isinstance(found, Dropped):
            self.dropped[found.reason] += 1
        return found

    def _authentic(self, topic: str, payload: bytes) -> Opened | Dropped:
        if len(payload) > PAYLOAD_BYTES_MAX:
            return Dropped("too large")
        payload = payload.rstrip(b" \t\r\n")  # `mosquitto_pub -f` sends a file's last newline too
        signed, alg, mac = _split(payload)
        if alg != b"blake2b":
            return Dropped("unknown alg" if alg else "no MAC")
        # Compared as text: a MAC in capitals is an altered message.
        if not hmac.compare_digest(_mac(self._key, topic, signed), mac):
            return Dropped("wrong MAC")
        try:
            return Opened(msgspec.json.decode(payload, type=Stamp), payload)
        except UNREADABLE:
            return Dropped("malformed")


def _split(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """What was signed, the algorithm, and the MAC; the last two empty where there is no seal."""
    start = payload.rfind(_ALG, -_TRAILER_BYTES_MAX)
    alg, found, mac = payload[start + len(_ALG) : -2].partition(_MAC)
    if start < 0 or not found or not payload.endswith(b'"}'):
        return payload, b"", b""
    return payload[: start + len(_ALG) + len(alg) + 1], alg, mac
