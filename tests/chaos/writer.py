"""A client that writes through any node while things break, and knows what it was told."""

import threading
import time
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any, Literal, Self

from tests.chaos.client import add, ask
from tests.chaos.cluster import Cluster, service
from tests.testbed.hosts import Host

Told = Literal["acknowledged", "unknown", "refused"]

PAUSE_S = 0.1
TRIES_MAX = 4

_NUMBERS = count(1)


class Writer:
    """Adds services of no replicas, and removes some: none of them costs the engines anything.

    An unknown outcome is asked for again, under the same id, of some other node.
    """

    def __init__(self, cluster: Cluster, *, seed: int = 1) -> None:
        self.told: dict[str, Told] = {}
        self.removed: dict[str, Told] = {}
        self.gaps_s: list[float] = []
        """Between one acknowledgement and the next."""
        self._cluster = cluster
        # Of its own: what another writer's id has done must not be taken for what this one's did.
        self._prefix = f"w{next(_NUMBERS)}"
        self._rng = Random(seed)
        self._through: Sequence[Host] = cluster.hosts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"writer {self._prefix}")

    def __enter__(self) -> Self:
        self._last_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def through(self, *hosts: Host) -> None:
        """Only these are asked from now on."""
        self._through = hosts

    @property
    def acknowledged(self) -> int:
        return sum(told == "acknowledged" for told in self.told.values())

    def gap_s_max(self) -> float:
        return max(self.gaps_s, default=0.0)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            name = f"{self._prefix}-{len(self.told)}"
            added = service(name, replicas=0)
            body = {"services": [added]}
            self.told[name] = self._done("POST", "/api/v1/services", body, key=f"add-{name}")
            kept = [it for it, told in self.told.items() if told == "acknowledged"]
            if len(kept) % 3 == 2 and (old := kept[-2]) not in self.removed:
                self.removed[old] = "unknown"
                target = f"/api/v1/services/{old}"
                self.removed[old] = self._done("DELETE", target, None, key=f"remove-{old}")

    def _done(self, method: str, target: str, body: object, *, key: str) -> Told:
        told: Told = "refused"
        for _ in range(TRIES_MAX):
            now = self._asked(method, target, body, key=key)
            if now == "acknowledged":
                self._note()
                return now
            if now == "refused":
                return told
            told = "unknown"
        return told

    def _note(self) -> None:
        now_s = time.monotonic()
        self.gaps_s.append(now_s - self._last_s)
        self._last_s = now_s

    def _asked(self, method: str, target: str, body: object, *, key: str) -> Told:
        host = self._rng.choice(self._through)
        try:
            status, answer = ask(host, method, target, body, key=key)
        except (ConnectionRefusedError, FileNotFoundError):
            return "refused"  # nothing was sent
        except OSError:
            return "unknown"
        if status == 200:
            return "acknowledged"
        assert status in (503, 504), (status, answer)
        return "refused" if status == 503 else "unknown"

    # Afterwards.

    def check(self, services: dict[str, Any]) -> None:
        """Against what all nodes hold: what was acknowledged is there, what was refused is not."""
        assert self.acknowledged, "nothing was ever written"
        for name, told in self.told.items():
            removal = self.removed.get(name)
            if told == "refused" or removal == "acknowledged":
                assert name not in services, f"{name} is there, {told}, removal {removal}"
            elif told == "acknowledged" and removal in (None, "refused"):
                assert name in services, f"{name} was acknowledged and is not there"

    def check_once(self, host: Host) -> None:
        """What was added and removed does not come back when the first command is sent again."""
        gone = [name for name, told in self.removed.items() if told == "acknowledged"][-5:]
        for name in gone:
            status, answer = add(host, service(name, replicas=0), key=f"add-{name}")
            assert (status, answer["changed"]) == (200, {name: "added"})
        known = host.daemon.get("/api/v1/services")["services"]
        assert not {it["service"]["name"] for it in known} & set(gone)
