"""A private dockerd and a private Podman service, with everything a test may do to them."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from roheletd.engines.archive import ImageFile, image_archive
from tests.testbed import gpu_stand_ins, network
from tests.testbed.requirements import need
from tests.testbed.unix_http import request

BUSYBOX = "localhost/busybox:test"
_APPLETS = (
    "cat",
    "env",
    "grep",
    "head",
    "hostname",
    "httpd",
    "nproc",
    "sh",
    "sleep",
    "tail",
    "true",
    "yes",
)
_READY_S = 60.0
_SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

# A process of its own, because a namespace is entered by whole processes.
_FETCH = """
import sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"Authorization": sys.argv[2]})
try:
    with urllib.request.urlopen(asked, timeout=5) as answer:
        sys.stdout.write(answer.read().decode())
except OSError:
    pass
"""

_CONTAINERD_TOML = """\
version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/containerd.sock"
"""
_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_REGISTRIES_CONF = """\
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "127.0.0.1"
insecure = true
"""


def busybox_archive(tag: str = BUSYBOX) -> bytes:
    """An image of Debian's static busybox and a web page `ok`; it sleeps unless told better."""
    binary = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    files = [
        ImageFile(path="bin/busybox", data=binary, mode=0o755),
        ImageFile(path="www/index.html", data=b"ok\n"),
        *(ImageFile(path=f"bin/{applet}", link="busybox") for applet in _APPLETS),
    ]
    return image_archive(tag, files, command=("/bin/sleep", "1000"), env={"PATH": "/bin"})


