"""The address at which other nodes reach this machine, as far as the machine can tell."""

import math
import socket
from pathlib import Path

import psutil

LOOK_S = 5.0

# An address that is nobody's (RFC 5737). Nothing is sent there: the kernel only picks a route.
_SOMEBODY_ELSE = ("192.0.2.1", 9)
_INTERFACES = Path("/sys/class/net")


class OwnAddress:
    """`host` is where others reach this machine: as configured, else as it is found.

    That is the address of the default route, else the first of an interface that is up; "" for
    none. A machine that has several is told by `node.address` which one it is.

    A network may come long after the daemon, as after a power cut, and what it gives may change.
    One that was on the way out holds for as long as the machine has it; nothing less takes its
    place, for without a cable there are addresses that lead nowhere.
    """

    def __init__(self, configured: str | None, now_s: float) -> None:
        self.host = configured or ""
        self._is_configured = bool(configured)
        self._was_on_way_out = False
        self._look_at_s = -math.inf
        self.look(now_s)

    def look(self, now_s: float) -> bool:
        """Whether it is another one than before; to be asked again and again."""
        if self._is_configured or now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_S
        if self._was_on_way_out and _is_ours(self.host):
            return False
        routed = _on_default_route()
        found = routed or ("" if self._was_on_way_out else _first_address())
        self._was_on_way_out |= bool(routed)
        if found in ("", self.host):
            return False
        self.host = found
        return True


def _on_default_route() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEBODY_ELSE)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _first_address() -> str:
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        address.address
        for name, addresses in sorted(psutil.net_if_addrs().items(), key=lambda it: _order(it[0]))
        for address in addresses
        if name in up and address.family == socket.AF_INET
    ]
    return next((address for address in found if not address.startswith("127.")), "")


def _order(name: str) -> tuple[bool, bool, str]:
    """Devices first, and last the bridges: engines make those for their containers."""
    interface = _INTERFACES / name
    return not (interface / "device").exists(), (interface / "bridge").exists(), name


def _is_ours(host: str) -> bool:
    """Whether this machine has the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True
