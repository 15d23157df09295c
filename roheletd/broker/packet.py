"""The one MQTT packet that a node reads and writes all day: a PUBLISH that is sent once (QoS 0).

paho makes an object of each property, message and lock, and looks for a callback by topic; all of
that is nearly half of what a message costs a leader, and nobody asks for it.
"""

import struct

_LENGTH = struct.Struct("!H")
_VARIABLE_BYTES_MAX = 4
_PUBLISH = 0x30
_NO_PROPERTIES = b"\0"


def publishing(topic: str, payload: bytes, *, retain: bool, with_properties: bool) -> bytes:
    """The whole packet."""
    name = topic.encode()
    properties = _NO_PROPERTIES if with_properties else b""
    size = _LENGTH.size + len(name) + len(properties) + len(payload)
    head = bytes((_PUBLISH | retain, *_digits(size)))
    return b"".join((head, _LENGTH.pack(len(name)), name, properties, payload))


def published(packet: bytes, *, with_properties: bool) -> tuple[str, bytes]:
    """Topic and payload of what follows the fixed header; MQTT 5 has properties between them.

    Raises `ValueError`, `IndexError` or `struct.error` where it is cut short or no MQTT.
    """
    (length,) = _LENGTH.unpack_from(packet)
    at = _LENGTH.size + length
    topic = packet[_LENGTH.size : at].decode()
    if with_properties:
        size, at = _variable(packet, at)
        at += size
    if at > len(packet):
        raise ValueError("the packet ends before its payload begins")
    return topic, packet[at:]


def _variable(packet: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits to a byte, low ones first, and where it ends."""
    number = 0
    for place in range(_VARIABLE_BYTES_MAX):
        byte = packet[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return number, at + place + 1
    raise ValueError("a length of more than four bytes")


def _digits(number: int) -> list[int]:
    """The same number the other way."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits[-1] |= 0x80
        digits.append(number & 0x7F)
    return digits
