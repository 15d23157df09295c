"""One MQTT connection, from CONNECT to its end. The only module that knows paho."""

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from msgspec import Struct
from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from roheletd.broker.channel import Channel
from roheletd.broker.lean_paho import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from roheletd.broker.packet import published, publishing
from roheletd.messages import PAYLOAD_BYTES_MAX

CLOSE_TIMEOUT_S = 0.8
PACKET_BYTES_MAX = PAYLOAD_BYTES_MAX + 65_536
OUTGOING_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX
OUTGOING_MESSAGES_MAX = 1000

UNSUPPORTED_VERSION = 132
_BAD_PASSWORD = 134
_NOT_AUTHORIZED = 135
_REFUSALS = (_BAD_PASSWORD, _NOT_AUTHORIZED)
TAKEN_OVER = 142
_KEEPALIVE = 141
NO_ANSWER = -1  # no code of MQTT: the broker says nothing at all
_DISCONNECT = b"\xe0\x00"
_QOS_BITS = 0x06
# What paho 2.1 and 2.2 raise on bytes that are not MQTT.
_NOT_MQTT = (MQTTException, struct.error, ValueError, IndexError, KeyError)

Version = Literal["5.0", "3.1.1"]


class Access(Struct, frozen=True, kw_only=True):
    """How to be let in by a broker, and what to hear there."""

    client_id: str
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    keepalive_s: int = 10
    subscriptions: tuple[str, ...] = ()
    hear_own: bool = True
    """False: what we say ourselves does not come back, where the broker speaks MQTT 5."""
    mqtt5: bool = True
    """False where the broker is known to speak 3.1.1 only, which saves finding out."""


class Loss(Struct, frozen=True):
    """How one connection ended, or why it did not begin; `code` as in MQTT 5, 0 for other."""

    reason: str
    code: int = 0

    @property
    def refused(self) -> bool:
        """A person has to change something, so it is no use to try again soon."""
        return self.code in _REFUSALS


CLOSED = Loss("closed by this node")
LOST = Loss("the connection was lost")


def no_answer(timeout_s: float) -> Loss:
    return Loss(f"no answer within {timeout_s:g} s", NO_ANSWER)


class _OnChannel(Client):
    """paho on a connection that is there already. It has no public way to be given one.

    Messages that are to be answered are left to it; it takes long for each, so others are not.
    """

    def __init__(
        self,
        channel: Channel,
        client_id: str,
        version: Version,
        *,
        on_published: Callable[[str, bytes], None],
    ) -> None:
        number = MQTTProtocolVersion.MQTTv5 if version == "5.0" else MQTTProtocolVersion.MQTTv311
        super().__init__(
            CallbackAPIVersion.VERSION2, client_id, protocol=number, reconnect_on_failure=False
        )
        self._channel = channel
        self._with_properties = version == "5.0"
        self._on_published = on_published

    def _create_socket(self) -> Channel:
        return self._channel

    def _handle_publish(self) -> MQTTErrorCode:
        if self._in_packet["command"] & _QOS_BITS:
            return super()._handle_publish()
        packet = bytes(self._in_packet["packet"])
        with suppress(UnicodeDecodeError):  # a topic that is not UTF-8 is none of ours
            self._on_published(*published(packet, with_properties=self._with_properties))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


