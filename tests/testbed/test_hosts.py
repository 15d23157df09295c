"""The hosts themselves: each fault does what it says, can be undone, and leaves no trace."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.engines import BUSYBOX, belongs
from tests.testbed.hosts import Host, Site, hosts, processes
from tests.testbed.network import run

pytestmark = [pytest.mark.mosquitto, pytest.mark.root]


def heard_by_others(host: Host) -> dict[str, Any]:
    return {"broker": {"listen": "0.0.0.0"}, "engine": {"kind": "process"}}


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    """Three hosts without an engine, whose brokers can be reached from the others."""
    with hosts(3, config=heard_by_others) as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Site:
    """Whole again, whatever the last test has broken."""
    shared.heal()
    shared.come_back()
    shared.until(lambda: all_brokers_run(shared))
    return shared


def all_brokers_run(site: Site) -> bool:
    return all(linked(host) and host.broker_pid() for host in site.hosts)


def linked(host: Host) -> bool:
    return bool(host.daemon.get("/status")["broker"]["connected"])


def reached(site: Site) -> set[str]:
    """Who gets a connection to whose broker, as "n1>n2"."""
    pairs = list(permutations(site.hosts, 2))
    with ThreadPoolExecutor() as threads:
        answers = threads.map(lambda pair: pair[0].reaches(pair[1]), pairs)
        names = [f"{one.name}>{other.name}" for one, other in pairs]
        return {name for name, answer in zip(names, answers, strict=True) if answer}


EVERYBODY = {"n1>n2", "n1>n3", "n2>n1", "n2>n3", "n3>n1", "n3>n2"}


def all_reach_all(site: Site) -> None:
    """In a moment: after a cut, the next ARP request for a host is up to 1 s away."""
    site.until(lambda: reached(site) == EVERYBODY, within_s=5)


def hears(listener: Host, speaker: Host) -> bool:
    """Whether a datagram arrives, which needs one direction only."""
    python = (sys.executable, "-I", "-S", "-c")
    with subprocess.Popen([*listener.prefix, *python, LISTEN], stdout=subprocess.PIPE) as ear:
        assert ear.stdout
        assert ear.stdout.readline() == b"ready\n"
        subprocess.run([*speaker.prefix, *python, SAY, listener.address], check=True)
        return ear.stdout.readline() == b"heard\n"


LISTEN = """
import socket
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("", 7777))
ear.settimeout(1.2)
print("ready", flush=True)
try:
    print(ear.recv(100).decode())
except TimeoutError:
    pass
