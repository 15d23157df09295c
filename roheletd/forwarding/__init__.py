"""A stable port per service on this node: what comes there goes to a healthy instance anywhere.

`balance` chooses, `streams` carries TCP and `datagrams` UDP. Who serves is told from outside
(`Listener.serve`); who takes no connection is found out here, and left alone for a while.

Within the daemon and its one thread: no process per connection, no polling, and nothing held for
a connection that is idle but its two sockets.
"""

from collections.abc import Sequence
from typing import Protocol

from roheletd.cluster.registry import Endpoint

__all__ = ["Endpoint", "Listener"]


class Listener(Protocol):
    """One stable port that is open."""

    def serve(self, endpoints: Sequence[Endpoint]) -> None:
        """From now on new connections go to these, all of them healthy."""

    def close(self) -> None:
        """Take no new ones, and end those that are open."""
