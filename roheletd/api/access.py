"""Who may do what over TCP. On the unix socket the file's permissions have decided already.

A loopback port is open to every program of the machine, and through a browser on it to every web
page: one that was loaded from `evil.example` may point that name at 127.0.0.1 afterwards (DNS
rebinding) or send a form across (CSRF). So writes need the token, the Host header must be an
address and no foreign name, and no page of another site is served. A port that other machines can
reach gives nothing but health and figures without the token: a service's env may hold secrets.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from roheletd.errors import RoheletError

TOKEN_FILE = "api.token"  # noqa: S105 - the name of a file
"""In the data directory, beside the socket."""

_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+))(?::[0-9]{1,5})?")


class Forbidden(RoheletError):  # noqa: N818 - the word every door uses
    """This page or this program may not ask that."""


class Unauthorized(RoheletError):  # noqa: N818 - the word of HTTP
    """A request without the token that it needs."""


def is_loopback(listen: str) -> bool:
    """Whether only this machine reaches what listens on `listen`."""
    if listen.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(listen).is_loopback
    except ValueError:
        return False


def check_origin(headers: Mapping[str, str]) -> None:
    host = headers.get("Host", "")
    if not _is_address(host):
        raise Forbidden("expected an IP address or localhost in the Host header: use one in --url")
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host}".lower():
        raise Forbidden("requests of other sites' pages (Origin header) are not served")


def check_token(headers: Mapping[str, str], token: str, data_dir: Path) -> None:
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    # Headers may hold any bytes; compare_digest takes text only where it is ASCII.
    sent = given.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() != "bearer" or not hmac.compare_digest(sent, token.encode()):
        raise Unauthorized(
            "this needs the header `Authorization: Bearer TOKEN` over TCP; "
            f"the token is in {data_dir / TOKEN_FILE}"
        )


def _is_address(host: str) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    six, name = found.groups()
    if name is not None and name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(six or name)
    except ValueError:
        return False
    return True
