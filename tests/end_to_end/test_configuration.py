"""Config maps and secrets where they arrive: in containers, in processes, and nowhere else."""

import base64
import contextlib
import secrets
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from roheletd.engines import procfs
from tests.end_to_end.conftest import containers
from tests.end_to_end.mqtt_client import Login, ear
from tests.testbed.daemon import RealDaemon, daemon
from tests.testbed.engines import BUSYBOX, RealEngine
from tests.testbed.requirements import need

pytestmark = [pytest.mark.mosquitto, pytest.mark.root]

MARKER = "hunter2-5d1c"
BOTH = [
    pytest.param("dockerd", marks=pytest.mark.docker),
    pytest.param("podman", marks=pytest.mark.podman),
]
WEB = {
    "name": "web",
    "image": BUSYBOX,
    "command": ["/bin/sleep", "600"],
    "env": {"LEVEL": "debug"},
    "stop_grace_s": 1,
    "update": {"healthy_for_s": 0},
    "config_maps": [{"name": "base"}, {"name": "conf", "path": "/etc/web"}],
    "secrets": [{"name": "db"}, {"name": "db", "path": "/run/secrets"}],
}


class Node:
    """One daemon with its runtime folder in memory, and the engine that it uses."""

    def __init__(self, real: RealDaemon, engine: RealEngine) -> None:
        self.daemon = real
        self.engine = engine

    def within(self, script: str) -> str:
        """What a shell in the one container says."""
        name = self.daemon.container("web.1")
        argv = ["/usr/bin/docker", "-H", f"unix://{self.engine.socket}", "exec", name]
        done = subprocess.run(
            [*argv, "/bin/sh", "-c", script], check=False, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    def id(self) -> str:
        return containers(self.engine, self.daemon)[self.daemon.container("web.1")]

    def folders(self) -> list[str]:
        """Of the files of instances that are on this machine."""
        return [path.name for path in files_below(self.daemon).iterdir()]


def files_below(real: RealDaemon) -> Path:
    return real.folder / "roheletd" / f"files.{real.config['node']['name']}.{real.cluster}"


def in_memory(real: RealDaemon) -> None:
    """A tmpfs where systemd would have made one."""
    runtime = real.folder / "roheletd"
    runtime.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(runtime)], check=True)


def put(real: RealDaemon, family: str, name: str, *words: str, text: str = "") -> str:
    argv = [*real._program(), family, "set", name, *words, "--data-dir", str(real.data_dir)]
    done = subprocess.run(argv, input=text, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=BOTH)
def shared(request: pytest.FixtureRequest) -> Iterator[Node]:
    engine: RealEngine = request.getfixturevalue(request.param)
    with daemon(
        broker={"mode": "managed"}, engine={"kind": "docker", "socket": str(engine.socket)}
    ) as made:
        in_memory(made)
        made.start()
        put(made, "configmap", "base", "LEVEL=info", "COLOUR=red")
        put(made, "configmap", "conf", "web.conf=workers 1;")
        yield Node(made, engine)
        made.delete("/api/v1/services/web")
        made.until(lambda: not containers(engine, made))


@pytest.fixture
def node(shared: Node) -> Node:
    """With one instance of the service that has the first password."""
    if shared.daemon.process is None or shared.daemon.process.poll() is not None:
        shared.daemon.start()
    shared.daemon.post("/api/v1/secrets", {"name": "db", "data": {"password": MARKER}})
    shared.daemon.post("/api/v1/services", {"services": [WEB]})
    shared.daemon.until(lambda: shared.within("cat /run/secrets/password") == MARKER)
    shared.daemon.running(1)
    return shared


def test_values_arrive_as_variables_and_as_files_that_stay_in_memory(node: Node) -> None:
    env = node.within("env").split("\n")
    assert {
        *("LEVEL=debug", "COLOUR=red", f"password={MARKER}"),
        *("ROHE_CONFIG_MAP_CONF=/etc/web", "ROHE_SECRET_DB=/run/secrets"),
    } <= set(env)
    assert node.within("cat /etc/web/web.conf /run/secrets/password") == f"workers 1;{MARKER}"
    mounts = {
        line.split()[1]: line.split()[2:4] for line in node.within("cat /proc/mounts").splitlines()
    }
    for path in ("/etc/web", "/run/secrets"):
        kind, options = mounts[path]
        assert (kind, options.split(",")[0]) == ("tmpfs", "ro")
    assert "Read-only file system" in node.within("echo x > /run/secrets/password")
    (run,) = files_below(node.daemon).iterdir()
    modes = {
        str(path.relative_to(run)): stat.S_IMODE(path.stat().st_mode) for path in run.rglob("*")
    }
    assert modes == {
        "0": 0o555,
        "0/web.conf": 0o444,
        "1": 0o500,
        "1/password": 0o400,
    }


def test_a_change_replaces_the_instances_and_a_rollback_brings_the_values_back(node: Node) -> None:
    before, folders = node.id(), node.folders()
    assert "unchanged" in put(node.daemon, "secret", "db", "password", "-", text=f"{MARKER}\n")
    assert "web is rolled out" in put(node.daemon, "secret", "db", "password", "-", text="other")
    node.daemon.until(lambda: node.within("cat /run/secrets/password") == "other")
    assert node.id() != before
    node.daemon.until(lambda: not set(folders) & set(node.folders()))
    rollout = "/api/v1/services/web/rollout"
    node.daemon.until(lambda: node.daemon.get(rollout)["state"] == "completed")
    done = node.daemon.cli("rollback", "web")
    assert done.returncode == 0, done.stderr
    node.daemon.until(lambda: node.within("cat /run/secrets/password") == MARKER)
    node.daemon.delete("/api/v1/services/web")
    node.daemon.until(lambda: not node.folders())


