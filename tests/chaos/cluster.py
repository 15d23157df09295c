"""One cluster of several hosts: made in seconds, asked, and waited for."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml

from tests.chaos.client import add
from tests.testbed.daemon import merged
from tests.testbed.engines import BUSYBOX
from tests.testbed.hosts import Host, Site, hosts

Config = Callable[[Host], dict[str, Any]]

LOST_AFTER_S = 3.0
"""Of `timing: lan`: silence after which a node is lost."""


class Cluster:
    """All hosts of a site, which are to be one cluster; a host that is down is asked nothing."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.hosts = site.hosts

    def found(self, others: Sequence[Host] | None = None) -> None:
        """The first host founds it, `others` (all) join before their first start."""
        first = self.hosts[0]
        first.daemon.start()
        token = self.token(first)
        at_once(
            lambda host: join_and_start(host, token), self.hosts[1:] if others is None else others
        )

    def token(self, host: Host) -> str:
        """Of a host that may begin another life to make it: returns when that answers."""
        token = str(host.daemon.post("/api/v1/cluster/token", {})["token"])
        self.site.until(lambda: (found := view(host)) and found["shared"])
        return token

    # Who leads, and whether all is well.

    def leader(self, among: Collection[Host] | None = None) -> Host | None:
        """The host that says of itself that it leads, in the highest term of those asked."""
        found = self._views(among)
        leading = [(seen["term"], name) for name, seen in found.items() if seen["role"] == "leader"]
        return self.named(max(leading)[1]) if leading else None

    def led(self, among: Collection[Host] | None = None, *, within_s: float = 20.0) -> Host:
        """The leader, once there is one that all of those asked follow."""

        def agreed() -> bool:
            found = self._views(among)
            names = {seen["leader"] for seen in found.values()}
            return len(names) == 1 and names <= found.keys() and self._leads(names.pop())

        self.site.until(agreed, within_s=within_s)
        leader = self.leader(among)
        assert leader is not None
        return leader

    def _leads(self, name: str) -> bool:
        seen = view(self.named(name))
        return seen is not None and seen["role"] == "leader"

    def term(self) -> int:
        return max(int(seen["term"]) for seen in self._views().values())

    def named(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def others(self, *away: Host) -> list[Host]:
        return [host for host in self.hosts if host not in away]

    def whole(self, *, voters: int, within_s: float = 60.0, links: int = 2) -> None:
        """Returns once every host is up, heard by all, applied alike, and so many of them vote."""
        try:
            self.site.until(lambda: self._is_whole(voters, links), within_s=within_s)
        except TimeoutError as error:
            error.add_note("\n".join(map(str, self._views().values())))
            raise

    def _is_whole(self, voters: int, links: int) -> bool:
        found = self._views()
        if len(found) < len(self.hosts):
            return False
        roles = [member["role"] for member in self._leaders_view(found)]
        voting = sum(role in ("voter", "witness") for role in roles)
        return (
            voting == voters
            and len({(seen["leader"], seen["applied_index"]) for seen in found.values()}) == 1
            and all(self._is_well(seen, links) for seen in found.values())
        )

    def _leaders_view(self, found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        seen = [it for it in found.values() if it["role"] == "leader"]
        return list(seen[0]["members"]) if len(seen) == 1 else []

    def _is_well(self, seen: dict[str, Any], links: int) -> bool:
        linked = sum(link["connected"] for link in seen["links"])
        parts = {it["name"]: it["role"] for it in seen["members"]}
        votes = parts.get(seen["node"]) in ("voter", "witness")
        return (
            seen["membership"] == "joined"
            and not seen["failure"]
            and len(seen["members"]) == len(self.hosts)
            and linked >= (links if votes else 1)
            # Who does not vote hears the leader alone.
            and (not votes or all(it["liveness"] == "alive" for it in seen["members"]))
        )

    def _views(self, among: Collection[Host] | None = None) -> dict[str, dict[str, Any]]:
        asked = self.hosts if among is None else among
        found = {host.name: view(host) for host in asked}
        return {name: seen for name, seen in found.items() if seen is not None}

    # What is agreed, and what runs.

    def without_majority(self, host: Host, missing: Collection[Host]) -> None:
        """It takes no writes and says who is missing; what it knows it tells, and of when it is.

        One that hears the others and is not heard may have said it to a leader, for all it knows.
        """
        self.site.until(lambda: (seen := view(host)) and not seen["leader"])
        status, answer = add(host, service("lonely", replicas=0))
        assert (status, answer["error"]) in ((503, "unavailable"), (504, "unknown")), answer
        words = set(re.split(r"[ ,;:]+", answer["reason"]))
        assert words & {other.name for other in missing}, answer
        assert host.daemon.get("/api/v1/services")["services"]
        self.site.until(lambda: "is from then" in host.daemon.cli("cluster", "status").stdout)

    def same(self, among: Collection[Host] | None = None) -> dict[str, Any]:
        """The agreed state, once all nodes hold the same of it."""
        asked = self.hosts if among is None else among
        states: list[dict[str, Any]] = []

        def alike() -> bool:
            states[:] = [agreed_by(host) for host in asked]
            return all(state == states[0] for state in states)

        self.site.until(alike)
        return states[0]

    def running(self) -> Counter[str]:
        """Copies of each instance, on all hosts together."""
        return sum((Counter(copies(host)) for host in self.hosts), Counter())

    def runs_as_wanted(self, among: Collection[Host] | None = None) -> bool:
        """Every instance that is placed runs once, where it is placed, and nothing else does."""
        asked = self.hosts if among is None else among
        state = agreed_by(next(iter(asked)))
        wanted = {(host.name, name) for name, host in self._placed(state)}
        found = {(host.name, name): count for host in asked for name, count in copies(host).items()}
        full = all(placed == replicas for placed, replicas in state["replicas"].values())
        return full and found == dict.fromkeys(wanted, 1)

    def _placed(self, state: dict[str, Any]) -> list[tuple[str, Host]]:
        return [(name, self.named(node)) for name, node in state["placements"].items()]

    def recovered(self, *, voters: int = 3, within_s: float = 60.0) -> dict[str, Any]:
        """All is well again: the agreed state, that runs."""
        self.whole(voters=voters, within_s=within_s)
        self.site.until(self.runs_as_wanted, within_s=within_s)
        return self.same()


def view(host: Host) -> dict[str, Any] | None:
    """What a node says of the cluster; None while it says nothing."""
    if host.lost or not host.daemon.process or host.daemon.process.poll() is not None:
        return None
    try:
        seen: dict[str, Any] = host.daemon.get("/api/v1/cluster")
    except OSError:
        return None
    return seen


def agreed_by(host: Host) -> dict[str, Any]:
    """All that is agreed, as one node knows it."""
    services = host.daemon.get("/api/v1/services")["services"]
    instances = host.daemon.get("/api/v1/instances")["instances"]
    seen = host.daemon.get("/api/v1/cluster")
    return {
        "services": {it["service"]["name"]: (it["service"], it["revision"]) for it in services},
        "replicas": {
            it["service"]["name"]: (it["placed"], it["service"]["replicas"]) for it in services
        },
        "placements": {it["instance"]: it["node"] for it in instances},
        "members": {it["name"]: it["id"] for it in seen["members"]},
        "epoch": seen["epoch"],
        "applied": seen["applied_index"],
    }


def copies(host: Host) -> dict[str, int]:
    """What runs there; nothing, where its engine dies while it is asked."""
    try:
        return host.running()
    except OSError:
        return {}


def placed_on(asked: Host, host: Host) -> list[str]:
    """The instances that are placed on `host`, as another one knows it."""
    instances = asked.daemon.get("/api/v1/instances")["instances"]
    return [it["instance"] for it in instances if it["node"] == host.name]


def service(name: str, **more: Any) -> dict[str, Any]:
    """One that only sleeps, and heeds SIGTERM, as the first process of a container does not."""
    sleep = "trap exit TERM; sleep 1000 & wait"
    wanted = {"name": name, "command": ["/bin/sh", "-c", sleep], "cores": [20]}
    # A first process does not heed it before its trap is set, hence the short grace.
    return {**wanted, "reschedule_after_s": 2.0, "stop_grace_s": 1.0, **more}


def contained(name: str, **more: Any) -> dict[str, Any]:
    return service(name, image=BUSYBOX, **more)


def join_and_start(host: Host, token: str) -> None:
    """As somebody does who prepares a machine: the token first, then the first start."""
    join(host, token)
    host.daemon.start()


def join(host: Host, token: str) -> None:
    daemon = host.daemon
    daemon.config_path.write_text(yaml.safe_dump(daemon.config))
    done = daemon.cli("cluster", "join", token, "--config", str(daemon.config_path))
    assert done.returncode == 0, done.stderr


def at_once(act: Callable[[Host], object], among: Sequence[Host]) -> None:
    with ThreadPoolExecutor(max_workers=16) as threads:
        for done in [threads.submit(act, host) for host in among]:
            done.result()


def usual(host: Host) -> dict[str, Any]:
    """Others reach it, and it may vote soon."""
    config: dict[str, Any] = {
        "node": {"address": host.address},
        "cluster": {"promote_after_s": 1.0},
    }
    return config if host.engine else merged(config, {"engine": {"kind": "process"}})


@contextlib.contextmanager
def site_of(number: int, *, config: Config | None = None, **more: Any) -> Iterator[Cluster]:
    """Hosts whose daemons do not run yet."""

    def configured(host: Host) -> dict[str, Any]:
        return merged(usual(host), config(host) if config else {})

    with hosts(number, daemons=False, config=configured, **more) as site:
        yield Cluster(site)


@contextlib.contextmanager
def cluster_of(
    number: int, *, voters: int = 0, config: Config | None = None, **more: Any
) -> Iterator[Cluster]:
    """A cluster that is whole: all hosts are in it, and so many vote."""
    with site_of(number, config=config, **more) as made:
        made.found()
        made.whole(voters=voters or number)
        yield made
