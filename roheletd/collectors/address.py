"""The address at which other nodes reach this machine, as far as the machine can tell."""

import socket

import psutil

# An address that is nobody's (RFC 5737). Nothing is sent there: the kernel only picks a route.
_SOMEBODY_ELSE = ("192.0.2.1", 9)


def own_address() -> str:
    """That of the default route, else the first of an interface that is up; "" for none.

    A machine that has several is told by `node.address` which one it is.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEBODY_ELSE)
        except OSError:
            return _first_address()
        return str(probe.getsockname()[0])


def _first_address() -> str:
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        address.address
        for name, addresses in sorted(psutil.net_if_addrs().items())
        for address in addresses
        if name in up and address.family == socket.AF_INET
    ]
    return next((address for address in found if not address.startswith("127.")), "")