def test_kill_9_leaves_the_files_and_a_restart_of_the_machine_brings_them_back(node: Node) -> None:
    before = node.id()
    node.daemon.kill()
    assert node.within("cat /run/secrets/password") == MARKER
    node.daemon.start()
    node.daemon.running(1)
    assert (node.id(), node.within("cat /run/secrets/password")) == (before, MARKER)
    node.daemon.kill()
    node.engine.stop_container(node.daemon.container("web.1"))
    shutil.rmtree(files_below(node.daemon))
    node.daemon.start()
    node.daemon.running(1)
    assert (node.id(), node.within("cat /run/secrets/password")) == (before, MARKER)


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[RealDaemon, RealDaemon]]:
    """On one machine, with processes for instances: the second has joined the first."""
    cluster = f"test-{secrets.token_hex(4)}"
    common: dict[str, Any] = {
        "engine": {"kind": "process"},
        "broker": {"mode": "managed"},
        "log_level": "debug",
    }
    with (
        daemon(**common, cluster={"name": cluster}) as first,
        daemon(**common, cluster={"name": cluster}) as second,
    ):
        for real, name in ((first, "n1"), (second, "n2")):
            real.config["node"] = {"name": name, "address": "127.0.0.1"}
            in_memory(real)
        first.start()
        token = first.post("/api/v1/cluster/token", {})["token"]
        first.until(lambda: is_shared(first))
        second.config_path.write_text(yaml.safe_dump(second.config))
        joined = second.cli("cluster", "join", token, "--config", str(second.config_path))
        assert joined.returncode == 0, joined.stderr
        second.start()
        second.until(lambda: len(second.get("/api/v1/nodes")["nodes"]) == 2)
        yield first, second


def test_a_secret_is_nowhere_in_plain_text_but_where_it_is_used() -> None:
    need("mosquitto")
    with two_nodes() as (first, second):
        password = (first.data_dir / "broker.password").read_text().strip()
        login = Login(first.broker_port, "rohe", password)
        with ear(login) as heard:
            put(second, "secret", "db", "PASSWORD", "-", text=MARKER)  # goes to the leader
            nap = {
                "name": "nap",
                "command": ["sleep", "600"],
                "replicas": 2,
                "cores": [100],
                "secrets": [{"name": "db"}, {"name": "db", "path": "/run/secrets"}],
                "anti_affinity": [{"service": "nap"}],
            }
            second.post("/api/v1/services", {"services": [nap]})
            placed = {item["instance"]: item["node"] for item in first.running(2)}
            assert set(placed.values()) == {"n1", "n2"}
            answers = everything_read(first) + everything_read(second)
            with pytest.raises(RuntimeError, match="PASSWORD"):
                second.post("/api/v1/secrets", {"name": "db", "data": {"PASSWORD": f"{MARKER}\0"}})
        for real in (first, second):
            given = environments(real)
            assert given["PASSWORD"] == MARKER
            (file,) = Path(given["ROHE_SECRET_DB"]).iterdir()
            assert (file.name, file.read_text()) == ("PASSWORD", MARKER)
            assert stat.S_IMODE(file.stat().st_mode) == 0o400
            assert second.get("/api/v1/secrets/db")["data"] == {"PASSWORD": MARKER}
            found = [path for path in on_disk(real) if is_in(path.read_bytes())]
            assert found == []
        assert not is_in(answers)
        assert len(heard.heard) > 10
        assert [message.topic for message in heard.heard if is_in(message.payload)] == []


def is_shared(real: RealDaemon) -> bool:
    """False also in the moment in which the daemon begins its next life."""
    with contextlib.suppress(OSError):
        return bool(real.get("/api/v1/cluster")["shared"])
    return False


def is_in(data: bytes) -> bool:
    encoded = base64.b64encode(MARKER.encode()).rstrip(b"=")
    return MARKER.encode() in data or encoded in data


def on_disk(real: RealDaemon) -> list[Path]:
    """The log of the daemon, and all that it keeps; not what is in memory for instances."""
    kept = [path for path in real.data_dir.rglob("*") if path.is_file()]
    assert any(path.name == "log.db" for path in kept)
    return [real.log_path, *kept]


def everything_read(real: RealDaemon) -> bytes:
    """The answer of each address that only reads, less the one that is for secrets."""
    document = real.get("/api/v1/openapi.json")
    read = [str(document)]
    for path, methods in document["paths"].items():
        if "get" in methods and path != "/api/v1/secrets/{name}":
            with contextlib.suppress(RuntimeError):  # nothing of that name
                read.append(str(real.get(path.replace("{name}", "nap"))))
    wanted = {"services": [real.get("/api/v1/services")["services"][0]["service"]]}
    read += [str(real.post(f"/api/v1/{verb}", wanted)) for verb in ("plan", "what-if", "apply")]
    return "\n".join(read).encode()


def environments(real: RealDaemon) -> dict[str, str]:
    """Of the one process of this node."""
    name = real.config["node"]["name"]
    with procfs.marked({"ROHE_CLUSTER": real.cluster, "ROHE_NODE": name}) as found:
        (pid,) = {process.pid for process in found}
        lines = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line)
