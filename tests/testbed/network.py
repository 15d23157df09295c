"""A network namespace, or a bridge in the machine's own, for one engine."""

import contextlib
import ipaddress
import secrets
import socket
import subprocess
from collections.abc import Iterator

# For benchmarks between routers (RFC 2544): no real network uses these addresses.
_ADDRESSES = ipaddress.ip_network("198.18.0.0/15")


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def fresh_name() -> str:
    """Of no other suite, and short enough for an interface."""
    return f"rohe{secrets.token_hex(4)}"


@contextlib.contextmanager
def namespace(name: str = "") -> Iterator[str]:
    """The name of a fresh network namespace with only loopback: no route out, so pulls fail."""
    name = name or fresh_name()
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        run("ip", "netns", "del", name)


@contextlib.contextmanager
def bridge() -> Iterator[str]:
    """The name of a fresh bridge in this namespace, with a free subnet."""
    name = fresh_name()
    run("ip", "link", "add", name, "type", "bridge")
    try:
        run("ip", "address", "add", f"{_free_gateway()}/24", "dev", name)
        run("ip", "link", "set", name, "up")
        yield name
    finally:
        run("ip", "link", "del", name)


def _free_gateway() -> ipaddress.IPv4Address:
    taken = run("ip", "-4", "-o", "address")
    candidates = list(_ADDRESSES.subnets(new_prefix=24))
    secrets.SystemRandom().shuffle(candidates)
    gateways = (network.network_address + 1 for network in candidates)
    return next(gateway for gateway in gateways if f" {gateway}/" not in taken)


def free_port() -> int:
    """A port that nothing listens on now, and that no connection of another test is given."""
    return free_ports(1)[0]


def free_ports(number: int) -> range:
    """So many in a row; below those that the kernel gives to connections, and to our services."""
    while True:
        first = secrets.randbelow(19_000 - 10_000 - number) + 10_000
        ports = range(first, first + number)
        if all(map(_is_free, ports)):
            return ports


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
