"""Opens the JSON messages of nodes, which arrive once over each link that sender and we share.

Each link has a memory of its own for what was replayed. What has come over another link already is
known by its bytes: it is not checked and read again, half of all that a voter hears being copies.
"""

from collections import Counter
from collections.abc import Mapping

from roheletd.messages import SENDERS_MAX, Dropped, Opened, Opener, RecentBoots

LINKS_MAX = 8
"""Links whose messages are told from replays; a list of brokers that changes brings new ones."""
TOPICS_MAX = 2 * SENDERS_MAX


class Copy(Opened, frozen=True):
    """What another link has brought before: nothing new."""


class Openers:
    """One opener for each link, and the last message of each topic."""

    def __init__(self, cluster_key: bytes) -> None:
        self._cluster_key = cluster_key
        self._openers: dict[int, Opener] = {}
        self._last: dict[str, Opened] = {}

    def open(self, topic: str, payload: bytes, link: int) -> Opened | Dropped:
        """The message, a `Copy` of it, or why it is none."""
        opener = self._opener(link)
        last = self._last.get(topic)
        if last is not None and last.payload == payload:
            return opener.admit(Copy(last.stamp, payload))
        found = opener.open(topic, payload)
        if isinstance(found, Opened):
            self._remember(topic, found)
        return found

    @property
    def dropped(self) -> Mapping[str, int]:
        """Reason to count of what was not acted on."""
        counts: Counter[str] = Counter()
        for opener in self._openers.values():
            counts.update(opener.dropped)
        return counts

    def _remember(self, topic: str, found: Opened) -> None:
        if len(self._last) >= TOPICS_MAX:
            self._last.clear()
        self._last[topic] = found

    def _opener(self, link: int) -> Opener:
        if (known := self._openers.get(link)) is not None:
            return known
        if len(self._openers) >= LINKS_MAX:
            del self._openers[min(self._openers)]
        self._openers[link] = opener = Opener(self._cluster_key, RecentBoots())
        return opener
