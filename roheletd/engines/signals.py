"""The signals that a service may be stopped with, as the kernel counts them."""

import signal

from roheletd.fields import StopSignal


def signal_number(name: StopSignal) -> int:
    """`SIGRTMIN+3`, too, which has a number and no name of its own."""
    base, _, more = name.partition("+")
    return int(getattr(signal, base)) + int(more or 0)
