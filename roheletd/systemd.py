"""What the service manager wants to hear, by the protocol of sd_notify(3); silent without one."""

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


def watchdog_interval_s() -> float | None:
    """How often the manager wants a sign of life: half of what $WATCHDOG_USEC allows."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 2_000_000 or None