class RealEngine:
    """One engine process, its socket, and its death and return."""

    kind = ""

    def __init__(self, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.socket = folder / "engine.sock"
        self.prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None

    def _argv(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {"PATH": _SEARCH_PATH, "HOME": str(self.folder)}

    def start(self) -> None:
        """Start (again) and return once the socket answers."""
        self.socket.unlink(missing_ok=True)
        self._process = self._spawn(self._argv())
        self._wait_until_it_answers(self._process)

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*self.prefix, *argv],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                request(self.socket, "GET", "/_ping", timeout_s=5)
                return
            if process.poll() is not None:
                break
            time.sleep(0.02)
        tail = (self.folder / "log").read_text()[-2000:]
        raise RuntimeError(f"{self.kind} does not answer on {self.socket}:\n{tail}")

    def kill(self) -> None:
        """SIGKILL the engine alone: its containers live on."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """As `systemctl restart` does it: asked to end, and started again."""
        assert self._process
        _end(self._process)
        self.start()

    def freeze(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self._process.pid}/task")
        while any(_state(thread) != "T" for thread in threads.iterdir()):
            time.sleep(0.001)  # on a busy machine it still answers for a moment

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def load(self, archive: bytes) -> None:
        request(self.socket, "POST", "/images/load", body=archive, content_type="application/x-tar")

    def push(self, image: str, name: str, auth: str = "e30=") -> str:
        """Push an image that is here to a registry under another name, and keep no such name.

        Gives the digest that the registry knows it by.
        """
        repository, _, tag = name.rpartition(":")
        request(self.socket, "POST", f"/images/{image}/tag?repo={repository}&tag={tag}")
        said = request(self.socket, "POST", f"/images/{repository}/push?tag={tag}", auth=auth)
        if "error" in str(said):
            raise RuntimeError(f"push of {name}: {said}")
        request(self.socket, "DELETE", f"/images/{name}")
        return re.findall(r"digest: (sha256:[0-9a-f]{64})", str(said))[-1]

    def tag(self, image: str, repository: str) -> None:
        request(self.socket, "POST", f"/images/{image}/tag?repo={repository}&tag=latest")

    def inspect(self, container: str) -> dict:
        return request(self.socket, "GET", f"/containers/{container}/json")

    def create(self, name: str, body: dict) -> None:
        """A container that roheletd did not make."""
        target = f"/containers/create?name={name}"
        request(self.socket, "POST", target, body=json.dumps(body).encode())

    def stop_container(self, container: str) -> None:
        request(self.socket, "POST", f"/containers/{container}/stop?t=0")

    def changed_files(self, container: str) -> list[str]:
        """What the container has written over its image."""
        changes = request(self.socket, "GET", f"/containers/{container}/changes")
        return [change["Path"] for change in changes or ()]

    def fetch(self, url: str, authorization: str = "") -> str:
        """The body of a URL as seen from where the engine publishes its ports; empty: refused."""
        argv = [*self.prefix, sys.executable, "-I", "-c", _FETCH, url, authorization]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def stop(self) -> None:
        """Remove all containers, end the engine and whatever it left."""
        if self._process is None:
            self.start()
        for container in request(self.socket, "GET", "/containers/json?all=1"):
            target = f"/containers/{container['Id']}?force=1&v=1&t=0&timeout=0"
            with contextlib.suppress(RuntimeError):
                request(self.socket, "DELETE", target)
        assert self._process
        _end(self._process)
        self._process = None


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Dockerd(RealEngine):
    """dockerd beside a containerd of its own, as Debian runs them: one survives the other."""

    kind = "docker"

    def __init__(
        self,
        folder: Path,
        prefix: tuple[str, ...] = (),
        *,
        options: tuple[str, ...] = (),
        live_restore: bool = True,
    ) -> None:
        super().__init__(folder, prefix)
        self._options = (*options, "--live-restore") if live_restore else options
        self._containerd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._containerd is None:
            self.start_containerd()
        super().start()

    def start_containerd(self) -> None:
        config = self.folder / "containerd.toml"
        config.write_text(_CONTAINERD_TOML.format(folder=self.folder))
        self._containerd = self._spawn(["containerd", "--config", str(config)])

    def kill_containerd(self) -> None:
        """SIGKILL containerd alone: dockerd and the containers live on."""
        assert self._containerd
        self._containerd.kill()
        self._containerd.wait()

    def _argv(self) -> list[str]:
        (self.folder / "pid").unlink(missing_ok=True)
        (self.folder / "daemon.json").write_text("{}")
        return [
            "dockerd",
            *("--host", f"unix://{self.socket}"),
            *("--containerd", str(self.folder / "containerd.sock")),
            *("--data-root", str(self.folder / "root")),
            *("--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "pid")),
            *("--config-file", str(self.folder / "daemon.json")),
            *("--add-runtime", f"nvidia={gpu_stand_ins.runtime(self.folder)}"),
            *self._options,
        ]

    def _environment(self) -> dict[str, str]:
        """With a stand-in for NVIDIA's hook: without it, dockerd refuses every GPU."""
        found = super()._environment()
        return found | {"PATH": f"{gpu_stand_ins.hook(self.folder)}:{found['PATH']}"}

    def stop(self) -> None:
        super().stop()
        if self._containerd is not None:
            _end(self._containerd)
            self._containerd = None


class PodmanService(RealEngine):
    """`podman system service`, which speaks Docker's API."""

    kind = "podman"

    def _argv(self) -> list[str]:
        argv = ["podman"]
        for option in ("root", "runroot", "tmpdir"):
            argv += [f"--{option}", str(self.folder / option)]
        return [*argv, "system", "service", "--time=0", f"unix://{self.socket}"]

    def _environment(self) -> dict[str, str]:
        containers, registries = self.folder / "containers.conf", self.folder / "registries.conf"
        containers.write_text(_CONTAINERS_CONF)
        registries.write_text(_REGISTRIES_CONF)
        return super()._environment() | {
            "CONTAINERS_CONF": str(containers),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
        }


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A short folder name, since socket paths are short; no process or mount of it remains."""
    folder = Path(tempfile.mkdtemp(prefix="rohe-"))
    try:
        yield folder
    finally:
        _kill_all_of(folder)
        unmount_below(folder)
        shutil.rmtree(folder)


def _kill_all_of(folder: Path) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if belongs(entry, folder):
                    os.kill(int(entry.name), signal.SIGKILL)


def belongs(process: Path, folder: Path) -> bool:
    """Named by its command line (engines, shims), or with its root there (containers)."""
    if f"{folder}/".encode() in (process / "cmdline").read_bytes():
        return True
    mounts = (line.split() for line in (process / "mountinfo").read_text().splitlines())
    return any(mount[4] == "/" and f"{folder}/" in mount[-1] for mount in mounts)


def unmount_below(folder: Path) -> None:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [point for point in points if point.startswith(f"{folder}/")]
    for point in sorted(below, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=True)


@contextlib.contextmanager
def _running(engine: RealEngine) -> Iterator[RealEngine]:
    try:
        engine.start()
        engine.load(busybox_archive())
        yield engine
    finally:
        engine.stop()


@contextlib.contextmanager
def dockerd(*, live_restore: bool = True, options: tuple[str, ...] = ()) -> Iterator[RealEngine]:
    """dockerd in the machine's own network: its published ports answer on 127.0.0.1."""
    need("dockerd", "containerd", "runc", "ip", "busybox", root=True)
    with scratch() as folder, network.bridge() as bridge:
        options += ("--bridge", bridge, "--iptables=false", "--ip-forward=false", "--ip-masq=false")
        with _running(Dockerd(folder, options=options, live_restore=live_restore)) as engine:
            yield engine


@contextlib.contextmanager
def podman(*, wrapper: tuple[str, ...] = ()) -> Iterator[RealEngine]:
    """A Podman service in a network namespace of its own, started through `wrapper` if given."""
    need("podman", "runc", "catatonit", "iptables", "ip", "nsenter", "busybox", root=True)
    with scratch() as folder, network.namespace() as name:
        prefix = ("nsenter", f"--net=/run/netns/{name}", *wrapper)
        with _running(PodmanService(folder, prefix)) as engine:
            yield engine


@contextlib.contextmanager
def podman_with_gpus() -> Iterator[RealEngine]:
    """One that sees a CDI spec in /etc/cdi, where nobody else on this machine sees any.

    Podman reads no other folder before version 5.
    """
    mount = (
        'mount -t overlay -o "lowerdir=/etc,upperdir=$0/etc,workdir=$0/work" etc /etc && exec "$@"'
    )
    with scratch() as folder:
        (folder / "work").mkdir()
        gpu_stand_ins.cdi_spec(folder / "etc/cdi")
        with podman(wrapper=("unshare", "--mount", "sh", "-c", mount, str(folder))) as engine:
            yield engine
