"""The way to the MQTT broker: which one, at what address, how soon to try again. No I/O here."""

from collections.abc import Iterable
from contextlib import suppress
from random import Random
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from roheletd.config import BrokerConfig
from roheletd.errors import InvalidInput, Unavailable

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_INSTALL_MOSQUITTO = "install mosquitto (apt-get install mosquitto)"
_INSTALL_AMQTT = "pip install 'roheletd[embedded]'"


class Choice(Struct, frozen=True):
    """Where the broker comes from, and why in one line."""

    mode: Literal["external", "managed", "embedded", "none"]
    why: str


class Address(Struct, frozen=True):
    """One broker URL, taken apart."""

    url: str
    host: str
    port: int
    tls: bool


def choose(config: BrokerConfig, *, mosquitto: str | None, amqtt: bool) -> Choice:
    """The broker of this node, given where mosquitto is and whether amqtt is installed.

    Raises `InvalidInput` or `Unavailable`, with the remedy, where none is possible.
    """
    if config.mode == "external" or (config.mode == "auto" and config.urls):
        if not config.urls:
            raise InvalidInput("$.broker.urls", "expected at least one URL with mode external")
        for index, url in enumerate(config.urls):
            parse_url(url, field=f"$.broker.urls[{index}]")
        return Choice("external", f"external: {', '.join(config.urls)} in the configuration")
    if config.mode != "embedded" and mosquitto:
        return Choice("managed", f"managed: mosquitto found at {mosquitto}")
    if config.mode == "managed":
        raise Unavailable(f"broker.mode managed: mosquitto was not found; {_INSTALL_MOSQUITTO}")
    if amqtt:
        why = "as configured" if config.mode == "embedded" else "no URL, and mosquitto not found"
        return Choice("embedded", f"embedded: {why}; amqtt is slow, for trying out")
    if config.mode == "embedded":
        raise Unavailable(f"broker.mode embedded: amqtt is not installed; {_INSTALL_AMQTT}")
    raise Unavailable(
        f"no MQTT broker: {_INSTALL_MOSQUITTO}, or name yours in broker.urls, or {_INSTALL_AMQTT}"
    )


def parse_url(url: str, *, field: str = "$.broker.urls") -> Address:
    """The address behind `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`."""
    expected = f"{url!r} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, UnicodeError):
        raise InvalidInput(field, expected) from None
    if parts.username is not None or parts.password is not None:
        # The URL itself is left out of this one: it holds a password.
        expected = "no user in the URL: use broker.username and broker.password_file"
        raise InvalidInput(field, expected)
    beyond = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in _PORTS or not host or port == 0 or beyond:
        raise InvalidInput(field, expected)
    return Address(url, host, port or _PORTS[parts.scheme], parts.scheme == "mqtts")


def readable(urls: Iterable[str]) -> tuple[str, ...]:
    """Those of `urls` that are any, for a list that was made elsewhere."""
    found = []
    for url in urls:
        with suppress(InvalidInput):
            found.append(parse_url(url).url)
    return tuple(found)


def url_of(listen: str, port: int) -> str:
    """The URL at which this machine reaches a broker that listens on `listen`."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(listen, listen)  # noqa: S104
    return f"mqtt://[{host}]:{port}" if ":" in host else f"mqtt://{host}:{port}"


def pause_s(attempt: int, *, refused: bool, rng: Random) -> float:
    """From one failure to the next attempt: 0.1 s doubling to 2 s, or 2 s to 30 s once refused.

    A broker that is down may be back at any moment; a password that was refused needs a person.
    Half of it is chance, so that a cluster does not come back all in one instant.
    """
    longest_s, first_s = (30.0, 2.0) if refused else (2.0, 0.1)
    return min(longest_s, first_s * 2.0 ** min(attempt, 10)) * rng.uniform(0.5, 1.0)
