"""`roheletd events` as text: when, on which node, what, about which thing, and why. Pure."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from roheletd.cli.tables import Style, clean, cut, wrapped

Value = Mapping[str, Any]

_GAP = "  "
_NODE_WIDTH_MAX = 24
_TEXT_WIDTH_MIN = 24


class EventLines:
    """Some events below others, as they come: the second column becomes wider where it has to."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._node_width = 0

    def lines(self, events: Sequence[Value]) -> list[str]:
        """With a head above the first ones."""
        is_first = not self._node_width
        names = [len(clean(event["node"])) for event in events]
        self._node_width = min(max([len("NODE"), self._node_width, *names]), _NODE_WIDTH_MAX)
        head = [self._row("TIME".ljust(len(_time(0.0))), "NODE", "EVENT", "bold")]
        found = [line for event in events for line in self._event(event)]
        return [*(head if is_first else ()), *found]

    def _event(self, event: Value) -> list[str]:
        what, reason = f"{event['kind']} {event['subject']}", event.get("reason", "")
        when = _time(event["at_s"])
        indent = len(when) + self._node_width + 2 * len(_GAP)
        room = max(self._style.width - indent, _TEXT_WIDTH_MIN) if self._style.width else 0
        first, *more = wrapped(clean(f"{what}: {reason}" if reason else what), room)
        row = self._row(when, clean(event["node"]), first, "dim")
        return [row, *(" " * indent + part for part in more)]

    def _row(self, when: str, node: str, text: str, colour: str) -> str:
        name = cut(node, self._node_width).ljust(self._node_width)
        return _GAP.join((self._style.paint(when, colour), name, text))


def _time(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
