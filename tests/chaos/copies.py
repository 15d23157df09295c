"""How many copies of each instance run, watched all the time: two at once, and for how long."""

import threading
import time
from typing import NamedTuple, Self

from tests.chaos.cluster import Cluster, copies

INTERVAL_S = 0.2


class Span(NamedTuple):
    """When two copies or more of an instance ran, and where they did at first."""

    instance: str
    where: tuple[str, ...]
    start_s: float
    end_s: float


class Copies:
    """Samples all hosts in a thread, one after the other: so a move may look like two copies once.

    `twice` are the spans that two samples in a row have seen.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.twice: list[Span] = []
        self._cluster = cluster
        self._since: dict[str, tuple[tuple[str, ...], float, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="copies")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._sample(time.monotonic(), {})

    def longest_s(self, service: str) -> float:
        of_service = (it for it in self.twice if it.instance.rpartition(".")[0] == service)
        return max((it.end_s - it.start_s for it in of_service), default=0.0)

    def last_s(self) -> float:
        """When two copies of anything were last seen."""
        return max((it.end_s for it in self.twice), default=0.0)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            found = self._where()
            double = {name: hosts for name, hosts in found.items() if len(hosts) > 1}
            self._sample(time.monotonic(), double)

    def _where(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for host in self._cluster.hosts:
            for instance, count in copies(host).items():
                found[instance] = found.get(instance, ()) + (host.name,) * count
        return found

    def _sample(self, now_s: float, double: dict[str, tuple[str, ...]]) -> None:
        for instance in self._since.keys() - double.keys():
            where, since_s, times = self._since.pop(instance)
            if times > 1:
                self.twice.append(Span(instance, where, since_s, now_s))
        for instance, where in double.items():
            first, since_s, times = self._since.get(instance, (where, now_s, 0))
            self._since[instance] = (first, since_s, times + 1)
