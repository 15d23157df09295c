"""PUBLISH packets as paho writes and reads them, and some that are none."""

import socket
import struct

import pytest
from paho.mqtt import _packet
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from roheletd.broker.packet import published, publishing

TOPIC = "rohe/edge/node/n1/telemetry"
NOT_MQTT = (ValueError, IndexError, struct.error)


def packed(topic: bytes, payload: bytes, properties: bytes = b"") -> bytes:
    return struct.pack("!H", len(topic)) + topic + properties + payload


def some_properties(size: int) -> bytes:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    made.MessageExpiryInterval = 7
    made.UserProperty = ("key", "v" * size)
    return bytes(made.pack())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(100_000)])
@pytest.mark.parametrize("topic", [TOPIC, "", "küche/ofen"])
def test_without_properties_the_rest_is_the_payload(topic: str, payload: bytes) -> None:
    packet = packed(topic.encode(), payload)
    assert published(packet, with_properties=False) == (topic, payload)


class Writer(Client):
    """paho, whose packets go nowhere."""

    def __init__(self, version: MQTTProtocolVersion) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, protocol=version)
        self.written: list[bytes] = []
        self._sock = socket.socket()  # it writes nothing without one

    def _packet_queue(self, _command: int, packet: bytes, *_: object) -> MQTTErrorCode:  # type: ignore[override]
        self.written.append(bytes(packet))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_what_is_written_is_what_paho_writes(
    size: int, flag: int, version: MQTTProtocolVersion
) -> None:
    retain = bool(flag)
    paho = Writer(version)
    paho._send_publish(0, TOPIC.encode(), bytes(size), retain=retain)
    with_properties = version == MQTTProtocolVersion.MQTTv5
    ours = publishing(TOPIC, bytes(size), retain=retain, with_properties=with_properties)
    assert paho.written == [ours]


@pytest.mark.parametrize("size", [0, 10, 200, 20_000])
def test_properties_are_skipped_as_paho_reads_them(size: int) -> None:
    packet = packed(TOPIC.encode(), b"payload", some_properties(size))
    read = _packet.decode_publish(0x30, packet, MQTTProtocolVersion.MQTTv5)
    assert published(packet, with_properties=True) == (TOPIC, bytes(read.payload))
    assert read.payload == b"payload"


def test_no_properties_are_one_byte() -> None:
    assert published(packed(b"t", b"x", b"\0"), with_properties=True) == ("t", b"x")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        b"\0\5abc",
        packed(b"t", b""),
        packed(b"t", b"", b"\5abc"),
        packed(b"t", b"", b"\x80"),
        packed(b"t", b"more", b"\x80\x80\x80\x80\1"),
    ],
)
def test_what_is_cut_short_is_no_packet(packet: bytes) -> None:
    with pytest.raises(NOT_MQTT):
        published(packet, with_properties=True)


def test_every_shorter_packet_is_read_or_refused() -> None:
    packet = packed(TOPIC.encode(), b"payload", some_properties(20))
    for length in range(len(packet) - len(b"payload")):
        with pytest.raises(NOT_MQTT):
            published(packet[:length], with_properties=True)
