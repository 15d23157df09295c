"""What the leader tells people of its work: each thing once, as an event."""

from collections.abc import Collection, Mapping

from roheletd.allocation.queue import Waiting
from roheletd.allocation.schedule import Round
from roheletd.cluster.commands import Place
from roheletd.cluster.events import Events


class Tidings:
    """Remembers what was told of nodes, so that only news is told."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._lost: frozenset[str] = frozenset()

    def is_news(self, lost: frozenset[str]) -> bool:
        return lost != self._lost

    def nodes(self, lost: frozenset[str]) -> frozenset[str]:
        """Gives those that were not lost before."""
        new = lost - self._lost
        for node in sorted(new):
            self._events.add("node lost", node, "nothing was heard of it for too long")
        for node in sorted(self._lost - lost):
            self._events.add("node back", node)
        self._lost = lost
        return new

    def places(self, place: Place, preempted: Mapping[str, str]) -> None:
        for instance in place.released:
            kind = "preempted" if instance in preempted else "released"
            self._events.add(kind, instance, preempted.get(instance, ""))
        for at in place.placements:
            cores = ", ".join(f"{core}: {share}" for core, share in sorted(at.cores.items()))
            self._events.add(
                "placed", at.instance, f"on {at.node}, cores {{{cores}}}, score {at.score}"
            )

    def queue(self, waiting: Waiting, this: Round, services: Collection[str], now_s: float) -> None:
        """What a pass means for the services that wait, or do not any more."""
        for name, why in this.unplaceable.items():
            if waiting.refused(name, why.reason, now_s):
                self._events.add("waiting", name, why.reason)
        for name in this.tried - this.unplaceable.keys():
            if waiting.placed(name):
                self._events.add("no longer waiting", name)
        waiting.keep(services)
