"""The one string that lets a node into a cluster: where its brokers are, which it is, its key.

    rohe1.<base64url of msgpack [name, id, epoch, key, brokers, expires_at_s]>.<8 hex checksum>

Whoever has it can act as a member, so it is handled like a password. The checksum finds what was
cut short or mistyped; it is no secret. Until when the token is good is decided by the leader's
clock when the node asks to be let in: a board without a battery clock cannot know.
"""

import base64
import re
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from roheletd.config import Url
from roheletd.errors import InvalidInput
from roheletd.fields import ClusterId, Name

FORMAT = 1
LENGTH_MAX = 8192
"""Sixteen brokers with long names take a quarter of it."""

_MARK = f"rohe{FORMAT}"
_SHAPE = re.compile(r"rohe(?P<format>[1-9][0-9]{0,3})\.(?P<body>[^.]*)(?:\.(?P<sum>[^.]*))?")
_FIELD = "token"


class Token(Struct, frozen=True, array_like=True, kw_only=True):
    """What is in it. `expires_at_s` is seconds since 1970 on the leader's clock; 0: never."""

    cluster: Name
    cluster_id: ClusterId
    epoch: Annotated[int, Meta(ge=1)]
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    brokers: Annotated[tuple[Url, ...], Meta(max_length=16)] = ()
    expires_at_s: Annotated[int, Meta(ge=0)] = 0


def encode(token: Token) -> str:
    body = base64.urlsafe_b64encode(msgspec.msgpack.encode(token)).decode().rstrip("=")
    return f"{_MARK}.{body}.{_checksum(body)}"


def decode(text: str) -> Token:
    """Raises `InvalidInput`, which never repeats what was given: it may be most of a secret."""
    if len(text) > LENGTH_MAX:
        raise InvalidInput(_FIELD, f"expected at most {LENGTH_MAX} characters, got {len(text)}")
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(
            _FIELD, f"expected what `roheletd cluster token` prints: {_MARK}. and more"
        )
    if (given := int(found["format"])) != FORMAT:
        raise InvalidInput(
            _FIELD,
            f"it was made by a later roheletd (token format {given}, this one reads {FORMAT}): "
            "update this node",
        )
    if found["sum"] != _checksum(found["body"]):
        raise InvalidInput(_FIELD, "it was cut short or altered: copy it whole, it is one line")
    return _content(found["body"])


def expired(token: Token, wall_s: float) -> bool:
    return 0 < token.expires_at_s <= wall_s


def _checksum(body: str) -> str:
    return blake2b(f"{_MARK}.{body}".encode(errors="replace"), digest_size=4).hexdigest()


def _content(body: str) -> Token:
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(data, type=Token)
    except (ValueError, msgspec.MsgspecError):
        raise InvalidInput(_FIELD, "what is in it is not what roheletd puts there") from None
