"""`networks` and `links`: there is one network, on which a service has one name."""

from roheletd.compose.draft import NOBODYS, Draft
from roheletd.compose.fields import Field
from roheletd.compose.keys import Key, idle, no, partly, walk

FLAT = "services reach one another by name over one flat network"
_DRIVERS = ("bridge", "overlay", "default")


def read_networks(field: Field, draft: Draft) -> None:
    if not field.is_list():
        for entry in field.members("a list of networks, or a mapping").values():
            if entry.asks_for_something:
                walk(entry, IN_SERVICE, draft)
    field.note(f"has no effect: {FLAT}")


def read_links(field: Field, _draft: Draft) -> None:
    for item in field.items():
        service, _, alias = item.text().partition(":")
        if alias not in ("", service):
            item.unsupported("a service has one name")
    field.note(f"has no effect: {FLAT}")


def check_networks(field: Field) -> None:
    """Those at the top of a file."""
    for entry in field.members().values():
        if entry.asks_for_something:
            walk(entry, TOP, Draft(entry, NOBODYS))
    field.note(f"has no effect: {FLAT}")


def _driver(field: Field, _draft: Draft) -> None:
    if field.text() not in _DRIVERS:
        field.unsupported(FLAT)


_ADDRESS = "addresses are the engine's to give"

IN_SERVICE: dict[str, Key] = {
    "aliases": no("a service has one name"),
    "ipv4_address": no(_ADDRESS),
    "ipv6_address": no(_ADDRESS),
    "link_local_ips": no(_ADDRESS),
    "mac_address": no(_ADDRESS),
    "driver_opts": no(FLAT),
    "interface_name": no(FLAT),
    "priority": idle(FLAT),
    "gw_priority": idle(FLAT),
}
TOP: dict[str, Key] = {
    "driver": partly(_driver, "bridge or overlay, which make no difference"),
    "internal": no("containers can reach the outside"),
    "ipam": no(_ADDRESS),
    "driver_opts": no(FLAT),
    "enable_ipv4": idle(FLAT),
    "enable_ipv6": idle(FLAT),
    "external": idle(FLAT),
    "name": idle(FLAT),
    "attachable": idle(FLAT),
    "labels": idle(FLAT),
}