"""
SAY = """
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"heard", (sys.argv[1], 7777))
"""


def nap(**more: Any) -> dict[str, Any]:
    return {"services": [{"name": "nap", "command": ["sleep", "600"], **more}]}


def test_every_host_has_a_daemon_that_the_others_reach(site: Site) -> None:
    assert [host.daemon.get("/status")["node"] for host in site.hosts] == ["n1", "n2", "n3"]
    assert len({host.daemon.cluster for host in site.hosts}) == 1
    assert reached(site) == EVERYBODY
    assert site.hosts[0].daemon.cli("status").returncode == 0


def test_a_cut_host_is_alone_until_it_is_healed(site: Site) -> None:
    site.hosts[0].cut()
    assert reached(site) == {"n2>n3", "n3>n2"}
    assert linked(site.hosts[0])  # to its own broker, which needs no cable
    site.hosts[0].heal()
    all_reach_all(site)


def test_a_one_way_cut_loses_what_goes_one_way_only(site: Site) -> None:
    first, second, third = site.hosts
    first.cut_one_way("out")
    assert hears(first, second)
    assert not hears(second, first)
    first.heal()
    first.cut_one_way("in")
    assert hears(third, first)
    assert not hears(first, third)
    assert reached(site) == {"n2>n3", "n3>n2"}  # a connection needs both ways
    first.heal()
    all_reach_all(site)


def test_a_partition_keeps_groups_whole_and_apart(site: Site) -> None:
    first, second, third = site.hosts
    site.partition([first, second], [third])
    assert reached(site) == {"n1>n2", "n2>n1"}
    site.partition([first], [second])  # the third hears both, and they not one another
    assert reached(site) == EVERYBODY - {"n1>n2", "n2>n1"}
    site.heal()
    all_reach_all(site)


def test_a_frozen_daemon_says_nothing_until_it_is_thawed(site: Site) -> None:
    first, second, _ = site.hosts
    first.freeze()
    site.until(lambda: state(first.daemon.pid) == "T")
    assert second.reaches(first)  # its broker is not frozen
    first.thaw()
    assert first.daemon.get("/status")["node"] == "n1"


def state(pid: int | None) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_killed_daemon_leaves_its_broker_and_its_instances(site: Site) -> None:
    host = site.hosts[0]
    host.daemon.post("/api/v1/services", nap(replicas=2))
    host.daemon.running(2)
    broker = host.broker_pid()
    host.kill()
    assert host.broker_pid() == broker
    assert host.running() == {"nap.1": 1, "nap.2": 1}
    host.daemon.start()
    assert host.running() == {"nap.1": 1, "nap.2": 1}


def test_a_broker_is_frozen_thawed_killed_and_started_again(site: Site) -> None:
    first, second, _ = site.hosts
    broker = first.broker_pid()
    first.freeze_broker()
    site.until(lambda: state(broker) == "T")
    assert second.reaches(first)  # its kernel still accepts
    first.thaw_broker()
    first.kill_broker()
    site.until(lambda: first.broker_pid() not in (None, broker) and linked(first))


def test_a_lost_host_says_no_goodbye_and_comes_back_with_its_data(site: Site) -> None:
    first, second, _ = site.hosts
    first.daemon.post("/api/v1/services", nap())
    first.daemon.running(1)
    first.lose()
    assert not processes([first])
    assert first.running() == {}
    assert not second.reaches(first)
    site.heal()  # a cable does not give power
    assert not second.reaches(first)
    first.come_back()
    first.daemon.running(1)
    assert first.running() == {"nap.1": 1}


def test_a_power_cut_takes_every_host_at_once(site: Site) -> None:
    site.power_cut()
    assert not processes(site.hosts)
    site.come_back()
    site.until(lambda: all_brokers_run(site))
    all_reach_all(site)


def test_a_full_disk_is_full_to_the_last_block_and_can_be_freed() -> None:
    with hosts(1, daemons=False, data_mib=4) as site:
        (host,) = site.hosts
        host.fill_disk()
        with pytest.raises(OSError, match="No space left"):
            (host.daemon.data_dir / "more").write_bytes(b"x")
        host.free_disk()
        host.daemon.start()


@pytest.mark.docker
def test_hosts_with_engines_run_containers_apart_and_lose_them_together() -> None:
    with hosts(3, engines=True) as site:
        for host in site.hosts:
            host.daemon.post("/api/v1/services", {"services": [web()]})
            host.daemon.running(1)
        first, second, third = site.hosts
        assert [host.running() for host in site.hosts] == [{"web.1": 1}] * 3
        assert first.engine
        assert second.engine
        assert first.engine.fetch(page(second)) == "ok\n"
        site.partition([first], [second, third])
        assert not first.reaches(second, 20_000)
        site.heal()
        second.lose()
        assert not processes([second])
        assert not cgroups(second)
        assert first.running() == third.running() == {"web.1": 1}
        second.come_back()
        second.daemon.running(1)
        site.until(lambda: first.engine and first.engine.fetch(page(second)) == "ok\n")


def web() -> dict[str, Any]:
    port = {"container_port": 80, "host_port": 20_000}
    command = ["/bin/httpd", "-f", "-p", "80", "-h", "/www"]
    return {"name": "web", "image": BUSYBOX, "command": command, "ports": [port]}


def page(host: Host) -> str:
    return f"http://{host.address}:20000/"


def cgroups(host: Host) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/{host.netns}"))


@pytest.mark.docker
def test_nothing_remains_even_after_a_failure() -> None:
    made: list[Host] = []

    def fail_with_everything_running() -> None:
        with hosts(2, engines=True, data_mib=8) as site:
            made.extend(site.hosts)
            for host in made:
                host.daemon.post("/api/v1/services", {"services": [web()]})
                host.daemon.running(1)
            made[0].cut()
            made[0].freeze_broker()
            made[1].kill()
            raise ZeroDivisionError

    shims = shim_sockets()
    with pytest.raises(ZeroDivisionError):
        fail_with_everything_running()
    assert shim_sockets() <= shims
    for host in made:
        assert not host.folder.parent.exists()
        assert not cgroups(host)
        assert host.netns not in run("ip", "netns")
        assert str(host.folder) not in Path("/proc/self/mountinfo").read_text()
        assert not named(host)


def shim_sockets() -> set[Path]:
    return set(Path("/run/containerd/s").glob("*"))


def named(host: Host) -> list[Path]:
    """Processes that belong to its folder."""
    return [entry for entry in Path("/proc").glob("[0-9]*") if names(entry, host)]


def names(process: Path, host: Host) -> bool:
    try:
        return belongs(process, host.folder)
    except OSError:
        return False