class Connection:
    """One connection, from CONNECT to its end; then it is thrown away.

    paho's callbacks only note what happened, and `_hand_over` tells it when paho is done: so the
    owner may publish from what it is told, and a fault of the owner is never taken for a broken
    connection. `lost` has the end; a fault of the owner is its exception.
    """

    def __init__(
        self,
        sock: socket.socket,
        access: Access,
        *,
        version: Version,
        will: tuple[str, bytes] | None,
        on_open: Callable[[], None],
        on_message: Callable[[str, bytes], None],
    ) -> None:
        self.lost: asyncio.Future[Loss] = asyncio.get_running_loop().create_future()
        self._settled = asyncio.Event()
        self._access = access
        self._on_open = on_open
        self._on_message = on_message
        self._version = version
        self._heard = self._wanted = access.subscriptions
        self._asked: dict[int, tuple[str, ...]] = {}
        self._subscribed = False
        self._opened = False
        self._refusal: Loss | None = None
        self._arrived: deque[tuple[str, bytes]] = deque()
        self._unacknowledged: dict[int, int] = {}
        self._channel = Channel(sock, self._read, read_bytes_max=PACKET_BYTES_MAX)
        self._client = self._make_client(version, will)

    def _make_client(self, version: Version, will: tuple[str, bytes] | None) -> _OnChannel:
        access = self._access
        client = _OnChannel(
            self._channel,
            access.client_id,
            version,
            on_published=lambda topic, payload: self._arrived.append((topic, payload)),
        )
        client.username_pw_set(access.username, access.password)
        client.max_queued_messages_set(OUTGOING_MESSAGES_MAX)
        client.on_connect = self._note_connect
        client.on_subscribe = self._note_subscribe
        client.on_message = self._note_message
        client.on_publish = self._note_publish
        client.on_disconnect = self._note_disconnect
        if will:
            client.will_set(*will, qos=1, retain=True)
        properties = None
        if version == "5.0":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = PACKET_BYTES_MAX
        # Silence is found by two waits of paho's keepalive, each up to one tick late.
        keepalive_s = max(1, access.keepalive_s - 1)
        client.connect("broker", keepalive=keepalive_s, properties=properties)
        return client

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> bool:
        if not self._opened or self.lost.done():
            return False
        waiting = self._channel.unsent_bytes + sum(self._unacknowledged.values())
        if waiting and waiting + len(payload) > OUTGOING_BYTES_MAX:
            return False
        if qos == 0:
            with_properties = self._version == "5.0"
            self._channel.send(
                publishing(topic, payload, retain=retain, with_properties=with_properties)
            )
            return True
        info = self._client.publish(topic, payload, qos, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        self._unacknowledged[info.mid] = len(payload)
        return True

    def hear(self, patterns: tuple[str, ...]) -> None:
        """Subscribe to these from now on, and to no others."""
        self._wanted = patterns
        if self._opened:
            self._adjust()

    def _adjust(self) -> None:
        new = tuple(pattern for pattern in self._wanted if pattern not in self._heard)
        old = [pattern for pattern in self._heard if pattern not in self._wanted]
        self._heard = self._wanted
        if new and not self.lost.done():
            self._subscribe(new)
        if old and not self.lost.done():
            self._client.unsubscribe(old)

    @property
    def unacknowledged(self) -> int:
        return len(self._unacknowledged)

    def tick(self) -> None:
        self._client.loop_misc()
        self._hand_over()

    async def finish(self) -> None:
        """Let what was said arrive, take leave, and wait until the broker hangs up.

        To close first, with something unread, could destroy on the way what was said last.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S / 2):
                while self._unacknowledged and not self.lost.done():
                    self._settled.clear()
                    await self._settled.wait()
        self._channel.send(_DISCONNECT)
        await asyncio.wait({self.lost}, timeout=CLOSE_TIMEOUT_S / 2)

    def end(self, loss: Loss) -> None:
        """Safe to call again: the first loss is the one that counts."""
        self._channel.close()
        if not self.lost.done():
            self.lost.set_result(loss)
        self._settled.set()

    def _read(self) -> None:
        while self._feed():
            pass

    def _feed(self) -> bool:
        """One packet to paho, and to the owner what came of it; True where there is more."""
        try:
            self._client.loop_read()
            if self._client.want_write():
                self._client.loop_write()
        except _NOT_MQTT:
            self.end(Loss("it sent what is not MQTT"))
        self._hand_over()
        return self._channel.unread and not self.lost.done()

    def _hand_over(self) -> None:
        try:
            if self._subscribed and not self._opened and not self.lost.done():
                self._opened = True
                self._on_open()
                self._adjust()
            while self._arrived and not self.lost.done():
                self._on_message(*self._arrived.popleft())
        except Exception as error:
            self._channel.close()
            if self.lost.done():
                raise
            self.lost.set_exception(error)
        if self._refusal:
            self.end(self._refusal)

    def _note_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, _more: Any
    ) -> None:
        if code.is_failure:
            self._refusal = _refused(code)
        elif self._heard:
            self._subscribe(self._heard)
        else:
            self._subscribed = True

    def _subscribe(self, patterns: tuple[str, ...]) -> None:
        if self._version == "5.0":
            options = SubscribeOptions(qos=1, noLocal=not self._access.hear_own)
            _, mid = self._client.subscribe([(pattern, options) for pattern in patterns])
        else:
            _, mid = self._client.subscribe([(pattern, 1) for pattern in patterns])
        if mid is not None:
            self._asked[mid] = patterns

    def _note_subscribe(
        self, _client: Client, _data: Any, mid: int, codes: list[ReasonCode], _more: Any
    ) -> None:
        patterns = zip(self._asked.pop(mid, ()), codes, strict=False)
        failed = [f"{pattern} ({code})" for pattern, code in patterns if code.is_failure]
        if failed:
            self._refusal = Loss(f"it refuses to let us hear {', '.join(failed)}", _NOT_AUTHORIZED)
        self._subscribed |= not failed

    def _note_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with suppress(UnicodeDecodeError):  # a topic that is not UTF-8 is none of ours
            self._arrived.append((message.topic, bytes(message.payload)))

    def _note_publish(
        self, _client: Client, _data: Any, mid: int, _code: ReasonCode, _more: Any
    ) -> None:
        if self._unacknowledged.pop(mid, None) is not None:
            self._settled.set()

    def _note_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, code: ReasonCode, _more: Any
    ) -> None:
        if self._refusal is None and self._channel.refused_bytes:
            size = f"{self._channel.refused_bytes} bytes where {PACKET_BYTES_MAX} are the most"
            self._refusal = Loss(f"it sent {size}; is there such a retained message?")
        elif self._refusal is None:
            by_broker = flags.is_disconnect_packet_from_server
            self._refusal = _hung_up(code, self._access, by_broker=by_broker)


def _refused(code: ReasonCode) -> Loss:
    if code.value in _REFUSALS:
        hint = "broker.username, broker.password_file"
        return Loss(f"it refuses the user name or the password ({hint})", code.value)
    return Loss(f"it refuses us: {code}", code.value)


def _hung_up(code: ReasonCode, access: Access, *, by_broker: bool) -> Loss:
    if by_broker:
        return Loss(f"it ended the connection: {code}", code.value)
    if code.value == _KEEPALIVE:
        return Loss(f"it fell silent for {2 * access.keepalive_s} s (broker.keepalive_s)")
    return LOST


def unreachable(error: OSError, access: Access, timeout_s: float) -> Loss:
    match error:
        case ssl.SSLCertVerificationError():
            return Loss(f"its certificate is not trusted: {error.verify_message} (broker.ca_file)")
        case ssl.SSLError():
            return Loss(f"no TLS agreement: {error.reason or error}")
        case FileNotFoundError() | PermissionError() if access.ca_file:
            return Loss(f"broker.ca_file {access.ca_file} cannot be read: {error.strerror}")
        case socket.gaierror():
            return Loss(f"its name is not known: {error.strerror}")
        case ConnectionRefusedError():
            return Loss("no broker listens there")
        case TimeoutError():
            return Loss(no_answer(timeout_s).reason)
    return Loss(error.strerror or str(error))
