"""What the service manager wants to hear, by the protocol of sd_notify(3); silent without one."""

import math
import os
import socket


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1`, `WATCHDOG=1` or `STATUS=...` to $NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(0)
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            # The manager is restarting or its queue is full: the next beat tells it again, and
            # a daemon that works must not end for want of a listener.
            return


_EARLY = 0.9


class Watchdog:
    """Tells the manager that we live, as often as $WATCHDOG_USEC asks for and not at each beat."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._due_s = -math.inf

    def beat(self, now_s: float) -> None:
        if now_s >= self._due_s:
            # A beat that comes a moment before its time must not wait for the next one.
            self._due_s = now_s + _EARLY * self.interval_s
            notify("WATCHDOG=1")


def watchdog() -> Watchdog | None:
    """Half of the time that the manager allows between two signs of life; None: it wants none."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or usec == "0" or (pid and pid != str(os.getpid())):
        return None
    return Watchdog(int(usec) / 2_000_000)
