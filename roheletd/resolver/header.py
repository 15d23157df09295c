"""What can be told of a query without reading it, and said without writing an answer."""

from roheletd.cluster.names import TOP

FORMERR, SERVFAIL = 1, 2

_HEADER_BYTES = 12
_MARK = bytes([len(TOP)]) + TOP.encode() + b"\0"


def may_be_ours(query: bytes) -> bool:
    """Whether it may be about `.rohe`, as few are."""
    return _MARK in query.lower()


def is_query(message: bytes) -> bool:
    """Whether it is long enough for one, and says that it is one."""
    return len(message) >= _HEADER_BYTES and not message[2] & 0x80


def failure(query: bytes, rcode: int) -> bytes:
    """From the header alone."""
    flags = bytes([0x80 | query[2] & 0x79, 0x80 | rcode])
    return query[:2] + flags + bytes(8)
