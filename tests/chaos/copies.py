"""How many copies of each instance run, watched all the time: two at once, and for how long."""

import threading
import time
from typing import Self

from tests.chaos.cluster import Cluster

INTERVAL_S = 0.2


class Copies:
    """Samples all hosts in a thread. `twice` are the spans, from when to when, by instance."""

    def __init__(self, cluster: Cluster) -> None:
        self.twice: list[tuple[str, float, float]] = []
        self._cluster = cluster
        self._since: dict[str, float] = {}
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
        self._sample(time.monotonic(), set())

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            found = self._cluster.running()
            self._sample(time.monotonic(), {it for it, count in found.items() if count > 1})

    def _sample(self, now_s: float, double: set[str]) -> None:
        for instance in self._since.keys() - double:
            self.twice.append((instance, self._since.pop(instance), now_s))
        for instance in double - self._since.keys():
            self._since[instance] = now_s

    def longest_s(self, service: str) -> float:
        return max((end - start for name, start, end in self._of(service)), default=0.0)

    def last_s(self) -> float:
        """When two copies of anything were last seen."""
        return max((end for _, _, end in self.twice), default=0.0)

    def _of(self, service: str) -> list[tuple[str, float, float]]:
        return [span for span in self.twice if span[0].rpartition(".")[0] == service]
