"""A cluster of real daemons on hosts of their own, and a client that never stops writing to it."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.testbed.hosts import Host, Site, hosts

VOTERS_MAX = 5
_PAUSE_S = 0.01
_PATIENCE_S = 30.0
_SETTLED_S = 120.0
_LOOK_S = 0.25
_PULSE = "pulse"


@contextlib.contextmanager
def cluster(
    number: int, *, engines: bool = False, engine: dict[str, Any] | None = None
) -> Iterator[Site]:
    """Hosts that are all in one cluster; those that may vote do so already."""

    def config(host: Host) -> dict[str, Any]:
        made: dict[str, Any] = {
            "node": {"address": host.address},
            "cluster": {"promote_after_s": 1.0},
        }
        return made if engine is None else {**made, "engine": engine}

    with hosts(number, engines=engines, daemons=False, config=config) as site:
        first, *others = site.hosts
        first.daemon.start()
        token = _told(first, "cluster", "token").split()[0]
        for host in others:
            host.daemon.start()
            _told(host, "cluster", "join", token)
        until_settled(site)
        site.until(lambda: _registered(first) == number)
        yield site


def _registered(host: Host) -> int:
    return len(host.daemon.get("/api/v1/nodes")["nodes"])


def _told(host: Host, *arguments: str) -> str:
    done = host.daemon.cli(*arguments)
    if done.returncode:
        raise RuntimeError(f"{arguments} on {host.name}: {done.stderr}\n{host.daemon.log()}")
    return done.stdout


def view(host: Host) -> dict[str, Any]:
    """The cluster, as this host sees it."""
    found: dict[str, Any] = host.daemon.get("/api/v1/cluster")
    return found


def leader(site: Site) -> Host:
    """Who leads, by the word of all who are there; to be asked once things have settled."""
    (name,) = {view(host)["leader"] for host in site.hosts if not host.lost}
    return named(site, name)


def named(site: Site, name: str) -> Host:
    (found,) = (host for host in site.hosts if host.name == name)
    return found


def followers(site: Site) -> list[Host]:
    """Voters that do not lead."""
    seen = view(leader(site))
    voters = [it["name"] for it in seen["members"] if it["role"] == "voter"]
    return [named(site, name) for name in voters if name != seen["leader"]]


def brokers_in_use(site: Site) -> list[Host]:
    """Hosts whose broker every voter is linked to now."""
    names = set.intersection(*(_linked(site, host) for host in _voters(site)))
    return [named(site, name) for name in sorted(names)]


def until_settled(site: Site) -> None:
    """Until all agree on the leader, hear each other, and all voters meet on two brokers."""
    deadline_s = time.monotonic() + _SETTLED_S
    while not _settled(site):
        if time.monotonic() > deadline_s:
            logs = (f"{host.name}:\n{host.daemon.log()}" for host in site.hosts)
            raise TimeoutError("\n".join((f"not settled after {_SETTLED_S} s", *logs)))
        time.sleep(_LOOK_S)


def _settled(site: Site) -> bool:
    here = [host for host in site.hosts if not host.lost]
    try:
        views = [view(host) for host in here]
        alike = {(seen["leader"], seen["term"], seen["applied_index"]) for seen in views}
        if len(alike) != 1 or not views[0]["leader"]:
            return False
        return all(map(_is_whole, views)) and len(brokers_in_use(site)) >= 2
    except (OSError, RuntimeError):
        return False


def _is_whole(seen: dict[str, Any]) -> bool:
    members = seen["members"]
    eligible = len(members)
    wanted = VOTERS_MAX if eligible >= VOTERS_MAX else min(eligible, 3)
    alive = all(it["liveness"] == "alive" for it in members)
    voters = sum(it["role"] == "voter" for it in members)
    return alive and voters == wanted


def _voters(site: Site) -> list[Host]:
    return [leader(site), *followers(site)]


def _linked(site: Site, host: Host) -> set[str]:
    """Names of the hosts whose brokers this one is linked to."""
    links = [link for link in view(host)["links"] if link["connected"]]
    at = {urlsplit(link["url"]).hostname for link in links}
    own = {host.name} if "127.0.0.1" in at else set()
    return own | {other.name for other in site.hosts if other.address in at}


class Writer:
    """A client of one node: one write after the other, each an entry of the log.

    A service with no replicas is changed, so that nothing but the log has work with it.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.faults: Counter[str] = Counter()
        self._acknowledged_s: list[float] = []
        self._number = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer")

    def __enter__(self) -> Self:
        self._thread.start()
        self.until_writing(time.monotonic())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _fault: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None:
            self._require_kept()

    def until_writing(self, since_s: float) -> None:
        """Until something that was acknowledged after that moment."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while not self._acknowledged_s or self._acknowledged_s[-1] <= since_s:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no write after {_PATIENCE_S} s: {self.faults}")
            time.sleep(_PAUSE_S)

    def gap_s(self, since_s: float) -> float:
        """The longest time between two acknowledgements, from the last before `since_s` on."""
        times_s = [*self._acknowledged_s, time.monotonic()]
        first = next(at for at, told_s in enumerate(times_s) if told_s > since_s)
        around_s = times_s[max(0, first - 1) :]
        return max(after - before for before, after in pairwise(around_s))

    def _write(self) -> None:
        while not self._ended.wait(_PAUSE_S):
            number = self._number + 1
            service = {"name": _PULSE, "command": ["x"], "replicas": 0, "env": {"N": str(number)}}
            try:
                self.host.daemon.post("/api/v1/services", {"services": [service]})
            except (OSError, RuntimeError) as error:
                self.faults[str(error)] += 1
            else:
                self._number = number
                self._acknowledged_s.append(time.monotonic())

    def _require_kept(self) -> None:
        """What was acknowledged last is there; writes are in order, so all before it were."""
        found = self.host.daemon.get("/api/v1/services")["services"]
        (kept,) = (it["service"]["env"]["N"] for it in found if it["service"]["name"] == _PULSE)
        assert int(kept) >= self._number, f"{self._number} was acknowledged, and {kept} is kept"
