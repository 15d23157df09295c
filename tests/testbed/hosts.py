"""Several hosts of one machine: a network, a roheletd and, where asked, a dockerd to each.

    with hosts(3, engines=True) as site:
        first, second, third = site.hosts
        second.lose()

Every process of a host is in its network namespace or names its folder, and so a host can be
lost as a whole: by a SIGKILL to everything, right after its cable was pulled, so that no kernel
says goodbye for it.
"""

import contextlib
import errno
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from roheletd.engines import docker_api, procfs
from tests.testbed.daemon import RealDaemon, merged
from tests.testbed.engines import belongs, busybox_archive, scratch
from tests.testbed.host_engine import HostEngine
from tests.testbed.network import run
from tests.testbed.requirements import need
from tests.testbed.switch import Switch, in_namespace, switch
from tests.testbed.unix_http import request

BROKER_PORT = 9471
API_PORT = 9470
_HOSTS_MAX = 200
_BLOCK = bytes(4096)  # of a tmpfs, which has no smaller ones

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
except OSError:
    sys.exit(3)
"""
_REFUSED = 3


class Host:
    """One machine of the site. `engine` is None where it has none; `prefix` runs a command there.

    `lost` says that it has no power; what is asked of it meanwhile finds nothing.
    """

    def __init__(
        self, name: str, *, folder: Path, wires: Switch, engine: bool, swarm: bool = False
    ) -> None:
        self.name = name
        self.address = wires.address(name)
        self.netns = wires.netns(name)
        self.prefix = in_namespace(self.netns)
        self.folder = folder
        self.lost = False
        self._wires = wires
        self.engine = self._dockerd(swarm=swarm) if engine else None
        self.daemon = self._roheletd()

    def _dockerd(self, *, swarm: bool) -> HostEngine:
        folder = self.folder / "engine"
        folder.mkdir(parents=True)
        return HostEngine(folder, self.prefix, cgroup=self.netns, swarm=swarm)

    def _roheletd(self) -> RealDaemon:
        folder = self.folder / "daemon"
        folder.mkdir(parents=True)
        docker = self.engine and {"kind": "docker", "socket": str(self.engine.socket)}
        config: dict[str, Any] = {
            "node": {"name": self.name},
            "broker": {"mode": "managed", "port": BROKER_PORT},
            "engine": docker or {"kind": "none"},
            "api": {"port": API_PORT},
            "discovery": {"forwarder": True, "dns": True},
        }
        return RealDaemon(folder, config, prefix=self.prefix)

    # Its power.

    def start_engine(self, *images: bytes) -> None:
        if self.engine is not None:
            self.engine.start()
            for image in images:
                self.engine.load(image)

    def kill(self) -> None:
        """SIGKILL the daemon alone: its broker and its instances live on."""
        self.daemon.kill()

    def freeze(self) -> None:
        """Stop the daemon alone: its connections stay open, and nobody reads from them."""
        self.daemon.freeze()

    def thaw(self) -> None:
        self.daemon.thaw()

    def lose(self) -> None:
        """The power goes: not a word to anybody, and everything that ran here is dead."""
        _lose([self])

    def come_back(self) -> None:
        """Boot, after `lose`: the cable is in, engine and daemon are started."""
        self._wires.plug(self.name)
        self.lost = False
        self.start_engine()
        self.daemon.start()

    def forget_boot(self) -> None:
        """What is left to do once all processes are killed."""
        self.lost = True
        if self.daemon.process is not None:
            self.daemon.process.wait()
        if self.engine is not None:
            self.engine.forget_boot()

    # Its broker.

    def broker_pid(self) -> int | None:
        """The mosquitto of its daemon, be that alive or not; None while there is none."""
        ours = f"\0{self.daemon.data_dir}/".encode()
        for process in processes([self]):
            with contextlib.suppress(OSError):  # ended since
                name = (process / "comm").read_text().strip()
                if name == "mosquitto" and ours in (process / "cmdline").read_bytes():
                    return int(process.name)
        return None

    def kill_broker(self) -> None:
        self._signal_broker(signal.SIGKILL)

    def freeze_broker(self) -> None:
        """It still accepts connections, and says nothing more."""
        self._signal_broker(signal.SIGSTOP)

    def thaw_broker(self) -> None:
        self._signal_broker(signal.SIGCONT)

    def _signal_broker(self, number: signal.Signals) -> None:
        pid = self.broker_pid()
        if pid is None:
            raise RuntimeError(f"no broker runs on {self.name}; log:\n{self.daemon.log()}")
        os.kill(pid, number)

    # Its cable.

    def cut(self) -> None:
        """Pull the cable: both ends see it."""
        self._wires.pull(self.name)

    def cut_one_way(self, direction: Literal["in", "out"]) -> None:
        """Lose all that comes in, or all that goes out; no end sees it."""
        others = [name for name in self._wires.names if name != self.name]
        came_in = direction == "in"
        self._wires.lose((other, self.name) if came_in else (self.name, other) for other in others)

    def heal(self) -> None:
        """Undo `cut`, `cut_one_way` and what `partition` did to this host."""
        self._wires.restore(self.name)
        if not self.lost:
            self._wires.plug(self.name)

    def reaches(self, other: "Host", port: int = BROKER_PORT, *, within_s: float = 0.5) -> bool:
        """Whether it gets a TCP connection there."""
        asked = (other.address, str(port), str(within_s))
        argv = [*self.prefix, sys.executable, "-I", "-S", "-c", _CONNECT, *asked]
        code = subprocess.run(argv, check=False).returncode
        if code not in (0, _REFUSED):
            raise RuntimeError(f"{argv} ended with {code}")
        return code == 0

    # Its disk.

    @property
    def _ballast(self) -> Path:
        return self.daemon.data_dir / "ballast"

    def fill_disk(self) -> None:
        """Leave no block free beside the data; the site was made with `data_mib`."""
        assert os.path.ismount(self.daemon.data_dir), "this would fill the disk of the machine"
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(_BLOCK)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free_disk(self) -> None:
        self._ballast.unlink()

    # Its instances.

    def running(self) -> dict[str, int]:
        """How many copies of each instance run here: asked of the engine, or of the kernel."""
        if self.lost:
            return {}
        return dict(Counter(self._processes() if self.engine is None else self._containers()))

    def _containers(self) -> list[str]:
        assert self.engine
        marks = docker_api.ours(self.daemon.cluster, self.name)
        filters = quote(json.dumps(marks))
        found = request(self.engine.socket, "GET", f"/containers/json?filters={filters}")
        return [container["Labels"][docker_api.INSTANCE] for container in found]

    def _processes(self) -> list[str]:
        markers = {"ROHE_CLUSTER": self.daemon.cluster, "ROHE_NODE": self.name}
        with procfs.marked(markers) as found:
            return [process.instance for process in found if process.pid == process.session]


class Site:
    """All hosts, and what happens to several of them at once."""

    def __init__(self, hosts: Sequence[Host], wires: Switch) -> None:
        self.hosts = tuple(hosts)
        self._wires = wires

    def start_engines(self) -> None:
        image = busybox_archive()
        _at_once(lambda host: host.start_engine(image), self.hosts)

    def start_daemons(self) -> None:
        _at_once(lambda host: host.daemon.start(), self.hosts)

    def partition(self, *groups: Sequence[Host]) -> None:
        """Hosts of different groups do not hear each other; nothing else is lost any more.

        No end sees it. A host that is in no group hears all of them.
        """
        self._wires.set_lost(
            (sender.name, receiver.name)
            for group, other in permutations(groups, 2)
            for sender in group
            for receiver in other
        )

    def heal(self) -> None:
        for host in self.hosts:
            host.heal()

    def power_cut(self) -> None:
        """Every host is lost, at once."""
        _lose(self.hosts)

    def come_back(self) -> None:
        """Every lost host boots, at once."""
        _at_once(Host.come_back, [host for host in self.hosts if host.lost])

    def until(self, condition: Callable[[], object], *, within_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline_s:
                logs = (f"{host.name}:\n{host.daemon.log()}" for host in self.hosts)
                raise TimeoutError("\n".join((f"not within {within_s} s; logs", *logs)))
            time.sleep(0.02)


def processes(hosts: Sequence[Host]) -> list[Path]:
    """What runs on these hosts, as folders of /proc; not those that have been killed."""
    networks = {Path(f"/run/netns/{host.netns}").stat().st_ino for host in hosts}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # ended since
                here = (entry / "ns/net").stat().st_ino in networks
                if here or any(belongs(entry, host.folder) for host in hosts):
                    found.append(entry)
    return found


def _lose(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.cut()
    while living := processes(hosts):
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
    for host in hosts:
        host.forget_boot()


def _at_once(act: Callable[[Host], None], hosts: Iterable[Host]) -> None:
    with ThreadPoolExecutor(max_workers=_HOSTS_MAX) as threads:
        for done in [threads.submit(act, host) for host in hosts]:
            done.result()


@contextlib.contextmanager
def hosts(
    number: int,
    *,
    engines: bool = False,
    daemons: bool = True,
    config: Callable[[Host], dict[str, Any]] | None = None,
    data_mib: int | None = None,
    swarm: bool = False,
) -> Iterator[Site]:
    """Hosts n1, n2, ... that all run; they leave nothing behind, however it ends.

    `config` says what a host's daemon is configured with beside the defaults; without `daemons`
    the test starts them itself. `data_mib` bounds each data directory, for `fill_disk`. `swarm`:
    the engines are to be a cluster of Docker's own.
    """
    need("ip", "iptables", "nsenter", "mosquitto", root=True)
    if engines:
        need("dockerd", "containerd", "runc", "busybox")
    names = [f"n{index}" for index in range(1, number + 1)]
    with scratch() as folder, switch(names) as wires:
        made = [
            Host(name, folder=folder / name, wires=wires, engine=engines, swarm=swarm)
            for name in names
        ]
        cluster = {"cluster": {"name": f"test-{secrets.token_hex(3)}"}}
        for host in made:
            _configure(host, cluster if config is None else merged(cluster, config(host)))
            if data_mib is not None:
                _bound(host.daemon.data_dir, data_mib)
        site = Site(made, wires)
        try:
            site.start_engines()
            if daemons:
                site.start_daemons()
            yield site
        finally:
            site.power_cut()


def _configure(host: Host, config: dict[str, Any]) -> None:
    host.daemon.config = merged(host.daemon.config, config)


def _bound(data_dir: Path, size_mib: int) -> None:
    data_dir.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "rohe", str(data_dir))
