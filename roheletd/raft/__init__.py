"""The agreed log. Pure, and of no import of ours: bytes in, bytes out.

A core takes proposals, messages and time, and answers with one `Ready` value. Its driver
persists `to_save`, then sends, then applies `to_apply`, in this order.
"""

from dataclasses import dataclass

__all__ = ["Entry", "Ready"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One position of the log. `index` counts from 1 without holes."""

    index: int
    term: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    """What the driver must do now, in the order of the fields."""

    to_save: tuple[Entry, ...] = ()
    to_apply: tuple[Entry, ...] = ()
