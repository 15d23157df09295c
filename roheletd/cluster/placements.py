"""All placements: by instance, and what is derived from them by service, by node and by lack.

A pass of the leader asks for the placements of every service and of every node; to scan all of them
each time would cost the product of both. Each index keeps the order in which instances were placed,
so that it is the same whether it was grown entry by entry or built from a snapshot.
"""

from collections.abc import Iterable, Mapping

from roheletd.model import Placement


class Placements:
    """Those of one state. `unfilled` names the services that have fewer than their replicas."""

    def __init__(self, replicas: Mapping[str, int], placements: Iterable[Placement]) -> None:
        self.by_instance: dict[str, Placement] = {}
        self.unfilled: set[str] = set()
        self._replicas: dict[str, int] = {}
        self._of: dict[str, dict[str, Placement]] = {}
        self._on: dict[str, dict[str, Placement]] = {}
        for at in placements:
            self.put(at)
        for service, wanted in replicas.items():
            self.want(service, wanted)

    def of(self, service: str) -> Mapping[str, Placement]:
        return self._of.get(service, {})

    def on(self, node: str) -> Mapping[str, Placement]:
        return self._on.get(node, {})

    def put(self, at: Placement) -> None:
        """An instance that is placed elsewhere leaves there."""
        if at.instance in self.by_instance:
            self.take(at.instance)
        self.by_instance[at.instance] = at
        self._of.setdefault(at.service, {})[at.instance] = at
        self._on.setdefault(at.node, {})[at.instance] = at
        self._count(at.service)

    def take(self, instance: str) -> None:
        at = self.by_instance.pop(instance)
        _drop(self._of, at.service, instance)
        _drop(self._on, at.node, instance)
        self._count(at.service)

    def want(self, service: str, replicas: int) -> None:
        """How many placements a service should have."""
        self._replicas[service] = replicas
        self._count(service)

    def forget(self, service: str) -> None:
        """A service that is no more has no placements and lacks none."""
        for instance in tuple(self.of(service)):
            self.take(instance)
        self._replicas.pop(service, None)
        self._count(service)

    def check(self, replicas: Mapping[str, int]) -> None:
        """Assert that what is derived is what the placements say."""
        anew = Placements(replicas, self.by_instance.values())
        assert self.unfilled == anew.unfilled, self.unfilled ^ anew.unfilled
        assert _in_order(self._of) == _in_order(anew._of), "placements by service"
        assert _in_order(self._on) == _in_order(anew._on), "placements by node"

    def _count(self, service: str) -> None:
        if len(self.of(service)) < self._replicas.get(service, 0):
            self.unfilled.add(service)
        else:
            self.unfilled.discard(service)


def _drop(index: dict[str, dict[str, Placement]], key: str, instance: str) -> None:
    held = index[key]
    del held[instance]
    if not held:
        del index[key]


def _in_order(index: dict[str, dict[str, Placement]]) -> dict[str, list[tuple[str, Placement]]]:
    return {key: list(held.items()) for key, held in index.items()}
